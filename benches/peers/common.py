"""What the scripts share: repeated timing, and one line of JSON a measurement on standard output."""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch


def report(**measurement: object) -> None:
    """Prints a measurement as one line of JSON."""
    print(json.dumps(measurement), flush=True)


def settle() -> None:
    """Waits for what a GPU still has to do; calls return before that."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def time_steps(step: Callable[[], None], warm_up: int, seconds: float, repeats: int) -> dict[str, object]:
    """Runs `warm_up` steps untimed, then `repeats` times as many as fit into `seconds`. Returns steps a second: the median, and all."""
    for _ in range(warm_up):
        step()
    settle()
    rates = []
    for _ in range(repeats):
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            step()
            done += 1
        settle()
        rates.append(done / (time.perf_counter() - begin))
    return {"steps_per_second": statistics.median(rates), "repeats": [round(rate, 2) for rate in rates]}


class Batches:
    """Endless batches of an epoch's row numbers, (batch,) int64, in orders that are drawn beforehand from a seed."""

    def __init__(self, rows: int, batch: int, seed: int, orders: int = 2):
        assert rows >= batch, "an epoch must hold a batch"
        generator = torch.Generator("cpu").manual_seed(seed)
        drawn = [torch.randperm(rows, generator=generator, device="cpu") for _ in range(orders)]
        shuffled = [order.to(torch.empty(0).device) for order in drawn]
        self.batches = [order[at : at + batch] for order in shuffled for at in range(0, rows - batch + 1, batch)]
        self.at = 0

    def next(self) -> torch.Tensor:
        batch = self.batches[self.at]
        self.at = (self.at + 1) % len(self.batches)
        return batch


def timing_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--warm-up", type=int, default=20, help="untimed steps before the first repeat")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds a repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=1)


def guarded(fields: dict[str, object], measure: Callable[[], dict[str, object]]) -> None:
    """Reports what `measure` finds. A variant that this machine cannot run (torch.compile without a compiler, say) is said so, not
    hidden."""
    try:
        report(**fields, **measure())
    except Exception as error:  # noqa: BLE001: whatever a compiler throws belongs into the result
        message = next((line for line in str(error).splitlines() if line.strip()), "")
        report(**fields, error=f"{type(error).__name__}: {message}"[:300])
        print(error, file=sys.stderr)


def use_threads(threads: int) -> None:
    # Moments of rows that are seldom touched fade into denormals, which would slow dense Adam down.
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    assert torch.get_num_threads() == threads, f"{threads} threads asked for, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}"
