"""Times several students at once in PyTorch, a sweep's inner loop: bench (f), beside talkflow's students a minute on the same cores.

Each student is one like `scratch` of manifests/movielens_quick.yaml: ncf 16, hidden 32-16, dropout 0.3, batch 64, fused Adam with decoupled
decay of the embeddings, but on a genre of 8 000 training rows and for 20 epochs always, with validation after each. Students are shared
out over processes of one thread each. The clock runs from when every process has imported torch and drawn its data to when
the last student is done; `--compile` compiles forward and loss, and one student is trained untimed first so that compiling is not counted.
"""

import argparse
import math
import time
from dataclasses import replace

import torch
from torch import multiprocessing as mp

from common import report
from ncf import Ncf
from training import Rows, Settings, begin_biases, fit

SETTINGS = Settings(batch=64, epochs=20, patience=None, embedding_decay=1.0)


def rows(count: int, users: int, items: int) -> Rows:
    return Rows(torch.randint(users, (count,)), torch.randint(items, (count,)), torch.randint(1, 6, (count,)).float())


def train_one(arguments: argparse.Namespace, seed: int, train: Rows, validation: Rows, settings: Settings) -> None:
    torch.manual_seed(seed)
    model = Ncf(arguments.users, arguments.items, 16, [32, 16], dropout=0.3, embedding_sd=0.03)
    begin_biases(model, train, damping=5)
    fit(model, train, validation, (1.0, 5.0), settings)


def work(arguments: argparse.Namespace, ready, seeds) -> None:
    """A process: waits until all are ready, then trains students until none are left."""
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    train = rows(arguments.rows, arguments.users, arguments.items)
    validation = rows(arguments.rows // 8, arguments.users, arguments.items)
    settings = replace(SETTINGS, epochs=arguments.epochs, compile=arguments.compile)
    train_one(arguments, arguments.seed, train, validation, replace(settings, epochs=1))
    ready.wait()
    while (seed := seeds.get()) is not None:
        train_one(arguments, seed, train, validation, settings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--students", type=int, default=8)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rows", type=int, default=8000, help="training rows of a student; an eighth more for validation")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--users", type=int, default=943)
    parser.add_argument("--items", type=int, default=1682)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    context = mp.get_context("spawn")
    ready, seeds = context.Barrier(arguments.processes + 1), context.Queue()
    for seed in range(arguments.students):
        seeds.put(arguments.seed + seed)
    processes = [context.Process(target=work, args=(arguments, ready, seeds)) for _ in range(arguments.processes)]
    for process in processes:
        seeds.put(None)
        process.start()
    ready.wait()
    begin = time.perf_counter()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"a process ended with {process.exitcode}")
    seconds = time.perf_counter() - begin
    steps = math.ceil(arguments.rows / SETTINGS.batch) * arguments.epochs
    report(
        bench="students",
        variant="compile-fused-adam" if arguments.compile else "fused-adam",
        threads=1,
        processes=arguments.processes,
        students=arguments.students,
        rows=arguments.rows,
        epochs=arguments.epochs,
        batch=SETTINGS.batch,
        seconds=round(seconds, 2),
        students_per_minute=round(60 * arguments.students / seconds, 2),
        samples_per_second=round(arguments.students * arguments.rows * arguments.epochs / seconds),
        steps_per_second=round(arguments.students * steps / seconds, 1),
    )


if __name__ == "__main__":
    main()
