#!/usr/bin/env bash
# Makes a module smaller and cheaper to call: scripts/slim-wasm.sh FROM TO.
#
# Envoy calls each callback that a module exports, for each request, and the SDK exports all that
# there are. Those in which the filter does nothing are taken out, with all that only they need.
set -euo pipefail

from=$1 to=$2
# What Envoy needs of the module, and the callbacks that the filter has. A request's end is told by
# proxy_on_delete; without proxy_on_done and proxy_on_log nothing is put off until then. At a VM's
# start there is nothing to do.
exports=(
    memory _initialize proxy_abi_version_0_2_1 proxy_on_memory_allocate
    proxy_on_configure proxy_on_context_create proxy_on_delete proxy_on_tick
    proxy_on_http_call_response
    proxy_on_request_headers proxy_on_request_body proxy_on_request_trailers
)
# No others: what is written must be understood by every V8 that the README names.
features=(
    --enable-bulk-memory --enable-multivalue --enable-mutable-globals
    --enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext
)

if ! command -v wasm-metadce >/dev/null || ! command -v wasm-opt >/dev/null; then
    echo "without binaryen (wasm-metadce, wasm-opt) the module works, but is slower and larger" >&2
    cp "$from" "$to"
    exit
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
reached=$(printf '"%s", ' "${exports[@]}")
{
    echo '[{"name": "Envoy", "root": true, "reaches": ['"${reached%, }"']}'
    for export in "${exports[@]}"; do
        printf ', {"name": "%s", "export": "%s"}' "$export" "$export"
    done
    echo ']'
} >"$folder/graph.json"
wasm-metadce "${features[@]}" "$from" --graph-file "$folder/graph.json" --output "$folder/called.wasm" >/dev/null
# Functions that differ in a constant alone are made one after the first round, which saves 1 %.
wasm-opt "${features[@]}" -O3 --merge-similar-functions -O3 --strip-producers --strip-target-features \
    "$folder/called.wasm" --output "$to"
