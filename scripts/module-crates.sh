#!/usr/bin/env bash
# Prints the crates that are compiled into the module, `name version` on each line, sorted. Macros
# are not: they only run while it is built. Nor is std, which Cargo does not tell of here.
set -euo pipefail
cd "$(dirname "$0")/.."

tree=(cargo tree --quiet --locked --package keystile --target wasm32-wasip1 --edges "normal,no-proc-macro")
crates=$("${tree[@]}" --prefix none --format '{p}')
# `name v1.2.3 (*)`; a path stands behind the workspace's own.
sed -E 's/^([^ ]+) v([^ ]+).*/\1 \2/' <<<"$crates" | grep -v '^keystile ' | LC_ALL=C sort -u
