#!/usr/bin/env bash
# Makes a release in dist/: the module, its checksum, its bill of materials (keystile.cdx.json) and
# the licences of what is in it (THIRD-PARTY-LICENSES), and checks all four. The same sources and
# the same toolchain give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

# With std from its sources, so that Cargo tells what is in it. A released module is the plain one.
export WASM_TOOLCHAIN=debian
unset PANIC_MESSAGES
scripts/setup.sh release
# What is left of a release that fails is the module alone.
rm -f dist/keystile.wasm.sha256 dist/keystile.cdx.json dist/THIRD-PARTY-LICENSES
scripts/build-wasm.sh
(cd dist && sha256sum keystile.wasm >keystile.wasm.sha256)

rust=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
wasi_libc=$(dpkg-query --show --showformat '${Version}' wasi-libc)
cargo run --quiet --locked --package keystile-release -- --messages target/wasm/messages.json \
    --sha256 "$(cut -c 1-64 dist/keystile.wasm.sha256)" --rust "$rust" --wasi-libc "$wasi_libc"

scripts/check-release.sh
