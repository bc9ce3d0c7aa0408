#!/usr/bin/env bash
# Prints how this machine can build for wasm32-wasip1: `installed` (the target is installed), `debian`
# (std from Debian's sources), or `none`. With WASM_TOOLCHAIN=debian, it prints one of the latter two.
set -euo pipefail

installed=$(rustc --print target-libdir --target wasm32-wasip1 2>/dev/null || true)
if [ "${WASM_TOOLCHAIN:-}" != debian ] && [ -n "$installed" ] && compgen -G "$installed/libstd-*.rlib" >/dev/null; then
    echo installed
elif [ -x /usr/bin/cargo ] && [ -x /usr/bin/wasm-ld-19 ] && [ -d /usr/lib/wasm32-wasi ] &&
    compgen -G "/usr/src/rustc-*/library/std" >/dev/null; then
    echo debian
else
    echo none
fi
