#!/usr/bin/env python3
"""Times the engine on many trivial stages beside ninja, make, Snakemake and DVC, and prints medians and ratios.

Every tool gets the same graph of shell commands (`cksum INPUTS > OUTPUT`) as its users would write it, runs it from nothing, and runs it again with
nothing to do. Tools take turns within a round; a ratio is talkflow's time over the tool's in the same round, and the median over rounds stands.

    benches/engine.py                          # fan, chain, grid and matrix of 1 000 stages: talkflow, ninja, make
    benches/engine.py --tools ninja snakemake dvc --stages 100 --rounds 1
    benches/engine.py large                    # 10 000 stages: plan, nothing to do, and peak memory

Needs ninja and make on the PATH; Snakemake and DVC where --tools names them. `--talkflow` names a binary that is built already.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# A matrix is a fan as a manifest of talkflow would have it: one stage with an axis. The other tools get the fan.
SHAPES = ["fan", "chain", "grid", "matrix"]


def graph(shape: str, count: int) -> list[list[int]]:
    """For each stage the stages it reads; stages that read none read `source.txt`."""
    match shape:
        case "fan" | "matrix":
            return [[] for _ in range(count)]
        case "chain":
            return [[n - 1] if n else [] for n in range(count)]
        case "grid":
            width = max(1, round(count**0.5))
            # Of the row above: the one straight above and its two neighbours.
            above = lambda n: [n - width + d for d in (-1, 0, 1) if 0 <= n % width + d < width]
            return [above(n) if n >= width else [] for n in range(count)]
    raise SystemExit(f"there is no shape called {shape}")


def ninja(needs: list[list[int]]) -> tuple[str, str]:
    text = "rule sum\n  command = cksum $in > $out\n"
    for n, inputs in enumerate(needs):
        text += f"build out/{n}: sum {' '.join(f'out/{i}' for i in inputs) or 'source.txt'}\n"
    return "build.ninja", text


def make(needs: list[list[int]]) -> tuple[str, str]:
    text = f".PHONY: all\nall: {' '.join(f'out/{n}' for n in range(len(needs)))}\n"
    for n, inputs in enumerate(needs):
        text += f"out/{n}: {' '.join(f'out/{i}' for i in inputs) or 'source.txt'}\n\tcksum $^ > $@\n"
    return "Makefile", text


def snakemake(needs: list[list[int]]) -> tuple[str, str]:
    text = f"rule all:\n    input: {', '.join(repr(f'out/{n}') for n in range(len(needs)))}\n"
    for n, inputs in enumerate(needs):
        inputs = ", ".join(repr(f"out/{i}") for i in inputs) or "'source.txt'"
        text += f"rule s{n}:\n    input: {inputs}\n    output: 'out/{n}'\n    shell: 'cksum {{input}} > {{output}}'\n"
    return "Snakefile", text


def dvc(needs: list[list[int]]) -> tuple[str, str]:
    text = "stages:\n"
    for n, inputs in enumerate(needs):
        inputs = [f"out/{i}" for i in inputs] or ["source.txt"]
        text += f"  s{n}:\n    cmd: sum {' '.join(inputs)} > out/{n}\n    deps: [{', '.join(inputs)}]\n    outs: [out/{n}]\n"
    return "dvc.yaml", text


def talkflow(needs: list[list[int]], shape: str = "") -> tuple[str, str]:
    text = "talkflow: 1\nname: bench\nstages:\n"
    if shape == "matrix":
        run = "command: { run: 'cksum source.txt > o${matrix.n}', files: [source.txt], outputs: ['o${matrix.n}'] }"
        return "m.yaml", f"{text}  s:\n    matrix: {{ n: [{', '.join(str(n) for n in range(len(needs)))}] }}\n    {run}\n"
    for n, inputs in enumerate(needs):
        if inputs:
            read = f"inputs: {{ {', '.join(f'i{i}: s{i}' for i in inputs)} }}"
            run = f"cksum {' '.join(f'i{i}/{i}' for i in inputs)} > {n}"
        else:
            read, run = "files: [source.txt]", f"cksum source.txt > {n}"
        # Each stage's output has a name of its own: two that do the very same would be made once.
        text += f"  s{n}:\n    command: {{ run: '{run}', {read}, outputs: ['{n}'] }}\n"
    return "m.yaml", text


WRITERS = {"talkflow": talkflow, "ninja": ninja, "make": make, "snakemake": snakemake, "dvc": dvc}


def command(tool: str, jobs: int, ours: str) -> list[str]:
    """What runs everything in the current folder."""
    match tool:
        case "talkflow":
            return [ours, "run", "m.yaml", "--offline", "-j", str(jobs)]
        case "ninja":
            return ["ninja", "--quiet", "-j", str(jobs)]
        case "make":
            return ["make", "--silent", "-j", str(jobs)]
        case "snakemake":
            return ["snakemake", "--quiet", "--cores", str(jobs)]
        case "dvc":
            return ["dvc", "repro", "--quiet"]
    raise SystemExit(f"there is no tool called {tool}")


def prepare(tool: str, folder: pathlib.Path, needs: list[list[int]], shape: str = "") -> None:
    """A new folder with the source and the tool's own file. Nothing is removed before the bench ends: some file systems (ext4 without a
    journal) are slow to make files where many were removed within the last minutes, and that would be paid by whoever comes next."""
    (folder / "out").mkdir(parents=True)
    (folder / "source.txt").write_text("hello\n")
    name, text = talkflow(needs, shape) if tool == "talkflow" else WRITERS[tool](needs)
    (folder / name).write_text(text)
    if tool == "dvc":
        subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=folder, check=True)
        subprocess.run(["dvc", "config", "core.analytics", "false"], cwd=folder, check=True)


def both(words: list[str], folder: pathlib.Path) -> tuple[float, float]:
    """Seconds of one run, by the clock and of CPU, children included. Its failure ends the bench."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed in {folder}:\n{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def timed(words: list[str], folder: pathlib.Path) -> float:
    """Seconds of one run by the clock."""
    return both(words, folder)[0]


def build() -> str:
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return str(pathlib.Path(target).resolve() / "release/talkflow")


# Seconds after which a stat tells whether a file has changed since.
SETTLED = 3


def compare(arguments: argparse.Namespace, ours: str, scratch: pathlib.Path) -> None:
    print(f"| {arguments.stages} stages, -j{arguments.jobs} | what | " + " | ".join(["talkflow", *arguments.tools]) + " | " +
          " | ".join(f"talkflow / {tool}" for tool in arguments.tools) + " |")
    print("|" + "---|" * (3 + 2 * len(arguments.tools)))
    for shape in arguments.shapes:
        needs = graph(shape, arguments.stages)
        seconds: dict[tuple[str, str], list[float]] = {}
        for turn in range(arguments.rounds):
            for tool in ["talkflow", *arguments.tools]:
                folder = scratch / f"{shape}-{turn}" / tool
                prepare(tool, folder, needs, shape)
                words = command(tool, arguments.jobs, ours)
                clock, cpu = both(words, folder)
                seconds.setdefault((tool, "full run"), []).append(clock)
                seconds.setdefault((tool, "full run, CPU"), []).append(cpu)
                # One run with nothing to do is short: the best of three stands for it. At once after the full run, when files are so young
                # that their stats do not tell yet whether they changed, and when they have been at rest.
                for what, rest in [("no-op at once", 0), ("no-op", SETTLED)]:
                    time.sleep(rest)
                    # What this one writes down makes the next ones quick.
                    timed(words, folder)
                    clock, cpu = zip(*(both(words, folder) for _ in range(3)))
                    seconds.setdefault((tool, what), []).append(min(clock))
                    seconds.setdefault((tool, f"{what}, CPU"), []).append(min(cpu))
        for what in [f"{what}{of}" for what in ["full run", "no-op at once", "no-op"] for of in ["", ", CPU"]]:
            row = [f"{statistics.median(seconds[tool, what]):.3f} s" for tool in ["talkflow", *arguments.tools]]
            ratios = []
            for tool in arguments.tools:
                pairs = zip(seconds["talkflow", what], seconds[tool, what])
                ratios.append(f"{statistics.median(a / b for a, b in pairs):.2f}")
            print(f"| {shape} | {what} | " + " | ".join(row + ratios) + " |", flush=True)


def large(arguments: argparse.Namespace, ours: str, scratch: pathlib.Path) -> None:
    """10 000 stages: what a plan, a first run and a run with nothing to do take."""
    print("| 10 000 stages | plan of nothing made | first run | plan | no-op | peak memory of a no-op |\n|---|---|---|---|---|---|")
    for shape in arguments.shapes:
        folder = scratch / shape
        prepare("talkflow", folder, graph(shape, 10_000), shape)
        run, plan = command("talkflow", arguments.jobs, ours), [ours, "plan", "m.yaml", "--offline"]
        before, first = timed(plan, folder), timed(run, folder)
        again = [timed(plan, folder) for _ in range(arguments.rounds)]
        nothing = [timed(run, folder) for _ in range(arguments.rounds)]
        print(f"| {shape} | {before:.2f} s | {first:.1f} s | {statistics.median(again):.2f} s | {statistics.median(nothing):.2f} s | "
              f"{peak(run, folder):.0f} MB |", flush=True)


def peak(words: list[str], folder: pathlib.Path) -> float:
    """Peak resident memory of a run in MB."""
    child = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(child.pid, 0)
    return usage.ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["compare", "large"], default="compare")
    parser.add_argument("--tools", nargs="+", choices=[t for t in WRITERS if t != "talkflow"], default=["ninja", "make"])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=SHAPES)
    parser.add_argument("--stages", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--talkflow", metavar="BINARY", help="a release build [default: built now]")
    parser.add_argument("--scratch", metavar="DIR", help="where to work [default: the system's folder for such]")
    arguments = parser.parse_args()
    ours = str(pathlib.Path(arguments.talkflow).resolve()) if arguments.talkflow else build()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        {"compare": compare, "large": large}[arguments.what](arguments, ours, pathlib.Path(scratch))


if __name__ == "__main__":
    main()
