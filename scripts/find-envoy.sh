#!/usr/bin/env bash
# Prints the Envoy to use: $ENVOY, else the one that setup installed. Deliberately not the one on
# the path, whose version is anybody's guess.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${ENVOY:-}" ]; then
    command -v "$ENVOY" || { echo "ENVOY=$ENVOY is no program" >&2; exit 1; }
    exit
fi
for candidate in .tools/envoy/lib/python3*/site-packages/envoy/_bin/envoy; do
    if [ -x "$candidate" ]; then
        echo "$PWD/$candidate"
        exit
    fi
done
exit 1
