#!/usr/bin/env bash
# Makes a module smaller and cheaper to call: scripts/slim-wasm.sh FROM TO. Code that no export
# reaches is removed.
set -euo pipefail

from=$1 to=$2
# Only these features, because the V8 of each Envoy in envoy/versions must understand the result.
features=(
    --enable-bulk-memory --enable-multivalue --enable-mutable-globals
    --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext
)

if ! command -v wasm-opt >/dev/null; then
    echo "wasm-opt (binaryen) is missing: the module works, but is slower and larger" >&2
    cp "$from" "$to"
    exit
fi

# Functions that differ only in a constant are merged after the first round, which saves 1 %. Nothing
# large is inlined beyond what LLVM has inlined. Otherwise a function that is called once would become
# part of its caller, and the memory that V8's compiler takes, and Envoy keeps, grows with the largest
# function. Without these two limits, it would be 9 MB more, and the module would be no faster.
limits=(--one-caller-inline-max-function-size 0 --flexible-inline-max-function-size 0)
wasm-opt "${features[@]}" "${limits[@]}" -O3 --merge-similar-functions -O3 --strip-producers \
    --strip-target-features "$from" --output "$to"
