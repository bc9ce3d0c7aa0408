#!/usr/bin/env bash
# Sees to it that the images which the shipped files name are here: those given, or all. One that is
# not here is pulled. One that cannot be pulled is replaced by a local STAND-IN with its tag, made of
# Debian's packages and this machine's own Envoy and Rust, so that the shipped files can be tried
# without any registry of images. Stand-ins have the label keystile.stand-in=true.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'base-images: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debian=debian:bookworm-slim
# The legacy builder is everywhere; what it says of its age is no news.
build() { DOCKER_BUILDKIT=0 docker build --quiet --label keystile.stand-in=true "$@" 2>"$folder/log" >/dev/null || { cat "$folder/log" >&2; exit 1; }; }

debian() {
    scripts/setup.sh programs debootstrap || fail "$1 can be neither pulled nor made here: that needs debootstrap"
    [ "$(id -u)" = 0 ] || fail "$1 can be neither pulled nor made here: debootstrap needs root"
    debootstrap --variant=minbase bookworm "$folder/debian" >"$folder/log" || { tail "$folder/log" >&2; exit 1; }
    tar --directory "$folder/debian" --create --exclude './var/lib/apt/lists/*' --exclude './dev/*' \
        --exclude './var/cache/apt/*' --exclude './usr/share/doc/*' --exclude './usr/share/man/*' \
        --exclude './usr/share/locale/*' --exclude './usr/share/info/*' . |
        docker import --change 'CMD ["bash"]' --change 'LABEL keystile.stand-in=true' - "$1" >/dev/null
    rm -rf "$folder/debian"
}

rust() {
    have "$debian"
    local sysroot target
    sysroot=$(rustc --print sysroot)
    target=$(rustc --version --verbose | sed -n 's/^host: //p')
    [ -d "$sysroot/lib/rustlib/$target/lib" ] && [ -x "$sysroot/bin/cargo" ] && [ "$sysroot" != /usr ] ||
        fail "$1 can be neither pulled nor made here: that needs a Rust toolchain of rustup's"
    say "its toolchain is this machine's: $(rustc --version)"
    cat >"$folder/Dockerfile" <<END
FROM $debian
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev ca-certificates \
    && rm -rf /var/lib/apt/lists/*
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo
ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ADD toolchain.tar /usr/local/rustup/toolchains/stand-in/
RUN mkdir -p /usr/local/cargo/bin \
    && ln -s /usr/local/rustup/toolchains/stand-in/bin/cargo /usr/local/rustup/toolchains/stand-in/bin/rustc /usr/local/cargo/bin/
# Whom this machine trusts, a company's own proxy perhaps.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
END
    (cd "$sysroot" && tar --create --file "$folder/toolchain.tar" bin/cargo bin/rustc lib/*.so* "lib/rustlib/$target")
    cp /etc/ssl/certs/ca-certificates.crt "$folder/"
    build --tag "$1" "$folder"
}

envoy() {
    have "$debian"
    local program version=${1##*:v}
    program=$(scripts/find-envoy.sh) || fail "$1 can be neither pulled nor made here: run make setup, which installs an Envoy"
    "$program" --version | grep -q "/$version/" || fail "$1 would be made of $("$program" --version | xargs)"
    cp "$program" "$folder/envoy"
    # As the official one: root becomes envoy, and anyone else stays who they are.
    cat >"$folder/docker-entrypoint.sh" <<'END'
#!/bin/sh
set -e
[ "${1#-}" = "$1" ] || set -- envoy "$@"
if [ "$(id -u)" = 0 ] && [ "$ENVOY_UID" != 0 ]; then
    chown envoy:envoy /dev/stdout /dev/stderr
    exec setpriv --reuid envoy --regid envoy --clear-groups "$@"
fi
exec "$@"
END
    chmod +x "$folder/docker-entrypoint.sh"
    cat >"$folder/Dockerfile" <<END
FROM $debian
RUN groupadd --gid 101 envoy && useradd --uid 101 --gid envoy --no-create-home envoy && mkdir /etc/envoy
COPY envoy /usr/local/bin/
COPY docker-entrypoint.sh /
EXPOSE 10000
ENTRYPOINT ["/docker-entrypoint.sh"]
CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]
END
    build --tag "$1" "$folder"
}

postgres() {
    have "$debian"
    # Of the official one's only what a database with one user needs.
    cat >"$folder/docker-entrypoint.sh" <<'END'
#!/bin/bash
set -euo pipefail
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -n "${POSTGRES_PASSWORD:-}" ] || { echo "Error: superuser password is not specified" >&2; exit 1; }
    initdb --username "$user" --pwfile <(echo "$POSTGRES_PASSWORD") --auth-local trust --auth-host scram-sha-256
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=''" start
    [ "${POSTGRES_DB:-$user}" = postgres ] || createdb --username "$user" --maintenance-db postgres "${POSTGRES_DB:-$user}"
    pg_ctl --wait stop
fi
exec "$@" -c listen_addresses='*'
END
    chmod +x "$folder/docker-entrypoint.sh"
    cat >"$folder/Dockerfile" <<END
FROM $debian
RUN groupadd --gid 999 postgres && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql --shell /bin/bash postgres \
    && apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/* /usr/lib/postgresql/*/lib/bitcode \
    && ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ \
    && install --directory --owner postgres --group postgres --mode 1777 /var/lib/postgresql/data /var/run/postgresql
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
COPY docker-entrypoint.sh /usr/local/bin/
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
    build --tag "$1" "$folder"
}

prometheus() {
    have "$debian"
    cat >"$folder/Dockerfile" <<END
FROM $debian
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* \
    && ln -sf /usr/bin/prometheus /usr/bin/promtool /usr/local/bin/ \
    && install --directory --owner nobody --group nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
END
    build --tag "$1" "$folder"
}

seen=
have() {
    case $seen in *"<$1>"*) return ;; esac
    seen+="<$1>"
    if docker image inspect "$1" &>/dev/null; then
        [ -z "$(docker image inspect --format '{{index .Config.Labels "keystile.stand-in"}}' "$1")" ] ||
            say "$1 is a STAND-IN, made on this machine"
        return
    fi
    say "docker pull $1"
    if timeout 300 docker pull --quiet "$1" >/dev/null 2>"$folder/log"; then
        return
    fi
    say "$1 cannot be pulled: $(tail -n 1 "$folder/log")"
    say "making a STAND-IN for $1"
    case $1 in
    "$debian") debian "$1" ;;
    rust:*) rust "$1" ;;
    envoyproxy/envoy:*) envoy "$1" ;;
    postgres:*) postgres "$1" ;;
    prom/prometheus:*) prometheus "$1" ;;
    *) fail "$1 can be neither pulled nor made here" ;;
    esac
    say "$1 is a STAND-IN, made on this machine"
}

docker version &>/dev/null || fail "no Docker Engine answers; start one, or set DOCKER_HOST"
if [ $# = 0 ]; then
    # As the shipped files name them.
    mapfile -t images < <(sed -nE -e 's/^FROM ([^ ]+).*/\1/p' -e 's/^ *image: (\$\{[A-Z_]+:-)?([^}]+)\}?$/\2/p' \
        registry/Dockerfile envoy/docker-compose.yaml | grep -v '^keystile' | sort -u)
    set -- "${images[@]}"
fi
for image in "$@"; do
    have "$image"
done
