#!/usr/bin/env bash
# Makes the module's OCI image in dist/keystile-oci, an OCI image layout, in the "compat" form that
# Istio and Envoy Gateway pull, and checks it. ENGINE=docker or ENGINE=umoci selects what makes it;
# the default is Docker if its engine answers, else umoci. IMAGE=NAME:TAG names the image, and
# LAYOUT=FOLDER puts it elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

module=dist/keystile.wasm
layout=${LAYOUT:-dist/keystile-oci}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
image=${IMAGE:-keystile:$version}

say() { printf 'image: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# The tag in the name. A registry's port is not a tag.
tag=${image##*/}
case $tag in
*:*) tag=${tag#*:} ;;
*) tag=latest image=$image:latest ;;
esac
[ -f "$module" ] || fail "$module is missing: run make build"
engine=${ENGINE:-$(docker version &>/dev/null && echo docker || echo umoci)}
case $engine in
docker) docker version &>/dev/null || fail "ENGINE=docker, but no Docker Engine answers: start one, or use ENGINE=umoci" ;;
umoci) ;;
*) fail "ENGINE=$engine is neither docker nor umoci" ;;
esac
program=umoci
[ "$engine" = umoci ] || program=skopeo
scripts/setup.sh programs jq "$program"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
rm -rf "$layout"

case $engine in
docker)
    # A context with the module and nothing else.
    mkdir -p "$folder/context/dist"
    cp "$module" "$folder/context/dist/"
    docker build --quiet --file envoy/Dockerfile --tag "$image" "$folder/context" >/dev/null 2>"$folder/log" ||
        { cat "$folder/log" >&2; exit 1; }
    docker save --output "$folder/image.tar" "$image"
    skopeo copy --quiet "docker-archive:$folder/image.tar" "oci:$layout:$tag"
    ;;
umoci)
    # The layer that envoy/Dockerfile describes, with the same bytes each time.
    cp "$module" "$folder/plugin.wasm"
    tar --directory "$folder" --create --file "$folder/layer.tar" --format ustar \
        --owner 0 --group 0 --numeric-owner --mode 0644 --mtime @0 plugin.wasm
    umoci init --layout "$layout"
    umoci new --image "$layout:$tag"
    umoci raw add-layer --image "$layout:$tag" --history.created 1970-01-01T00:00:00Z \
        --history.created_by "COPY dist/keystile.wasm /plugin.wasm" "$folder/layer.tar"
    umoci config --image "$layout:$tag" --no-history --created 1970-01-01T00:00:00Z --os linux --architecture amd64
    umoci gc --layout "$layout"
    ;;
esac
scripts/check-image.sh "$layout" "$tag" "$module"
echo "$image in $layout, made by $engine; to publish it:"
case $image in
*/*) to=$image ;;
*) to=REGISTRY/$image ;;
esac
echo "    skopeo copy oci:$layout:$tag docker://$to"
