#!/usr/bin/env bash
# Builds the module that Envoy loads: scripts/build-wasm.sh [TO [FEATURES]], by default into
# dist/keystile.wasm. With PANIC_MESSAGES=1, a panic reports its message and location, for
# debugging; these texts take a seventh of the module. Cargo's messages about each crate that it
# compiled are left in target/wasm/messages.json, for releases.
set -euo pipefail
cd "$(dirname "$0")/.."

to=${1:-dist/keystile.wasm} features=${2:-}

target=$PWD/target/wasm
build=(build --package keystile --lib --profile wasm --target wasm32-wasip1 --target-dir "$target"
    --message-format json-render-diagnostics)
mkdir -p "$target"
messages=$target/messages.json
if [ -n "$features" ]; then
    build+=(--features "$features")
    messages=$target/messages-$features.json
fi
# Functions are inlined a little less than usual (225), which makes the module 4 % smaller and no slower.
flags=(-C llvm-args=-inline-threshold=120)
# Keeps this machine's paths out of the module.
flags+=("--remap-path-prefix=$PWD=." "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo")

# Joins flags with Cargo's own separator, because paths may contain spaces.
encoded() {
    local IFS=$'\x1f'
    echo "$*"
}

case $(scripts/wasm-toolchain.sh) in
installed)
    CARGO_ENCODED_RUSTFLAGS=$(encoded "${flags[@]}") cargo "${build[@]}" --locked >"$messages"
    ;;
debian)
    flags+=(-L native=/usr/lib/wasm32-wasi -C linker=wasm-ld-19)
    [ -n "${PANIC_MESSAGES:-}" ] || flags+=(-Z unstable-options -C panic=immediate-abort)
    PATH=/usr/bin:$PATH RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
        CARGO_ENCODED_RUSTFLAGS=$(encoded "${flags[@]}") \
        /usr/bin/cargo "${build[@]}" --locked -Z build-std=std,panic_abort >"$messages"
    ;;
none)
    echo "cannot build for wasm32-wasip1; run make setup" >&2
    exit 1
    ;;
esac

# Makes Envoy call the filter's own callbacks, not the SDK's: see module/src/lib.rs.
swapped=$(mktemp)
trap 'rm -f "$swapped"' EXIT
cargo run --locked --quiet --package keystile-module -- "$target/wasm32-wasip1/wasm/keystile.wasm" "$swapped"

mkdir -p "$(dirname "$to")"
scripts/slim-wasm.sh "$swapped" "$to"
echo "$to: $(wc -c <"$to") bytes"
