#!/usr/bin/env python3
"""Runs talkflow's benches and their peers in turns, and prints one table of medians and ratios.

Each round runs talkflow, then the peer, and so on; a figure is the median over rounds. Of several variants and numbers of threads the best
stands on either side, chosen by its median. Needs `benches/peers/setup.sh` to have been run, and nothing but Python's own library here.

    benches/compare.py step talk students            # (a), (c), (f)
    benches/compare.py step-large --rounds 5         # (b)
"""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE / "peers"
# The variants that have been the best somewhere; `step.py --help` lists all.
VARIANTS = ["fused-adam", "compile-fused-adam", "sparse-adam", "compile-sparse-adam"]
LARGE = ["--users", "160000", "--items", "60000"]
# What tells one line of the table from the next.
SIZE = ["bench", "users", "items", "batch", "rounds"]


def binary() -> str:
    """The bench of training, built."""
    command = ["cargo", "bench", "-p", "talkflow-distill", "--bench", "training", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines() if line.startswith("{")]
    found = [m["executable"] for m in messages if m.get("executable") and m.get("target", {}).get("name") == "training"]
    return found[-1]


def commands(bench: str, ours: str, seconds: float) -> tuple[list[str], list[str]]:
    """The two command lines of a bench."""
    python = str(PEERS / ".venv/bin/python")
    timing = ["--seconds", str(seconds)]
    timed = ["--seconds", str(seconds / 2), "--repeats", "2"]
    match bench:
        case "step":
            return [ours, "step", *timing], [python, "step.py", "--variant", *VARIANTS, *timed]
        case "step-large":
            return [ours, "step", *LARGE, *timing], [python, "step.py", *LARGE, "--variant", *VARIANTS, *timed]
        case "talk":
            return [ours, "talk", *timing], [python, "talk.py", "--variant", *VARIANTS, *timed]
        case "students":
            return [ours, "students", "--threads", "2"], [python, "students.py", "--students", "4"]
    raise SystemExit(f"there is no bench called {bench}")


def run(command: list[str]) -> list[dict]:
    """The measurements a command prints. What cannot run says so, and is left out."""
    done = subprocess.run(command, cwd=PEERS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    measured = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for wrong in (m for m in measured if "error" in m):
        print(f"left out: {wrong}", file=sys.stderr)
    return [m for m in measured if "error" not in m]


def figure(measured: dict) -> float:
    return measured["students_per_minute"] if measured["bench"] == "students" else measured["samples_per_second"]


def best(rounds: dict[tuple, list[float]]) -> tuple[float, tuple]:
    """The way of running with the highest median."""
    return max((statistics.median(values), how) for how, values in rounds.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bench", nargs="+", choices=["step", "step-large", "talk", "students"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a measurement")
    arguments = parser.parse_args()
    ours = binary()
    print("| bench | size | talkflow | best peer | ratio |\n|---|---|---|---|---|")
    for bench in arguments.bench:
        seen = [collections.defaultdict(lambda: collections.defaultdict(list)) for _ in range(2)]
        for _ in range(arguments.rounds):
            for side, command in enumerate(commands(bench, ours, arguments.seconds)):
                for measured in run(command):
                    size = tuple((key, measured[key]) for key in SIZE[1:] if key in measured)
                    how = (measured["variant"], measured["threads"])
                    seen[side][size][how].append(figure(measured))
        for size in seen[0]:
            sides = [best(side[size]) for side in seen if size in side]
            if len(sides) < 2:
                raise SystemExit(f"the peer has no measurement of {bench} {dict(size)}: has {list(seen[1])}")
            (mine, (_, threads)), (theirs, (variant, their_threads)) = sides
            words = ", ".join(f"{key} {value}" for key, value in size if key in ("batch", "rounds"))
            print(f"| {bench} | {words} | {mine:,.0f} ({threads}) | {theirs:,.0f} ({variant}, {their_threads}) | {mine / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
