#!/usr/bin/env bash
# Signs each file of a release: scripts/sign-release.sh [FOLDER], by default dist. MINISIGN_KEY is the
# file with the releaser's secret key. Its password is asked for once, or read as one line from standard
# input; a key without one needs none. MINISIGN_PUBLIC_KEY is the file with the public key, by default
# beside the secret one (keystile.key, keystile.pub). Each signature is verified with it, so that none
# is published that users could not verify. With --check instead of a folder, this only looks for both
# keys.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-dist}
files=(keystile.wasm keystile.wasm.sha256 keystile.cdx.json keystile.provenance.json THIRD-PARTY-LICENSES)
fail() { printf 'sign-release: %s\n' "$*" >&2; exit 1; }

key=${MINISIGN_KEY:-}
[ -n "$key" ] || fail "MINISIGN_KEY is not set; it names the file with your secret key; minisign -G -s FILE.key -p FILE.pub creates one"
[ -f "$key" ] || fail "MINISIGN_KEY=$key is not a file"
public=${MINISIGN_PUBLIC_KEY:-${key%.key}.pub}
[ -f "$public" ] || fail "the public key $public is not a file; set MINISIGN_PUBLIC_KEY to the one that users have"
scripts/setup.sh programs minisign
[ "$folder" != --check ] || exit 0

# Absolute paths stay valid in the release's folder.
key=$(realpath "$key") public=$(realpath "$public")
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
cd "$folder"
for file in "${files[@]}"; do
    [ -f "$file" ] || fail "$folder/$file is missing; run make release"
done
rm -f -- *.minisig
# An incomplete set of signatures is removed.
trap 'rm -f -- *.minisig' EXIT
[ ! -t 0 ] || printf 'Password of %s (empty if it has none): ' "$key" >&2
password=
IFS= read -rs password || true
for file in "${files[@]}"; do
    # The comment is signed too. It keeps an older release, or another of its files, from being passed
    # off as this one. By default it has the time, which would make each signature different.
    minisign -S -s "$key" -t "keystile $version: $file" -m "$file" <<<"$password" >/dev/null ||
        fail "$file was not signed: is $key a secret key from minisign, and is the password right?"
    minisign -V -q -p "$public" -m "$file" || fail "the signature of $file does not verify with $public; is that the public key of $key?"
done
trap - EXIT
echo "release: signed ${#files[@]} files in $folder; each .minisig verifies with $public"
