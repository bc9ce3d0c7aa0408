#!/usr/bin/env bash
# Checks a release by other means than those that made it: scripts/check-release.sh [FOLDER], by
# default dist. It checks the checksum, that the bill of materials has the crates of Cargo's
# dependency tree, that each of them has a licence text, and that the provenance matches these
# files, this commit and this machine's toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-dist}
module=$folder/keystile.wasm
sbom=$folder/keystile.cdx.json
notices=$folder/THIRD-PARTY-LICENSES
provenance=$folder/keystile.provenance.json
fail() { printf 'check-release: %s\n' "$*" >&2; exit 1; }
digest() { sha256sum <"$1" | cut -c 1-64; }

(cd "$folder" && sha256sum --check --strict --quiet keystile.wasm.sha256) || fail "$module does not match its checksum"

jq --exit-status '.bomFormat == "CycloneDX" and .specVersion == "1.5"' "$sbom" >/dev/null || fail "$sbom is not CycloneDX 1.5 in JSON"
hash=$(jq --raw-output '.metadata.component.hashes[0].content' "$sbom")
[ "$hash" = "$(digest "$module")" ] || fail "$sbom describes another module: its checksum is $hash"

# The dependencies of std are known only from its build. All others must be exactly those of the tree.
listed=$(jq --raw-output '
    (.dependencies[] | select(.ref | startswith("pkg:generic/rust-std@")) | [.ref] + .dependsOn) as $std
    | .components[] | select(.purl as $purl | $std | index($purl) | not) | "\(.name) \(.version)"' "$sbom" | LC_ALL=C sort)
diff <(echo "$listed") <(scripts/module-crates.sh) >&2 || fail "$sbom (<) differs from the module's crates (>)"
for needed in pkg:generic/rust-std@ pkg:deb/debian/wasi-libc@ pkg:cargo/hashbrown@; do
    jq --exit-status --arg needed "$needed" 'any(.components[].purl; startswith($needed))' "$sbom" >/dev/null ||
        fail "$sbom has no $needed"
done
strangers=$(jq --raw-output '[.dependencies[] | .ref, .dependsOn[]] - [.metadata.component.purl, .components[].purl] | unique[]' "$sbom")
[ -z "$strangers" ] || fail "$sbom has dependencies that are not components: $strangers"

# The notices have `name version | licence | 1, 2`, and further down `Text 1, of …`. Some texts are
# short, and only refer to others.
while IFS=$'\t' read -r name license; do
    line=$(grep -F "$name | $license | " "$notices") || fail "$notices has no line '$name | $license | …'"
    numbers=${line##*| }
    longest=0
    for number in ${numbers//,/}; do
        lines=$(awk -v begin="Text $number," 'index($0, "Text ") == 1 { within = index($0, begin) == 1 } within' "$notices" | wc -l)
        [ "$lines" -gt 0 ] || fail "$notices has no text $number, which $name refers to"
        [ "$lines" -le "$longest" ] || longest=$lines
    done
    [ "$longest" -ge 15 ] || fail "$notices has no full licence text for $name"
done < <(jq --raw-output '.components[] | "\(.name) \(.version)\t\(.licenses[0].expression // "no licence")"' "$sbom")

# Compares a part of the provenance with what the files themselves say.
says() {
    local found
    found=$(jq --compact-output --sort-keys "$2" "$provenance") || fail "$provenance is not JSON"
    [ "$found" = "$3" ] || fail "$provenance: $1 is $found, not $3"
}
says "its type" ._type '"https://in-toto.io/Statement/v1"'
says "its predicate's type" .predicateType '"https://slsa.dev/provenance/v1"'
says "its subject" .subject '[{"digest":{"sha256":"'"$(digest "$module")"'"},"name":"keystile.wasm"}]'
built=.predicate.buildDefinition
says "its build type" "$built.buildType" '"urn:keystile:make-release:v1"'
says "its build parameters" "$built.externalParameters" '{"features":[],"package":"keystile","profile":"wasm","target":"wasm32-wasip1"}'
says "the commit" "$built.resolvedDependencies[0].digest" '{"gitCommit":"'"$(git rev-parse HEAD)"'"}'
dirty=null
[ -z "$(git status --porcelain)" ] || dirty='{"dirty":true}'
says "whether the sources differ from the commit" "$built.resolvedDependencies[0].annotations" "$dirty"
lock_of() { echo "[$built.resolvedDependencies[] | select(.name == \"$1\").digest.sha256]"; }
says "Cargo.lock" "$(lock_of Cargo.lock)" "[\"$(digest Cargo.lock)\"]"
says "std's Cargo.lock" "$(lock_of rust-std/Cargo.lock)" "[\"$(cat /usr/src/rustc-*/library/Cargo.lock | sha256sum | cut -c 1-64)\"]"
# shellcheck disable=SC2046
installed=$(dpkg-query --show --showformat '${Package}@${Version}\n' $(scripts/release-packages.sh) | sed 's/+/%2B/g; s/:/%3A/g' | LC_ALL=C sort)
listed=$(jq --raw-output "$built"'.resolvedDependencies[] | .uri // empty | select(startswith("pkg:deb/debian/")) | ltrimstr("pkg:deb/debian/")' "$provenance" | LC_ALL=C sort)
diff <(echo "$listed") <(echo "$installed") >&2 || fail "$provenance (<) differs from this machine's toolchain (>)"
says "its list of other files" .predicate.runDetails.byproducts \
    '[{"digest":{"sha256":"'"$(digest "$sbom")"'"},"name":"keystile.cdx.json"},{"digest":{"sha256":"'"$(digest "$notices")"'"},"name":"THIRD-PARTY-LICENSES"}]'
jq --exit-status '.predicate.runDetails.builder.id | test("^[A-Za-z][A-Za-z0-9+.-]*:.")' "$provenance" >/dev/null ||
    fail "$provenance: the builder's ID is not a URI"
# Times and random IDs would differ from one build to the next.
says "the metadata of the run" .predicate.runDetails.metadata null

for path in "$PWD" "$HOME/" "${CARGO_HOME:-$HOME/.cargo}" /usr/lib/ /usr/src/ file://; do
    for file in "$sbom" "$provenance"; do
        ! grep -qF "$path" "$file" || fail "$file has a path of this machine: $(grep -F -m 1 "$path" "$file")"
    done
done
echo "release: checked $module, its checksum, $(jq '.components | length' "$sbom") components, their licences and the provenance"
