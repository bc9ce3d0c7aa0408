#!/usr/bin/env bash
# Prints the path of the Envoy to use: the given version, or else $ENVOY, or else the first version in
# envoy/versions, as setup installed it. Deliberately not the one in PATH, whose version is unknown.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -z "${1:-}" ] && [ -n "${ENVOY:-}" ]; then
    command -v "$ENVOY" || { echo "ENVOY=$ENVOY is not a program" >&2; exit 1; }
    exit
fi
version=${1:-$(grep -m 1 '^[0-9]' envoy/versions)}
for candidate in ".tools/envoy-$version"/lib/python3*/site-packages/envoy/_bin/envoy; do
    if [ -x "$candidate" ]; then
        echo "$PWD/$candidate"
        exit
    fi
done
exit 1
