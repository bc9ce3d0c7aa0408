#!/usr/bin/env bash
# Prints the crates that are compiled into the module, sorted, one `name version` per line. Macros
# are left out because they only run during the build, and std because Cargo does not report it here.
set -euo pipefail
cd "$(dirname "$0")/.."

tree=(cargo tree --quiet --locked --package keystile --target wasm32-wasip1 --edges "normal,no-proc-macro")
crates=$("${tree[@]}" --prefix none --format '{p}')
# Lines are `name v1.2.3 (*)`, with a path at the end for crates of the workspace.
sed -E 's/^([^ ]+) v([^ ]+).*/\1 \2/' <<<"$crates" | grep -v '^keystile ' | LC_ALL=C sort -u
