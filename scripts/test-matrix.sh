#!/usr/bin/env bash
# Runs the end-to-end tests on each Envoy of envoy/versions, one after the other, and writes the
# table in docs/compatibility.md. VERSIONS="1.36.4 1.40.0" runs only these versions, and FILTER=name
# only tests whose name contains it. Both are for a quick try, and leave the table unchanged.
set -euo pipefail
cd "$(dirname "$0")/.."

page=docs/compatibility.md
begin='<!-- versions: made by make test-matrix -->'
end='<!-- end -->'
mapfile -t all < <(grep '^[0-9]' envoy/versions)
read -ra versions <<<"${VERSIONS:-${all[*]}}"
filter=()
[ -z "${FILTER:-}" ] || filter=("$FILTER")

fail() { printf 'test-matrix: %s\n' "$*" >&2; exit 1; }

# Checked before half an hour of tests, not after.
for mark in "$begin" "$end"; do
    [ "$(grep -cxF -- "$mark" "$page")" = 1 ] || fail "$page must have one line '$mark'"
done

scripts/setup.sh all "${versions[@]}"
cargo build --locked --package keystile-registry
# The same command as in `make test`, so that little is compiled again after it.
tests=(cargo test --locked --workspace --test e2e --)
logs=target/test-matrix
mkdir -p "$logs"

# The suite has several parts, each with its own last line:
count() { awk -v what="$1" '/^test result: / { for (i = 2; i <= NF; i++) if ($i == what ";") sum += $(i - 1) } END { print sum + 0 }' "$2"; }

rows=() failed=
for version in "${versions[@]}"; do
    log=$logs/$version.log
    result=passed
    printf '\n=== Envoy %s\n' "$version"
    ENVOY=$(scripts/find-envoy.sh "$version") "${tests[@]}" --color never "${filter[@]}" 2>&1 |
        tee "$log" || result=failed
    passed=$(count passed "$log")
    [ "$result" = failed ] || [ "$passed" != 0 ] || result="no test ran"
    [ "$result" = passed ] || failed+=" $version"
    rows+=("| $version | $passed | $(count failed "$log") | $(count ignored "$log") | $result |")
done

table=$(
    echo '| Envoy | tests passed | failed | ignored | result |'
    echo '|---|--:|--:|--:|---|'
    printf '%s\n' "${rows[@]}"
)
printf '\n%s\n\n' "$table"

if [ "${versions[*]}" = "${all[*]}" ] && [ ${#filter[@]} = 0 ]; then
    made=$(TABLE=$table awk -v begin="$begin" -v end="$end" '
        $0 == end { within = 0 }
        !within
        $0 == begin { within = 1; print ENVIRON["TABLE"] }' "$page")
    printf '%s\n' "$made" >"$page"
    echo "test-matrix: the table is in $page"
else
    echo "test-matrix: $page is unchanged, because not everything was run"
fi
[ -z "$failed" ] || fail "the tests did not pass on$failed; the logs are in $logs"
