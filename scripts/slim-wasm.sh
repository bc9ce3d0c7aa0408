#!/usr/bin/env bash
# Makes a module smaller and cheaper to call: scripts/slim-wasm.sh FROM TO. What is not reached from
# an export is taken out.
set -euo pipefail

from=$1 to=$2
# No others: what is written must be understood by the V8 of each Envoy in envoy/versions.
features=(
    --enable-bulk-memory --enable-multivalue --enable-mutable-globals
    --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext
)

if ! command -v wasm-opt >/dev/null; then
    echo "without binaryen (wasm-opt) the module works, but is slower and larger" >&2
    cp "$from" "$to"
    exit
fi

# Functions that differ in a constant alone are made one after the first round, which saves 1 %.
# Nothing large is inlined beyond what LLVM has: a function that is called once would become a part of
# its caller, and how much memory V8's compiler takes, and Envoy keeps, follows the largest function.
# Without these two limits it is 9 MB more, and the module is no faster.
limits=(--one-caller-inline-max-function-size 0 --flexible-inline-max-function-size 0)
wasm-opt "${features[@]}" "${limits[@]}" -O3 --merge-similar-functions -O3 --strip-producers \
    --strip-target-features "$from" --output "$to"
