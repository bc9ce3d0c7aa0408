#!/usr/bin/env bash
# Makes a release in dist/: the module, its checksum, its bill of materials (keystile.cdx.json), the
# licences of what is in it (THIRD-PARTY-LICENSES) and how it was made (keystile.provenance.json);
# checks all five, and signs them if SIGN is set. The same commit and the same toolchain give the same
# bytes, signatures included.
#
# SIGN=minisign MINISIGN_KEY=FILE signs with the releaser's key: see scripts/sign-release.sh.
# BUILDER_ID (a URI) names the builder in the provenance, and SOURCE_URI the repository. ALLOW_DIRTY=1
# accepts sources that differ from the commit; the provenance then says that they do.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'release: %s\n' "$*" >&2; exit 1; }

# The build takes minutes, so everything that can be checked before it is checked first.
case ${SIGN:-} in
'' | minisign) ;;
*) fail "SIGN=$SIGN is neither empty nor minisign; for cosign, see docs/releases.md" ;;
esac
[ -z "${SIGN:-}" ] || scripts/sign-release.sh --check
commit=$(git rev-parse --verify HEAD 2>/dev/null) || fail "the provenance names the Git commit, and this is not a Git repository with a commit"
source=(--commit "$commit")
if [ -n "$(git status --porcelain)" ]; then
    [ "${ALLOW_DIRTY:-}" = 1 ] || fail "the sources differ from commit $commit (git status shows how): commit them, or set ALLOW_DIRTY=1, which the provenance records"
    source+=(--dirty)
fi
[ -z "${SOURCE_URI:-}" ] || source+=(--source-uri "$SOURCE_URI")

# Builds std from its sources, so that Cargo reports what is in it. A released module is the
# standard one, whatever this machine's environment says about profiles and compilers.
export WASM_TOOLCHAIN=debian
for variable in PANIC_MESSAGES RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER "${!CARGO_PROFILE_WASM_@}" "${!CARGO_TARGET_@}"; do
    unset "$variable"
done
scripts/setup.sh release
# A release that fails leaves only the module.
rm -f dist/keystile.wasm.sha256 dist/keystile.cdx.json dist/keystile.provenance.json dist/THIRD-PARTY-LICENSES dist/*.minisig
scripts/build-wasm.sh
(cd dist && sha256sum keystile.wasm >keystile.wasm.sha256)

rust=$(/usr/bin/rustc --version | cut -d ' ' -f 2)
version_of() { dpkg-query --show --showformat '${Version}' "$1"; }
toolchain=()
for package in $(scripts/release-packages.sh); do
    toolchain+=(--deb "$package=$(version_of "$package")")
done
std_lock=$(compgen -G "/usr/src/rustc-*/library/Cargo.lock") || fail "std's Cargo.lock is missing; rust-web-src installs it below /usr/src"
cargo run --quiet --locked --package keystile-release -- --messages target/wasm/messages.json \
    --sha256 "$(cut -c 1-64 dist/keystile.wasm.sha256)" --rust "$rust" --wasi-libc "$(version_of wasi-libc)" \
    "${source[@]}" --builder-id "${BUILDER_ID:-urn:keystile:builder:unnamed}" \
    --lock-file Cargo.lock=Cargo.lock --lock-file "rust-std/Cargo.lock=$std_lock" "${toolchain[@]}"

scripts/check-release.sh
if [ -n "${SIGN:-}" ]; then
    scripts/sign-release.sh
else
    echo "release: NOT SIGNED; SIGN=minisign MINISIGN_KEY=FILE signs it with your key"
fi
