"""The timed step that step.py and talk.py share: rows of an epoch drawn from a seed, batches, an optimiser, torch.compile where the variant asks for
it. What the loss is made of comes from them."""

import argparse
from collections.abc import Callable, Sequence

import torch

import optimisers
from common import Batches, guarded, time_steps, timing_arguments, use_threads
from ncf import Ncf

# What a script adds to the epoch's columns, what learns beside the model, and the loss of (joined embeddings, bias part, ratings, added columns...).
Built = tuple[Sequence[torch.Tensor], Sequence[torch.nn.Parameter], Callable[..., torch.Tensor]]


def measure(arguments: argparse.Namespace, variant: str, batch: int, build: Callable[[Ncf, int], Built]) -> dict[str, object]:
    """Samples a second; `build` gets the model and the number of rows."""
    torch.manual_seed(arguments.seed)
    torch.compiler.reset()
    kind, compiled = optimisers.VARIANTS[variant]
    sparse = kind == "sparse"
    rows = max(arguments.rows, batch)
    # For what is made only: a default device costs every operation a little, and steps are timed.
    with torch.device(arguments.device):
        user = torch.randint(arguments.users, (rows,))
        item = torch.randint(arguments.items, (rows,))
        rating = torch.randint(1, 11, (rows,)) / 2
        batches = Batches(rows, batch, arguments.seed)
        model = Ncf(arguments.users, arguments.items, arguments.embedding, arguments.hidden, sparse=sparse)
        model.mean.fill_(rating.mean())
        added, learning, deep_loss = build(model, rows)
    optimiser = optimisers.make(kind, model.tables(), [*model.dense_parameters(), *learning], arguments.rate)
    if compiled and sparse:
        deep_loss = torch.compile(deep_loss, dynamic=False)

    def loss(user, item, rating, *added):
        return deep_loss(*model.lookup(user, item), rating, *added)

    if compiled and not sparse:
        loss = torch.compile(loss, dynamic=False)
    update = torch.compile(optimiser.step) if compiled == "all" else optimiser.step

    def step() -> None:
        index = batches.next()
        optimiser.zero_grad()
        loss(user[index], item[index], rating[index], *(column[index] for column in added)).backward()
        update()

    timed = time_steps(step, arguments.warm_up, arguments.seconds, arguments.repeats)
    return {"samples_per_second": round(timed["steps_per_second"] * batch), **timed}


def parser(description: str, hidden: list[int], rows: int) -> argparse.ArgumentParser:
    """The arguments that both scripts take."""
    parser = argparse.ArgumentParser(description=description.split("\n\n")[0])
    parser.add_argument("--variant", nargs="+", choices=[*optimisers.VARIANTS], default=[*optimisers.VARIANTS])
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--users", type=int, default=610)
    parser.add_argument("--items", type=int, default=9724)
    parser.add_argument("--embedding", type=int, default=64)
    parser.add_argument("--hidden", type=int, nargs="+", default=hidden)
    parser.add_argument("--rows", type=int, default=rows, help="rows of the epoch")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where everything of a step lies and is done")
    timing_arguments(parser)
    return parser


def report_all(
    arguments: argparse.Namespace,
    bench: str,
    sizes: Sequence[dict[str, int]],
    build: Callable[..., Callable[[Ncf, int], Built]],
) -> None:
    """Measures every variant with every number of threads, size and batch; `build` gets a size's fields."""
    for threads in arguments.threads:
        use_threads(threads)
        for size in sizes:
            for batch in arguments.batch:
                for variant in arguments.variant:
                    fields = {"bench": bench, "variant": variant, "device": arguments.device, "threads": threads, "batch": batch, **size}
                    guarded(fields, lambda: measure(arguments, variant, batch, build(**size)))
