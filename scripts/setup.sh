#!/usr/bin/env bash
# Installs what building and testing need and this machine lacks. Checks what is missing before it
# installs, and prints what it does. Usage: scripts/setup.sh [build|lint|fuzz|release|all
# [ENVOY_VERSION...]|programs NAME...]. `lint` adds cargo-deny; `fuzz` adds cargo-fuzz and a C++
# compiler; `release` adds what releases are made and checked with. `all` adds Envoy (these versions, or
# else the one that find-envoy.sh looks for), the definitions of Kubernetes' resources, PostgreSQL,
# Prometheus, PHP, Chromium and wrk. `programs` installs only the named programs, from packages of the
# same names.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo_deny_version=0.20.2
cargo_fuzz_version=0.13.2
what=${1:-all}
envoy_versions=("${@:2}")

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

apt_updated=
apt_install() {
    command -v apt-get >/dev/null || fail "install these with your package manager: $*"
    local sudo=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "run as root: apt-get install $*"
        sudo=sudo
    fi
    if [ -z "$apt_updated" ]; then
        say "apt-get update"
        $sudo apt-get update -qq
        apt_updated=yes
    fi
    say "apt-get install $*"
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if [ "$what" = programs ]; then
    missing=()
    for program in "${@:2}"; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
    exit
fi

command -v cc >/dev/null || apt_install gcc libc6-dev
command -v cargo >/dev/null || apt_install cargo-web rustc-web
command -v cargo >/dev/null || fail "cargo is missing: install Rust, for example with rustup"

# The module's target: already installed, or added by rustup, or std from Debian's sources.
if [ "$(scripts/wasm-toolchain.sh)" = none ]; then
    if [ "${WASM_TOOLCHAIN:-}" != debian ] && command -v rustup >/dev/null && [ "${RUSTUP_AUTO_INSTALL:-1}" != 0 ]; then
        say "rustup target add wasm32-wasip1"
        rustup target add wasm32-wasip1
    else
        apt_install rustc-web cargo-web rust-web-src wasi-libc lld-19
    fi
    [ "$(scripts/wasm-toolchain.sh)" != none ] || fail "cannot build for wasm32-wasip1"
fi

# The build works without it, and says so.
if ! command -v wasm-opt >/dev/null && command -v apt-get >/dev/null; then
    apt_install binaryen
fi

install_envoy() {
    local version=$1
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "installing Envoy $version into .tools/envoy-$version (to use another one, set ENVOY=/path/to/envoy)"
    scripts/install-envoy.sh "$version"
    scripts/find-envoy.sh "$version" >/dev/null || fail "Envoy $version was installed, but cannot be found"
}

if [ "$what" = all ]; then
    if [ ${#envoy_versions[@]} = 0 ] && ! scripts/find-envoy.sh >/dev/null; then
        envoy_versions=("$(grep -m 1 '^[0-9]' envoy/versions)")
    fi
    for version in "${envoy_versions[@]}"; do
        scripts/find-envoy.sh "$version" >/dev/null || install_envoy "$version"
    done
fi

# The definitions that the tests check the manifests of Kubernetes' own resources against. They are
# in PyPI's kubernetes-validate, of which one file is enough.
install_kubernetes_definitions() {
    local version=1.37.0 folder
    local hash=sha256:85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9
    local target=.tools/kubernetes-$version.json
    [ ! -f "$target" ] || return 0
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv
    say "downloading the definitions of Kubernetes $version into $target"
    folder=$(mktemp -d)
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$folder" \
        --requirement <(echo "kubernetes-validate==$version --hash=$hash")
    python3 -m zipfile --extract "$folder"/kubernetes_validate-*.whl "$folder/wheel"
    mkdir -p .tools
    cp "$folder/wheel/kubernetes_validate/kubernetes-json-schema/v$version-local-strict/_definitions.json" "$target"
    rm -r "$folder"
}

if [ "$what" = all ]; then
    install_kubernetes_definitions
fi

# The registry's tests start their own servers, apart from the one that the package may start.
if [ "$what" = all ] && ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb &>/dev/null; then
    apt_install postgresql
    ls /usr/lib/postgresql/*/bin/initdb &>/dev/null || fail "PostgreSQL was installed, but cannot be found"
fi

# The tests of envoy/prometheus start their own server, apart from the one that the package may start.
if [ "$what" = all ] && ! { command -v prometheus && command -v promtool; } >/dev/null; then
    apt_install prometheus
    command -v promtool >/dev/null || fail "Prometheus was installed, but cannot be found"
fi

# For tests of how an application behind the filter reads headers.
if [ "$what" = all ]; then
    command -v php >/dev/null || apt_install php-cli
fi

# For tests of what a page in a browser can read.
if [ "$what" = all ]; then
    command -v chromium >/dev/null || apt_install chromium
fi

# For the benchmarks: generates load, and assigns processors.
if [ "$what" = all ]; then
    command -v wrk >/dev/null || apt_install wrk
    command -v taskset >/dev/null || apt_install util-linux
fi

# These programs have little to do, so they are compiled without optimisation.
install_cargo_command() {
    local name=$1 version=$2 takes=$3
    if [ "$(".tools/cargo/bin/$name" --version 2>/dev/null)" != "$name $version" ]; then
        say "installing $name $version into .tools/cargo, which takes $takes"
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_PROFILE_RELEASE_DEBUG=false cargo install --quiet --locked --root .tools/cargo "$name@$version"
    fi
}

if [ "$what" = lint ]; then
    install_cargo_command cargo-deny "$cargo_deny_version" "a minute or two"
fi

if [ "$what" = fuzz ]; then
    # libFuzzer is C++, which Cargo compiles with the crate.
    command -v c++ >/dev/null || apt_install g++
    command -v column >/dev/null || apt_install bsdextrautils
    install_cargo_command cargo-fuzz "$cargo_fuzz_version" "half a minute"
fi

if [ "$what" = release ]; then
    command -v wasm-opt >/dev/null || fail "a release needs binaryen's wasm-opt"
    command -v jq >/dev/null || apt_install jq
fi
