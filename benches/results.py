"""Puts the tables of RESULTS.md in their places: runs the sweeps, and takes what talkflow writes.

    python3 benches/results.py --talkflow target/release/talkflow --data DIR [--store DIR] [MANIFEST ...]

Between `<!-- sweep: NAME -->` and `<!-- end -->` come the comparisons of means of `talkflow sweep manifests/NAME.yaml`, from its `results.md`; after
`<!-- search: NAME -->` what the searches chose and spent, from `talkflow show`; after `<!-- monitor: NAME -->` what was watched of the students, from its
`results.csv`. Names of manifests limit the work to these. What the store has is not made again.
"""

import argparse
import collections
import csv
import json
import pathlib
import re
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "RESULTS.md"
BLOCK = re.compile(r"<!-- (sweep|search|monitor): (\w+) -->\n.*?<!-- end -->\n", re.DOTALL)
# A hundredth of the rating scale's width, under which a deep path counts as collapsed.
COLLAPSED = 0.04


def table(head: list[str], numbers: int, lines: list[list[str]]) -> str:
    """A Markdown table whose last columns are numbers."""
    rule = "---|" * (len(head) - numbers) + "---:|" * numbers
    return "".join([f"| {' | '.join(head)} |\n|{rule}\n", *(f"| {' | '.join(cells)} |\n" for cells in lines)])


def methods(name: str) -> list[str]:
    """The manifest's parameter `methods`, or that of the manifest it extends."""
    text = (ROOT / f"manifests/{name}.yaml").read_text()
    if found := re.search(r"^  methods: \[(.*)\]", text, re.MULTILINE):
        return found[1].split(", ")
    extended = re.search(r"^extends: (\w+)\.yaml", text, re.MULTILINE)
    if extended is None:
        raise SystemExit(f"{name}: no parameter `methods`")
    return methods(extended[1])


def compared(folder: pathlib.Path) -> str:
    text = (folder / "results.md").read_text()
    lines = text[text.index("## Comparisons") :].split("\n\n", 1)[1].splitlines(keepends=True)
    return "".join(lines[:2] + [line for line in lines[2:] if line.startswith("| mean")])


def searched(show: list[str], name: str) -> str:
    title = re.search(r"^name: (.*)", (ROOT / f"manifests/{name}.yaml").read_text(), re.MULTILINE)[1]
    lines = []
    for method in methods(name):
        command = [*show, f"{title}.sweep:tuned[method={method}]", "--format", "json"]
        found = json.loads(subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout)["metrics"]
        chosen = {path.split(".")[-1]: value for path, value in found["chosen"].items()}
        words = ", ".join(f"{name} {value:.3g}" for name, value in chosen.items())
        lines.append([method, words, f"{found['validation_rmse']:.4f}", str(found["trainings"]), str(found["epochs"])])
    return table(["method", "chosen", "validation RMSE", "trainings", "epochs"], 3, lines)


def watched(folder: pathlib.Path, name: str) -> str:
    seen = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(folder / "results.csv", newline="") as file:
        for line in csv.DictReader(file):
            if line["stage"].startswith("student"):
                seen[line["label.method"]][line["metric"]].append(float(line["value"]))
    lines = []
    for method in methods(name):
        of = seen[method]
        mean = lambda metric, digits: f"{statistics.mean(of[metric]):.{digits}f}" if of[metric] else "-"
        collapsed = f"{sum(sd <= COLLAPSED for sd in of['deep_sd'])} of {len(of['deep_sd'])}" if of["deep_sd"] else "-"
        lines.append([method, mean("deep_sd", 3), mean("deep_share", 3), collapsed, mean("decoded_state_ratio", 2), mean("training_parameters", 0)])
    return table(["method", "sd of the deep path", "its share", "collapsed", "decoded state", "training-only parameters"], 5, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--talkflow", required=True)
    parser.add_argument("--data")
    parser.add_argument("--store")
    parser.add_argument("manifests", nargs="*")
    arguments = parser.parse_args()
    talkflow = str(pathlib.Path(arguments.talkflow).resolve())
    store = ["--store", str(pathlib.Path(arguments.store).resolve())] if arguments.store else []
    data = ["--data", str(pathlib.Path(arguments.data).resolve())] if arguments.data else []
    text = RESULTS.read_text()
    known = {name for _, name in BLOCK.findall(text)}
    wanted = set(arguments.manifests) or known
    if strangers := wanted - known:
        raise SystemExit(f"RESULTS.md has no table of {', '.join(sorted(strangers))}: it has {', '.join(sorted(known))}")
    with tempfile.TemporaryDirectory() as scratch:
        folders: dict[str, pathlib.Path] = {}

        def made(block: re.Match[str]) -> str:
            kind, name = block[1], block[2]
            if name not in wanted:
                return block[0]
            if name not in folders:
                folders[name] = pathlib.Path(scratch) / name
                command = [talkflow, "sweep", f"manifests/{name}.yaml", *store, *data, "-o", str(folders[name])]
                done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                if done.returncode != 0:
                    raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stderr[-4000:]}")
            match kind:
                case "sweep":
                    body = compared(folders[name])
                case "search":
                    body = searched([talkflow, "show", *store], name)
                case _:
                    body = watched(folders[name], name)
            return f"<!-- {kind}: {name} -->\n{body}<!-- end -->\n"

        RESULTS.write_text(BLOCK.sub(made, text))


if __name__ == "__main__":
    main()
