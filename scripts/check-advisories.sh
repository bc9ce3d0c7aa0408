#!/usr/bin/env bash
# Checks all crates against the RustSec advisory database: scripts/check-advisories.sh [CONFIG], by
# default with deny.toml. An advisory is a failure. A database that cannot be reached is not, because a
# build may have no access to its host; the check then says that it did not run. ADVISORIES=required
# makes that a failure too, for builds that always have access. ADVISORIES_TIMEOUT is in seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

config=${1:-deny.toml}
deny=(.tools/cargo/bin/cargo-deny --locked --workspace --config "$config")

case ${ADVISORIES:-} in
'' | required) ;;
*) echo "ADVISORIES=$ADVISORIES is neither empty nor required" >&2; exit 1 ;;
esac

# The database is fetched on its own first: cargo-deny has one exit status for all failures.
status=0
said=$(GIT_TERMINAL_PROMPT=0 timeout "${ADVISORIES_TIMEOUT:-60}" "${deny[@]}" fetch db 2>&1) || status=$?
if [ "$status" != 0 ]; then
    if [ "$status" != 124 ] && ! grep -q 'failed to fetch advisory database' <<<"$said"; then
        printf 'check-advisories: the advisory database cannot be used:\n%s\n' "$said" >&2
        exit 1
    fi
    reason=$(grep -m 1 -iE 'fatal|could not|unable|timed out' <<<"$said" | xargs -0 || true)
    [ "$status" != 124 ] || reason="no answer in ${ADVISORIES_TIMEOUT:-60} s"
    printf 'check-advisories: NOT CHECKED, because the advisory database cannot be reached: %s\n' "${reason:-$said}" >&2
    [ "${ADVISORIES:-}" != required ] || exit 1
    exit 0
fi
"${deny[@]}" check --hide-inclusion-graph advisories
