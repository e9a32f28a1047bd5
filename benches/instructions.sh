#!/usr/bin/env bash
# Counts the instructions of one training step in hot paths, which no noise of the machine touches, and compares them with
# instructions.txt. A change of more than 5 % fails until the file says so: run with --update and commit it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
command -v valgrind >/dev/null || { echo "valgrind is missing: install it" >&2; exit 1; }
# The kernels differ between processors, and with them the counts.
grep -qw avx2 /proc/cpuinfo || { echo "the counts are those of processors with AVX2, which this one has not" >&2; exit 1; }
bench=$(cargo bench -q -p talkflow-distill --bench training --no-run --message-format=json |
  sed -n 's/.*"executable":"\([^"]*training-[^"]*\)".*/\1/p' | tail -n 1)
count() { # STEPS ARGUMENTS
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" count --steps "$@" 2>&1 | sed -n 's/.*Collected : //p'
}
step() { # NAME ARGUMENTS: the difference of two runs, so that what precedes the steps is not in it
  local name=$1; shift
  local few many
  few=$(count 3 "$@"); many=$(count 6 "$@")
  printf '%s %s\n' "$name" $(((many - few) / 3))
}
now=$(mktemp); trap 'rm -f "$now"' EXIT
{
  step step-256 --batch 256
  step talk-256-k1 --batch 256 --rounds 1
  step student-64 --batch 64 --small
} >"$now"
if [ "${1:-}" = --update ]; then
  cp "$now" instructions.txt
fi
awk 'NR == FNR { was[$1] = $2; next }
  !($1 in was) { printf "%-14s %12d  not in instructions.txt\n", $1, $2; bad = 1; next }
  { change = 100 * ($2 / was[$1] - 1); printf "%-14s %12d  %+.1f %%\n", $1, $2, change; if (change > 5 || change < -5) bad = 1 }
  END { if (bad) print "more than 5 % from instructions.txt: if that is meant, run benches/instructions.sh --update and commit it"; exit bad }' \
  instructions.txt "$now"
