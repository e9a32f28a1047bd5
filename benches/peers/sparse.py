"""Does in PyTorch what `talkflow run manifests/movielens_quick.yaml` does: bench (d), beside that command from an empty store.

MovieLens 100K from its interaction and item files; three seeds of a random 80/10/10 split; a teacher a seed (ncf 64, hidden 128-64, dropout
0.4); its features cached for the training rows of the four sparse genres; eight methods by four genres by three seeds of students (ncf 16, hidden
32-16, dropout 0.3); test RMSE of each. Eager PyTorch with fused Adam, the quickest option at such sizes, and students shared out over
processes of one thread each. The random numbers are PyTorch's own; `--splits` takes the splits that talkflow drew (`talkflow export 'split[seed=1]' -o DIR`), without which three
splits differ by more than methods do. Epochs until early stopping are counted, so that the amount of work can be compared. Prints a
table on standard error, JSON on standard output.
"""

import argparse
import csv
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import multiprocessing as mp
from torch import nn

from common import report
from ncf import Frozen, Module, Ncf, Talk, corr, frozen_mse, frozen_weights
from training import Biases, Rows, Settings, begin_biases, fit, predict, rmse

SEEDS = [1, 2, 3]
GENRES = ["Western", "Film-Noir", "Fantasy", "Documentary"]
METHODS = ["bias_only", "scratch", "label", "feature", "one_way", "one_way_wide", "talk", "talk_label"]
SCALE = (1.0, 5.0)
PARTS = ["train", "validation", "test"]
MESSAGE = 16
TEACHER_HIDDEN = [128, 64]
STUDENT_HIDDEN = [32, 16]
TEACHER = Settings(batch=256, epochs=30, patience=4, embedding_decay=1.0)
STUDENT = Settings(batch=64, epochs=100, patience=8, embedding_decay=1.0)


class Data:
    """The ratings, and which rows belong to which genre."""

    def __init__(self, directory: Path):
        with open(directory / "ml-100k.inter", newline="") as file:
            reader = csv.reader(file, delimiter="\t")
            next(reader)
            lines = list(reader)
        users: dict[str, int] = {}
        items: dict[str, int] = {}
        self.rows = Rows(
            torch.tensor([users.setdefault(line[0], len(users)) for line in lines]),
            torch.tensor([items.setdefault(line[1], len(items)) for line in lines]),
            torch.tensor([float(line[2]) for line in lines]),
        )
        self.users, self.items = len(users), len(items)
        with open(directory / "ml-100k.item", newline="", encoding="utf-8") as file:
            reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            next(reader)
            genres = {line[0]: line[3].split() for line in reader}
        self.of_genre = {}
        for genre in GENRES:
            has = torch.tensor([genre in genres.get(item, ()) for item in items])
            self.of_genre[genre] = has[self.rows.item]


def split(rows: int, seed: int) -> torch.Tensor:
    """The part of each row: 0 train, 1 validation, 2 test."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    parts = torch.empty(rows, dtype=torch.int8)
    train, validation = round(rows * 0.8), round(rows * 0.1)
    for part, chosen in enumerate(order.split([train, validation, rows - train - validation])):
        parts[chosen] = part
    return parts


def split_of(file: Path) -> torch.Tensor:
    """The parts that `talkflow export 'split[seed=1]'` wrote as csv."""
    with open(file, newline="") as lines:
        parts = {int(line["row"]): PARTS.index(line["part"]) for line in csv.DictReader(lines)}
    return torch.tensor([parts[row] for row in range(len(parts))], dtype=torch.int8)


DATA: Data
SPLITS: dict[int, torch.Tensor]


def start(directory: Path, splits: dict[int, Path | None], threads: int) -> None:
    """Prepares a process: its threads, the data, and its splits by seed."""
    global DATA, SPLITS
    torch.set_num_threads(threads)
    DATA = Data(directory)
    SPLITS = {seed: split_of(file) if file else split(len(DATA.rows), seed) for seed, file in splits.items()}


def parts_of(seed: int, genre: str | None) -> list[Rows]:
    parts = SPLITS[seed]
    chosen = DATA.of_genre[genre] if genre else torch.ones_like(parts, dtype=torch.bool)
    return [DATA.rows.at(((parts == part) & chosen).nonzero().squeeze(1)) for part in range(3)]


def teach(seed: int) -> dict:
    """Trains a teacher. Returns its upper layers, its features of each genre's training rows, and its test RMSE on each genre."""
    torch.manual_seed(seed)
    train, validation, _ = parts_of(seed, None)
    model = Ncf(DATA.users, DATA.items, 64, TEACHER_HIDDEN, dropout=0.4, embedding_sd=0.03)
    begin_biases(model, train, damping=10)
    epochs = fit(model, train, validation, SCALE, TEACHER)
    features, errors = {}, {}
    model.eval()
    for genre in GENRES:
        rows, _, test = parts_of(seed, genre)
        with torch.no_grad():
            low, high, _ = model.deep(model.lookup(rows.user, rows.item)[0])
        features[genre] = {"low": low, "high": high, "output": predict(model, train, rows)}
        errors[genre] = rmse(model, train, test, SCALE)
    upper = [layer.state_dict() for layer in model.layers[1:]]
    return {"seed": seed, "upper": upper, "features": features, "errors": errors, "epochs": epochs}


def widened() -> int:
    """The hidden width at which the two modules of `one_way` have as many parameters as a talk's four."""

    def numbers(inputs: int, outputs: int) -> int:
        hidden = max(inputs, outputs)
        return (inputs + 1) * hidden + (hidden + 1) * outputs

    low, high, into = TEACHER_HIDDEN[0], TEACHER_HIDDEN[-1], STUDENT_HIDDEN[-1]
    four = numbers(into, MESSAGE) + numbers(MESSAGE, low) + numbers(high, MESSAGE) + numbers(MESSAGE, STUDENT_HIDDEN[0])
    return round((four - MESSAGE - into) / (high + into + 2 * MESSAGE + 2))


def terms(method: str, model: Ncf, features: dict, upper: list[dict]):
    """What the method adds to the loss, and its modules."""
    low, high, output = features["low"], features["high"], features["output"]
    label = lambda predicted, index: 3 * (predicted - output[index]).square().mean()  # noqa: E731
    student_high = STUDENT_HIDDEN[-1]
    match method:
        case "label":
            return (lambda _m, _h, predicted, index: label(predicted, index)), None
        case "feature":
            projector = nn.Linear(student_high, high.shape[1])
            bound = (3 / student_high) ** 0.5
            nn.init.uniform_(projector.weight, -bound, bound)
            nn.init.zeros_(projector.bias)
            weights = frozen_weights(high)
            return (lambda _m, state, _p, index: 0.1 * frozen_mse(projector(state), high[index], weights)), projector
        case "one_way" | "one_way_wide":
            hidden = widened() if method == "one_way_wide" else None
            encoder, decoder = Module(high.shape[1], MESSAGE, False, hidden), Module(MESSAGE, student_high, True, hidden)
            modules = nn.ModuleList([encoder, decoder])
            return (lambda _m, state, _p, index: 0.1 * corr(state, decoder(encoder(high[index])))), modules
        case "talk" | "talk_label":
            layers = []
            for state in upper:
                outputs, inputs = state["weight"].shape
                layer = nn.Linear(inputs, outputs)
                layer.load_state_dict(state)
                layers.append(layer)
            talk = Talk(model, Frozen(layers), frozen_weights(low), TEACHER_HIDDEN, MESSAGE, rounds=1)

            def extra(model, state, predicted, index):
                interact, message, decoded = talk(model, state, low[index])
                loss = 0.1 * interact + 0.1 * message + 0.1 * decoded
                return loss + label(predicted, index) if method == "talk_label" else loss

            return extra, talk
        case _:
            return None, None


def study(task: tuple) -> dict:
    """Trains and tests one student."""
    seed, genre, method, features, upper = task
    torch.manual_seed(seed)
    train, validation, test = parts_of(seed, genre)
    if method == "bias_only":
        model = Biases(DATA.users, DATA.items)
    else:
        model = Ncf(DATA.users, DATA.items, 16, STUDENT_HIDDEN, dropout=0.3, embedding_sd=0.03)
    begin_biases(model, train, damping=5)
    extra, modules = terms(method, model, features, upper)
    epochs = fit(model, train, validation, SCALE, STUDENT, extra, modules)
    error = rmse(model, train, test, SCALE)
    return {"seed": seed, "genre": genre, "method": method, "rmse": error, "epochs": epochs, "rows": epochs * len(train)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with ml-100k.inter and ml-100k.item")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each; 1: this process alone")
    parser.add_argument("--threads", type=int, default=1, help="threads of a process")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--splits", type=Path, nargs="+", help="exported splits (csv), one a seed, instead of splits drawn here")
    arguments = parser.parse_args()
    splits = dict(zip(arguments.seeds, arguments.splits or [None] * len(arguments.seeds), strict=True))
    begin = time.perf_counter()
    if arguments.workers == 1:
        start(arguments.data, splits, arguments.threads)
        run, pool = map, None
    else:
        pool = mp.get_context("spawn").Pool(arguments.workers, start, (arguments.data, splits, arguments.threads))
        run = lambda function, tasks: pool.imap_unordered(function, tasks, chunksize=1)  # noqa: E731
    teachers = {teacher["seed"]: teacher for teacher in run(teach, arguments.seeds)}
    taught = time.perf_counter()
    tasks = [
        (seed, genre, method, teachers[seed]["features"][genre], teachers[seed]["upper"])
        for seed in arguments.seeds
        for genre in GENRES
        for method in arguments.methods
    ]
    students = list(run(study, tasks))
    seconds = time.perf_counter() - begin
    if pool is not None:
        pool.close()
        pool.join()

    def mean(errors) -> float:
        return round(statistics.mean(errors), 4)

    print(f"{'':14}" + "".join(f"{genre:>13}" for genre in GENRES) + f"{'mean':>13}", file=sys.stderr)
    means = {}
    for method in [*arguments.methods, "teacher"]:
        if method == "teacher":
            of = {genre: [teacher["errors"][genre] for teacher in teachers.values()] for genre in GENRES}
        else:
            of = {genre: [s["rmse"] for s in students if (s["genre"], s["method"]) == (genre, method)] for genre in GENRES}
        row = [mean(of[genre]) for genre in GENRES]
        means[method] = mean(row)
        print(f"{method:14}" + "".join(f"{error:13.4f}" for error in [*row, means[method]]), file=sys.stderr)
    work = {
        "teacher_epochs": sum(teacher["epochs"] for teacher in teachers.values()),
        "students": len(students),
        "student_epochs": sum(student["epochs"] for student in students),
        "student_rows": sum(student["rows"] for student in students),
    }
    sizes = {"workers": arguments.workers, "threads": arguments.threads}
    times = {"seconds": round(seconds, 2), "teacher_seconds": round(taught - begin, 2)}
    report(bench="sparse", variant="fused-adam", **sizes, **times, **work, rmse=means)


if __name__ == "__main__":
    main()
