#!/usr/bin/env bash
# Profiles the bench of training: `profile.sh perf step --threads 1 --batch 1024` samples, `profile.sh callgrind --batch 256` counts the
# instructions of ten steps by function.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
tool=$1; shift
out=$(mktemp -d); trap 'rm -rf "$out"' EXIT
bench=$(CARGO_PROFILE_BENCH_DEBUG=line-tables-only cargo bench -q -p talkflow-distill --bench training --no-run --message-format=json |
  sed -n 's/.*"executable":"\([^"]*training-[^"]*\)".*/\1/p' | tail -n 1)
case $tool in
  perf)
    command -v perf >/dev/null || { echo "perf is missing: install it (Debian: linux-perf)" >&2; exit 1; }
    perf record -q -e cpu-clock -F 1999 -o "$out/perf.data" "$bench" "$@"
    perf report -i "$out/perf.data" --stdio --no-children --percent-limit 0.5 2>/dev/null | grep -v '^#' | grep '%'
    ;;
  callgrind)
    command -v valgrind >/dev/null || { echo "valgrind is missing: install it" >&2; exit 1; }
    valgrind -q --tool=callgrind --callgrind-out-file="$out/callgrind" "$bench" count --steps 10 "$@"
    callgrind_annotate "$out/callgrind" | sed -n '/file:function/,$p' | head -n 40
    ;;
  *) echo "profile.sh: perf or callgrind, and the arguments of the bench" >&2; exit 2 ;;
esac
