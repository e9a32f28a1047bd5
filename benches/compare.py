#!/usr/bin/env python3
"""Runs talkflow's benches and their peers in turns, and prints one table of medians and ratios.

Each round runs talkflow, then the peer, and so on; a figure is the median over rounds. Of several variants and numbers of threads the best
stands on either side, chosen by its median; the share is that of the machine's peak of a large product, measured around each run. Needs `benches/peers/setup.sh` to have been run, and nothing but Python's own library here.

    benches/compare.py step talk students            # (a), (c), (f)
    benches/compare.py step-large --rounds 5         # (b)
    benches/compare.py sparse --data DIR             # (d): DIR holds ml-100k/, in RecBole's files
    benches/compare.py preprocess --data DIR         # (e): DIR holds ratings.csv and movies.csv
    benches/compare.py transformers                  # (g)
"""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PEERS = HERE / "peers"
# The variants that have been the best somewhere; `step.py --help` lists all.
VARIANTS = ["fused-adam", "compile-fused-adam", "sparse-adam", "compile-sparse-adam"]
LARGE = ["--users", "160000", "--items", "60000"]
# What tells one line of the table from the next.
SIZE = ["users", "items", "batch", "rounds"]


# Of the jobs of preprocessing, what the peer's does the same: Polars' fastest, and the one with parts of exact size, as ours.
JOBS = {"dataset": ("csv", "polars"), "split": ("split", "polars-hash"), "genre": ("genre", "polars"), "batches": ("batches", "polars-numpy")}


def binary(name: str, *cargo: str) -> str:
    """A bench or the program itself, built."""
    command = ["cargo", *cargo, "--message-format=json"]
    built = subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines() if line.startswith("{")]
    found = [m["executable"] for m in messages if m.get("executable") and m.get("target", {}).get("name") == name]
    return found[-1]


def commands(bench: str, ours: str, arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The two command lines of a bench."""
    python, threads = str(PEERS / ".venv/bin/python"), list(map(str, arguments.threads))
    timing = ["--seconds", str(arguments.seconds), "--threads", ",".join(threads)]
    timed = ["--variant", *arguments.variants, "--seconds", str(arguments.seconds / 2), "--repeats", "2", "--threads", *threads]
    match bench:
        case "step":
            return [ours, "step", *timing], [python, "step.py", *timed]
        case "step-large":
            return [ours, "step", *LARGE, *timing], [python, "step.py", *LARGE, *timed]
        case "talk":
            return [ours, "talk", *timing], [python, "talk.py", *timed]
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


def throughput(bench: str, arguments: argparse.Namespace) -> None:
    """A row a size: samples or students in a time, more is better."""
    ours = binary("training", "bench", "-p", "talkflow-distill", "--bench", "training", "--no-run")
    seen = [collections.defaultdict(lambda: collections.defaultdict(list)) for _ in range(2)]
    shares = collections.defaultdict(list)
    for _ in range(arguments.rounds):
        for side, command in enumerate(commands(bench, ours, arguments)):
            for measured in run(command):
                size = tuple((key, measured[key]) for key in SIZE if key in measured and bench != "students")
                seen[side][size][measured["variant"], measured["threads"]].append(figure(measured))
                if "share_of_peak" in measured:
                    shares[size, measured["threads"]].append(measured["share_of_peak"])
    for size in seen[0]:
        sides = [best(side[size]) for side in seen if size in side]
        if len(sides) < 2:
            raise SystemExit(f"the peer has no measurement of {bench} {dict(size)}: has {list(seen[1])}")
        (mine, (_, threads)), (theirs, (variant, their_threads)) = sides
        words = ", ".join(f"{key} {value}" for key, value in size if key in ("batch", "rounds"))
        share = shares.get((size, threads))
        share = f"{statistics.median(share):.2f}" if share else ""
        row(bench, words, f"{mine:,.0f} ({threads})", share, f"{theirs:,.0f} ({variant}, {their_threads})", mine / theirs)


def row(*cells: object) -> None:
    *words, ratio = cells
    print("| " + " | ".join(map(str, words)) + f" | {ratio:.2f} |", flush=True)


def sparse(arguments: argparse.Namespace) -> None:
    """The whole of a manifest from an empty store: seconds, less is better."""
    ours = binary("talkflow", "build", "--release", "--bin", "talkflow")
    seconds = ([], [])
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as store:
            command = [ours, "run", str(HERE.parent / "manifests/movielens_quick.yaml"), "--offline", "--format", "json"]
            done = subprocess.run([*command, "--data", arguments.data, "--store", store], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            seconds[0].append(json.loads(done.stdout)["seconds"])
        command = [str(PEERS / ".venv/bin/python"), "sparse.py", "--data", str(pathlib.Path(arguments.data) / "ml-100k"), "--workers", "2"]
        seconds[1].append(run(command)[0]["seconds"])
    mine, theirs = map(statistics.median, seconds)
    row("sparse", "", f"{mine:.1f} s", "", f"{theirs:.1f} s (fused-adam, 2 processes)", theirs / mine)


def preprocess(arguments: argparse.Namespace) -> None:
    """Each job in a process of its own: seconds and peak memory, less is better."""
    ours = binary("preprocess", "bench", "-p", "talkflow-datasets", "--bench", "preprocess", "--no-run")
    data = pathlib.Path(arguments.data)
    with tempfile.TemporaryDirectory(dir=data) as scratch:
        prepared = [str(PEERS / ".venv/bin/python"), "preprocess.py", "--ratings", str(data / "ratings.csv"), "--movies", str(data / "movies.csv")]
        prepared += ["--scratch", scratch, "--repeats", "1"]
        seen = collections.defaultdict(lambda: ([], []))
        for _ in range(arguments.rounds):
            for job, (their_job, engine) in JOBS.items():
                mine = [m for m in run([ours, "--data", str(data), "--scratch", scratch, "--job", job, "--repeats", "1"])]
                theirs = [m for m in run([*prepared, "--jobs", their_job]) if m["variant"] == engine]
                for side, measured in zip(seen[job, engine], (mine, theirs)):
                    side.extend((m["seconds"], m["peak_mib"]) for m in measured)
    for (job, engine), sides in seen.items():
        (mine, my_peak), (theirs, their_peak) = [tuple(statistics.median(values) for values in zip(*side)) for side in sides]
        row("preprocess", job, f"{mine:.2f} s, {my_peak:.0f} MiB", "", f"{theirs:.2f} s, {their_peak:.0f} MiB ({engine})", theirs / mine)


# Of transformers: model, sequences, tokens of each. The last is of texts as long as questions are, which a peer has to pad.
SHAPES = [("minilm", 1, "20"), ("minilm", 32, "32"), ("minilm", 16, "128"), ("vit-s", 64, "17"), ("vit-s", 16, "65"), ("vit-s", 4, "257"),
          ("minilm", 64, "8,11,14,16,20,24,31,40")]


def transformers(arguments: argparse.Namespace) -> None:
    """Each pass of each shape in a process of its own: sequences a second, more is better; CPU time and peak memory of the same."""
    ours = binary("transformers", "bench", "-p", "talkflow-distill", "--bench", "transformers", "--no-run")
    theirs = [str(PEERS / ".venv/bin/python"), "encoders.py"]
    for (model, batch, tokens), back in ((shape, back) for shape in SHAPES for back in (False, True)):
        size = ["--model", model, "--batch", str(batch), "--tokens", tokens, "--seconds", str(arguments.seconds)] + ["--back"] * back
        sides = (collections.defaultdict(list), collections.defaultdict(list))
        for _ in range(arguments.rounds):
            for threads in arguments.threads:
                ways = [(0, [ours])] + [(1, [*theirs, "--variant", variant]) for variant in arguments.encoders]
                for side, command in ways:
                    for measured in run([*command, *size, "--threads", str(threads)]):
                        sides[side][measured["variant"], threads].append(measured)
        middle = lambda key: lambda runs: statistics.median(run[key] for run in runs)
        fastest = [max(side.items(), key=lambda item: middle("samples_per_second")(item[1])) for side in sides]
        # CPU time by one thread, where there is no waiting for others in it.
        alone = [min((middle("cpu_ms")(runs) for (_, threads), runs in side.items() if threads == 1), default=float("nan")) for side in sides]
        cells = []
        for (variant, threads), runs in fastest:
            figures = f"{middle('samples_per_second')(runs):,.0f}, {middle('peak_mib')(runs):.0f} MiB"
            cells.append(f"{figures} ({threads})" if variant == "talkflow" else f"{figures} ({variant}, {threads})")
        words = f"{model}, {batch} x {tokens}, " + ("forward and back" if back else "forward")
        rate = [middle("samples_per_second")(runs) for _, runs in fastest]
        row("transformers", words, cells[0], f"CPU {alone[1] / alone[0]:.2f}", cells[1], rate[0] / rate[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("bench", nargs="+", choices=["step", "step-large", "talk", "students", "sparse", "preprocess", "transformers"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a measurement")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of step, step-large and talk, on both sides")
    parser.add_argument("--variants", nargs="+", default=VARIANTS, help="of the peer")
    parser.add_argument("--encoders", nargs="+", default=["eager", "compile"], help="variants of the peer of transformers")
    parser.add_argument("--data", help="of sparse and preprocess")
    arguments = parser.parse_args()
    if arguments.data is None and {"sparse", "preprocess"} & set(arguments.bench):
        parser.error("sparse and preprocess need --data")
    print("| bench | size | talkflow | share of peak | best peer | ratio |\n|---|---|---|---|---|---|", flush=True)
    for bench in arguments.bench:
        match bench:
            case "sparse":
                sparse(arguments)
            case "preprocess":
                preprocess(arguments)
            case "transformers":
                transformers(arguments)
            case _:
                throughput(bench, arguments)


if __name__ == "__main__":
    main()
