#!/usr/bin/env bash
# Checks an OCI image layout against what Istio and Envoy Gateway require of the "compat" form, and
# prints the digest to pin: scripts/check-image.sh LAYOUT TAG MODULE.
set -euo pipefail

layout=$1 tag=$2 module=$3

fail() { echo "$layout:$tag: $*" >&2; exit 1; }
# Prints the file of a digest, after checking that its bytes have it.
blob() {
    local file=$layout/blobs/${1/://}
    [ "sha256:$(sha256sum <"$file" | cut -d ' ' -f 1)" = "$1" ] || fail "$file is not $1"
    echo "$file"
}
is() { [ "$2" = "$3" ] || fail "$1 is $2, not $3"; }

entry=$(jq -c --arg tag "$tag" \
    '[.manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag)][0] // empty' "$layout/index.json")
[ -n "$entry" ] || fail "there is no such tag"
is "the image's media type" "$(jq -r .mediaType <<<"$entry")" application/vnd.oci.image.manifest.v1+json
digest=$(jq -r .digest <<<"$entry")
manifest=$(blob "$digest")
config=$(blob "$(jq -r .config.digest "$manifest")")
is "the configuration's media type" "$(jq -r .config.mediaType "$manifest")" application/vnd.oci.image.config.v1+json
is "the number of layers" "$(jq '.layers | length' "$manifest")" 1
is "the layer's media type" "$(jq -r '.layers[0].mediaType' "$manifest")" application/vnd.oci.image.layer.v1.tar+gzip
layer=$(blob "$(jq -r '.layers[0].digest' "$manifest")")
is "the layer's size" "$(wc -c <"$layer")" "$(jq '.layers[0].size' "$manifest")"
is "the layer's unpacked digest" "sha256:$(gzip -dc "$layer" | sha256sum | cut -d ' ' -f 1)" \
    "$(jq -r '.rootfs.diff_ids | join(" ")' "$config")"
is "the layer's content" "$(gzip -dc "$layer" | tar --list)" plugin.wasm
gzip -dc "$layer" | tar --extract --to-stdout plugin.wasm | cmp --quiet - "$module" ||
    fail "plugin.wasm is not $module"

echo "one layer, one file: plugin.wasm, $(wc -c <"$module") bytes, as in $module"
echo "digest of the image:  $digest (after @, or as the manifests' sha256)"
echo "sha256 of the module: $(sha256sum <"$module" | cut -d ' ' -f 1)"
