#!/usr/bin/env bash
# Checks the crates that Keystile is made of: their licences and origins against deny.toml, whether
# there are advisories about them, those of the filter against release/crates.txt, and that both
# lock files are current.
set -euo pipefail
cd "$(dirname "$0")/.."

.tools/cargo/bin/cargo-deny --locked --workspace check --hide-inclusion-graph licenses bans sources
scripts/check-advisories.sh

# The fuzz targets have their own lock file, which nothing else here reads.
cargo metadata --quiet --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null

list=release/crates.txt
if ! diff <(grep -v '^#' "$list") <(scripts/module-crates.sh | sed 's/ .*//' | LC_ALL=C sort -u) >&2; then
    echo "$list (<) differs from the filter's crates (>): each crate is code in users' proxies, so remove" \
        "a new one, or review it and add it to the list" >&2
    exit 1
fi
