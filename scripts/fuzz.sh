#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer, and fails if one of them does: scripts/fuzz.sh SECONDS
# [TARGET]. Each target, or only TARGET, runs for SECONDS. New inputs go to fuzz/corpus, where the
# next run continues.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
targets=(fuzz/targets/*.rs)
targets=("${targets[@]#fuzz/targets/}")
targets=("${targets[@]%.rs}")
if [ -n "${2:-}" ]; then
    [ -e "fuzz/targets/$2.rs" ] || { echo "there is no fuzz target $2; the targets are ${targets[*]}" >&2; exit 1; }
    targets=("$2")
fi

# Only nightly compilers accept the sanitizer flags. This makes any compiler act as one.
export RUSTC_BOOTSTRAP=1
sanitizer=address
if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/lib/librustc*asan*" >/dev/null; then
    echo "this compiler has no address sanitizer; fuzzing without it, because there is almost no unsafe code" >&2
    sanitizer=none
fi
triple=$(rustc --version --verbose | sed -n 's/^host: //p')
# cargo-fuzz has no --locked. This checks that the lock file that it uses is current.
cargo fetch --locked --manifest-path fuzz/Cargo.toml
build=(build --target "$triple" --target-dir target/fuzz --sanitizer "$sanitizer")
for target in "${targets[@]}"; do
    .tools/cargo/bin/cargo-fuzz "${build[@]}" "$target"
done

failed=()
report=()
for target in "${targets[@]}"; do
    corpus=fuzz/corpus/$target
    artifacts=fuzz/artifacts/$target
    log=target/fuzz/$target.log
    mkdir -p "$corpus" "$artifacts"
    touch "$log"
    echo "fuzz: running $target for $seconds s; its log is $log" >&2
    # An input that takes longer than -timeout, in seconds, is a hang.
    options=(-max_total_time="$seconds" -timeout=25 -max_len=4096 -print_final_stats=1)
    status=0
    "target/fuzz/$triple/release/$target" "${options[@]}" -artifact_prefix="$artifacts/" \
        "$corpus" "fuzz/seeds/$target" &>"$log.new" || status=$?
    mapfile -t crashes < <(find "$artifacts" -type f -newer "$log")
    mv "$log.new" "$log"
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    inputs=$(find "$corpus" -type f | wc -l)
    report+=("$target $(stat number_of_executed_units) $(stat average_exec_per_sec) $inputs ${#crashes[@]}")
    if [ "$status" != 0 ] || [ ${#crashes[@]} != 0 ]; then
        failed+=("$target")
        grep -m 1 -A 3 'panicked at\|^==[0-9]*== *ERROR' "$log" >&2 || tail -n 20 "$log" >&2
        for crash in "${crashes[@]}"; do
            echo "$crash: reproduce with target/fuzz/$triple/release/$target $crash" >&2
            echo "  to keep it as a seed: cp $crash fuzz/seeds/$target/what-it-is;" \
                "cargo test --locked -p keystile-fuzz-oracles then fails until it is fixed" >&2
        done
    fi
done

printf '%s\n' "target runs runs/s corpus crashes" "${report[@]}" | column -t
[ ${#failed[@]} = 0 ] || { echo "fuzz: failed: ${failed[*]}" >&2; exit 1; }
