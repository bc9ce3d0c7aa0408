#!/usr/bin/env bash
# Checks a release in dist/ by other means than those that made it: the checksum, that the bill of
# materials has the crates that Cargo's dependency tree has, and that each of them has a licence's text.
set -euo pipefail
cd "$(dirname "$0")/.."

sbom=dist/keystile.cdx.json
notices=dist/THIRD-PARTY-LICENSES
fail() { printf 'check-release: %s\n' "$*" >&2; exit 1; }

(cd dist && sha256sum --check --strict --quiet keystile.wasm.sha256) || fail "dist/keystile.wasm is not what its checksum says"

jq --exit-status '.bomFormat == "CycloneDX" and .specVersion == "1.5"' "$sbom" >/dev/null || fail "$sbom is no CycloneDX 1.5 in JSON"
hash=$(jq --raw-output '.metadata.component.hashes[0].content' "$sbom")
[ "$hash" = "$(cut -c 1-64 dist/keystile.wasm.sha256)" ] || fail "$sbom is of another module: its checksum is $hash"

# What std needs is known of its build alone. All else must be what the tree has, no more and no less.
listed=$(jq --raw-output '
    (.dependencies[] | select(.ref | startswith("pkg:generic/rust-std@")) | [.ref] + .dependsOn) as $std
    | .components[] | select(.purl as $purl | $std | index($purl) | not) | "\(.name) \(.version)"' "$sbom" | LC_ALL=C sort)
diff <(echo "$listed") <(scripts/module-crates.sh) >&2 || fail "$sbom (<) does not have the crates of the module (>)"
for needed in pkg:generic/rust-std@ pkg:deb/debian/wasi-libc@ pkg:cargo/hashbrown@; do
    jq --exit-status --arg needed "$needed" 'any(.components[].purl; startswith($needed))' "$sbom" >/dev/null ||
        fail "$sbom has no $needed"
done
strangers=$(jq --raw-output '[.dependencies[] | .ref, .dependsOn[]] - [.metadata.component.purl, .components[].purl] | unique[]' "$sbom")
[ -z "$strangers" ] || fail "$sbom has dependencies that are no components: $strangers"

# `name version | licence | 1, 2`, and further down `Text 1, of …`. Some texts are short, and only
# say which of the others there are.
while IFS=$'\t' read -r name license; do
    line=$(grep -F "$name | $license | " "$notices") || fail "$notices has no line '$name | $license | …'"
    numbers=${line##*| }
    longest=0
    for number in ${numbers//,/}; do
        lines=$(awk -v begin="Text $number," 'index($0, "Text ") == 1 { within = index($0, begin) == 1 } within' "$notices" | wc -l)
        [ "$lines" -gt 0 ] || fail "$notices has no text $number, of $name"
        [ "$lines" -le "$longest" ] || longest=$lines
    done
    [ "$longest" -ge 15 ] || fail "$notices has no full text of a licence for $name"
done < <(jq --raw-output '.components[] | "\(.name) \(.version)\t\(.licenses[0].expression // "no licence")"' "$sbom")

for path in "$PWD" "$HOME/" "${CARGO_HOME:-$HOME/.cargo}" /usr/lib/ /usr/src/ file://; do
    ! grep -qF "$path" "$sbom" || fail "$sbom has a path of this machine: $(grep -F -m 1 "$path" "$sbom")"
done
echo "release: dist/keystile.wasm, its checksum, $(jq '.components | length' "$sbom") components and their licences fit together"
