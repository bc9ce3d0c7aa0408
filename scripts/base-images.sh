#!/usr/bin/env bash
# Makes base images available and runs a command with them: scripts/base-images.sh COMMAND [ARGUMENT...].
# `scripts/base-images.sh --list` prints the images that the shipped files name, and which of them are
# not pinned by digest.
#
# registry/Dockerfile and envoy/docker-compose.yaml name each image by a variable (RUST_IMAGE,
# POSTGRES_IMAGE, ...) with a default. A variable that is set is left alone. All other images are pulled.
# For one that cannot be pulled, a local STAND-IN is made from Debian's packages and this machine's own
# Envoy and Rust, so that the shipped files can be tested without a container registry; the command gets
# its name in the variable. Stand-ins never get an official name: that would make Docker skip a later
# pull, and a user's containers would run them.
set -euo pipefail
# Without this, an error inside $(…) goes unnoticed.
shopt -s inherit_errexit
cd "$(dirname "$0")/.."

# `localhost/` because a name without a host could be registered and served by a public registry.
stand_ins=localhost/keystile-stand-in

say() { printf 'base-images: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# `VARIABLE IMAGE` for each image, as the shipped files name it.
shipped() {
    sed -nE 's/.*\$\{([A-Z]+_IMAGE):-([^}]+)\}.*/\1 \2/p' registry/Dockerfile envoy/docker-compose.yaml |
        grep -v '^REGISTRY_IMAGE '
}

label=keystile.stand-in=true
# Builds the context in $folder. The legacy builder is available everywhere. Its deprecation warning
# is not shown.
build() {
    DOCKER_BUILDKIT=0 docker build --quiet --label "$label" --tag "$1" "$folder" >/dev/null 2>"$state/log" ||
        { cat "$state/log" >&2; exit 1; }
}

make_debian() {
    scripts/setup.sh programs debootstrap || fail "cannot make $1: this needs debootstrap"
    [ "$(id -u)" = 0 ] || fail "cannot make $1: debootstrap needs root"
    debootstrap --variant=minbase bookworm "$folder/debian" >"$state/log" || { tail "$state/log" >&2; exit 1; }
    tar --directory "$folder/debian" --create --exclude './var/lib/apt/lists/*' --exclude './dev/*' \
        --exclude './var/cache/apt/*' --exclude './usr/share/doc/*' --exclude './usr/share/man/*' \
        --exclude './usr/share/locale/*' --exclude './usr/share/info/*' . |
        docker import --change 'CMD ["bash"]' --change "LABEL $label" - "$1" >/dev/null
    rm -rf "$folder/debian"
}

make_rust() {
    local debian sysroot target
    debian=$(image_for DEBIAN_IMAGE)
    sysroot=$(rustc --print sysroot)
    target=$(rustc --version --verbose | sed -n 's/^host: //p')
    [ -d "$sysroot/lib/rustlib/$target/lib" ] && [ -x "$sysroot/bin/cargo" ] && [ "$sysroot" != /usr ] ||
        fail "cannot make $1: this needs a Rust toolchain from rustup"
    say "$1 has this machine's toolchain: $(rustc --version)"
    cat >"$folder/Dockerfile" <<END
FROM $debian
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev ca-certificates \
    && rm -rf /var/lib/apt/lists/*
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo
ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ADD toolchain.tar /usr/local/rustup/toolchains/stand-in/
RUN mkdir -p /usr/local/cargo/bin \
    && ln -s /usr/local/rustup/toolchains/stand-in/bin/cargo /usr/local/rustup/toolchains/stand-in/bin/rustc /usr/local/cargo/bin/
# The authorities that this machine trusts, perhaps including a company's own proxy.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
END
    (cd "$sysroot" && tar --create --file "$folder/toolchain.tar" bin/cargo bin/rustc lib/*.so* "lib/rustlib/$target")
    cp /etc/ssl/certs/ca-certificates.crt "$folder/"
    build "$1"
}

make_envoy() {
    local debian program version=${1##*:v}
    debian=$(image_for DEBIAN_IMAGE)
    program=$(scripts/find-envoy.sh) || fail "cannot make $1: run make setup, which installs Envoy"
    "$program" --version | grep -q "/$version/" || fail "cannot make $1: the Envoy on this machine has another version: $("$program" --version | xargs)"
    cp "$program" "$folder/envoy"
    # As in the official image: root becomes envoy, and any other user stays the same.
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
    build "$1"
}

make_postgres() {
    local debian
    debian=$(image_for DEBIAN_IMAGE)
    # Only those parts of the official entrypoint that a new database with its scripts needs.
    cat >"$folder/docker-entrypoint.sh" <<'END'
#!/bin/bash
set -euo pipefail
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -n "${POSTGRES_PASSWORD:-}" ] || { echo "Error: superuser password is not specified" >&2; exit 1; }
    initdb --username "$user" --pwfile <(echo "$POSTGRES_PASSWORD") --auth-local trust --auth-host scram-sha-256
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options "-c listen_addresses=''" start
    [ "$database" = postgres ] || createdb --username "$user" --maintenance-db postgres "$database"
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
        *.sh) [ -x "$script" ] && "$script" || . "$script" ;;
        *.sql) psql --set ON_ERROR_STOP=1 --no-password --no-psqlrc --username "$user" --dbname "$database" --file "$script" ;;
        esac
    done
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
    && install --directory --owner postgres --group postgres --mode 1777 /var/lib/postgresql/data /var/run/postgresql \
    && mkdir /docker-entrypoint-initdb.d
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
COPY docker-entrypoint.sh /usr/local/bin/
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
    build "$1"
}

make_prometheus() {
    local debian
    debian=$(image_for DEBIAN_IMAGE)
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
    build "$1"
}

without_digest() { echo "${1%%@*}"; }
stand_in_for() { echo "$stand_ins/$(without_digest "$1")"; }
is_stand_in() { [ "$(docker image inspect --format '{{index .Config.Labels "keystile.stand-in"}}' "$1" 2>/dev/null)" = true ]; }

# Earlier versions of this script gave stand-ins official names.
remove_misnamed() {
    local name
    name=$(without_digest "$1")
    if is_stand_in "$name"; then
        say "removing the name $name from a STAND-IN that an earlier version made: only the official image may have it"
        docker image rm --force "$name" >/dev/null || fail "$name cannot be removed: stop the containers that use it, and try again"
    fi
}

# Prints the image to use for a variable: the environment's, the official one, or a stand-in. Pulls or
# makes it if it is missing.
image_for() {
    local variable=$1 official stand_in
    if [ -n "${!variable:-}" ]; then
        echo "${!variable}"
        return
    fi
    if [ -e "$state/$variable" ]; then
        cat "$state/$variable"
        return
    fi
    official=$(shipped | sed -n "s/^$variable //p" | head -n 1)
    remove_misnamed "$official"
    if ! docker image inspect "$official" &>/dev/null; then
        say "docker pull $official"
        if ! timeout 300 docker pull --quiet "$official" >/dev/null 2>"$state/log"; then
            say "$official cannot be pulled: $(tail -n 1 "$state/log")"
            stand_in=$(stand_in_for "$official")
            if ! docker image inspect "$stand_in" &>/dev/null; then
                say "making a STAND-IN for it, $stand_in"
                # In a subshell, because it may have to make another image first, in another folder.
                (
                    folder=$(mktemp -d "$state/context.XXXXXX")
                    "make_$(tr '[:upper:]' '[:lower:]' <<<"${variable%_IMAGE}")" "$stand_in"
                    rm -rf "$folder"
                )
            fi
            say "$variable is a STAND-IN made on this machine, $stand_in: what follows does not test the official image"
            official=$stand_in
        fi
    fi
    echo "$official" | tee "$state/$variable"
}

if [ "${1:-}" = --list ]; then
    shipped | sort -u | while read -r variable image; do
        case $image in
        *@sha256:*) echo "$variable=$image" ;;
        *) echo "$variable=$image is NOT PINNED by digest: see \"Pinned images\" in docs/docker.md" ;;
        esac
    done
    exit
fi

[ $# != 0 ] || fail "usage: scripts/base-images.sh --list | COMMAND [ARGUMENT...]"
docker version &>/dev/null || fail "no Docker Engine answers; start one, or set DOCKER_HOST"
state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
variables=()
for variable in $(shipped | sed 's/ .*//' | sort -u); do
    image=$(image_for "$variable")
    variables+=("$variable=$image")
done
rm -rf "$state"
trap - EXIT
exec env "${variables[@]}" "$@"
