#!/usr/bin/env bash
# Prints the Debian packages whose programs and libraries decide what is in the released module, one
# per line: the compiler, Cargo, std's sources, the linker, the LLVM that compiler and linker use,
# the C library, and binaryen, which slims the module.
set -euo pipefail

minor=$(/usr/bin/rustc --version | sed -E 's/^rustc ([0-9]+\.[0-9]+).*/\1/')
packages=(rustc-web "libstd-rust-web-$minor" cargo-web rust-web-src lld-19 wasi-libc binaryen)
printf '%s\n' "${packages[@]}"
dpkg-query --show --showformat '${Depends}\n' "${packages[@]}" | grep -oE 'libllvm[0-9]+' | LC_ALL=C sort -u
