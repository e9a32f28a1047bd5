#!/usr/bin/env bash
# Fuzzes for so many seconds a target: all targets, or those named. Two at a time; fails where one finds something.
#
#   fuzz/run.sh 30                  every target, half a minute each
#   fuzz/run.sh 600 manifest items  two of them, ten minutes each
#
# Stable Rust and a C++ compiler are all it takes: coverage comes from rustc's own passes, the engine is libFuzzer.
# TALKFLOW_FUZZ_CORPUS names the folder of inputs (default fuzz/corpus, kept between runs), TALKFLOW_FUZZ_JOBS how many run side by side.
# To try one input again: fuzz/run.sh 0 TARGET FILE
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ ${1:-} =~ ^[0-9]+$ ]] || { sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
seconds=$1; shift
mapfile -t all < <(sed -n '/^\[\[bin\]\]/,$s/^name = "\(.*\)"$/\1/p' "$here/Cargo.toml")
known() { printf '%s\n' "${all[@]}" | grep -qx -- "$1"; }

# Libraries are shared with the workspace's own builds; rustc.sh says which crates are built apart.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$here/../target}" RUSTC_WRAPPER="$here/rustc.sh"
corpus="${TALKFLOW_FUZZ_CORPUS:-$here/corpus}"
# The versions of the workspace; cargo adds those of libFuzzer's binding.
cp "$here/../Cargo.lock" "$here/Cargo.lock"
cargo build --manifest-path "$here/Cargo.toml"
programs="$CARGO_TARGET_DIR/debug"

# Scratch files in memory, gone at the end.
memory=/dev/shm; [ -w "$memory" ] || memory=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$memory/talkflow-fuzz.XXXXXX"); export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
# One thread: what an input reaches must not depend on who was quicker.
export RAYON_NUM_THREADS=1
limits=(-rss_limit_mb=1024 -timeout=10 -max_len=65536)

if [ "$seconds" = 0 ]; then
    known "${1:?a target}" || { echo "no target is called $1; they are: ${all[*]}" >&2; exit 2; }
    "$programs/$1" "${limits[@]}" "${2:?an input}"
    exit
fi
chosen=("$@"); [ $# -gt 0 ] || chosen=("${all[@]}")
for name in "${chosen[@]}"; do known "$name" || { echo "no target is called $name; they are: ${all[*]}" >&2; exit 2; }; done

fuzz() {
    local name=$1 log="$TMPDIR/$1.log" found="$corpus/$1.found/" dictionary=() scratch="$TMPDIR/$1" result=clean
    mkdir -p "$corpus/$name" "$found" "$scratch"
    if [ -f "$here/dictionaries/$name.dict" ]; then dictionary=("-dict=$here/dictionaries/$name.dict"); fi
    TMPDIR=$scratch TALKFLOW_FUZZ_SEEDS="$corpus/$name" "$programs/$name" 2>"$log" || { cat "$log"; return 1; }
    TMPDIR=$scratch "$programs/$name" "$corpus/$name" "${limits[@]}" "${dictionary[@]}" -max_total_time="$seconds" \
        -print_final_stats=1 -artifact_prefix="$found" >"$log" 2>&1 || result=FOUND
    said() { sed -n "s/^stat::$1: *\([0-9]*\)$/\1/p" "$log"; }
    # A program that ends before it has tried anything has found nothing, and is not clean either.
    [ "$(said number_of_executed_units)" -gt 0 ] 2>/dev/null || result=FAILED
    printf '%-14s %5s s  %9s executions  %6s edges  %5s MiB at most  %s\n' "$name" "$seconds" \
        "$(said number_of_executed_units)" \
        "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)" \
        "$(said peak_rss_mb)" "$result"
    rm -rf "$scratch"
    [ "$result" = clean ] || { tail -n 60 "$log" | cut -c 1-400; echo "the input is in $found: fuzz/run.sh 0 $name FILE tries it again"; return 1; }
}
failed=0
running=0
for name in "${chosen[@]}"; do
    if [ "$running" -ge "${TALKFLOW_FUZZ_JOBS:-2}" ]; then wait -n || failed=1; running=$((running - 1)); fi
    fuzz "$name" & running=$((running + 1))
done
while [ "$running" -gt 0 ]; do wait -n || failed=1; running=$((running - 1)); done
exit "$failed"
