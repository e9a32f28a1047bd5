"""Times a training step of the rating model `ncf` in PyTorch: benches (a) and (b), beside talkflow's training step.

A step is: gather the batch's users, items and ratings from the epoch's tensors by a shuffled order drawn beforehand, forward, mean squared
error, backward, Adam. Users, items and ratings are uniform from a seed; no dropout, no decay. Variants: Adam a tensor at a time
(`eager-adam`), `foreach-adam`, `fused-adam`, torch.compile of forward and loss with fused Adam (`compile-fused-adam`) and of everything
with foreach Adam (`compile-all`), SparseAdam on the tables with fused Adam on the dense layers (`sparse-adam`, `compile-sparse-adam`; there
the dense part is compiled, for sparse gradients are not). SparseAdam moves only the rows of the batch, as talkflow does; the others move
every row. (a) is the default; (b) is `--users 160000 --items 60000`.
"""

import argparse

import torch
from torch.nn import functional as F

import optimisers
from common import Batches, guarded, time_steps, timing_arguments, use_threads
from ncf import Ncf


def measure(arguments: argparse.Namespace, variant: str, batch: int) -> dict[str, object]:
    torch.manual_seed(arguments.seed)
    torch.compiler.reset()
    kind, compiled = optimisers.VARIANTS[variant]
    sparse = kind == "sparse"
    rows = max(arguments.rows, batch)
    user = torch.randint(arguments.users, (rows,))
    item = torch.randint(arguments.items, (rows,))
    rating = torch.randint(1, 11, (rows,)) / 2
    batches = Batches(rows, batch, arguments.seed)
    model = Ncf(arguments.users, arguments.items, arguments.embedding, arguments.hidden, sparse=sparse)
    model.mean.fill_(rating.mean())
    optimiser = optimisers.make(kind, model.tables(), model.dense_parameters(), arguments.rate)

    def deep_loss(joined, wide, rating):
        return F.mse_loss(wide + model.deep(joined)[2], rating)

    if compiled and sparse:
        deep_loss = torch.compile(deep_loss, dynamic=False)

    def loss(user, item, rating):
        return deep_loss(*model.lookup(user, item), rating)

    if compiled and not sparse:
        loss = torch.compile(loss, dynamic=False)
    update = torch.compile(optimiser.step) if compiled == "all" else optimiser.step

    def step() -> None:
        index = batches.next()
        optimiser.zero_grad()
        loss(user[index], item[index], rating[index]).backward()
        update()

    timed = time_steps(step, arguments.warm_up, arguments.seconds, arguments.repeats)
    return {"samples_per_second": round(timed["steps_per_second"] * batch), **timed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--variant", nargs="+", choices=[*optimisers.VARIANTS], default=[*optimisers.VARIANTS])
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--users", type=int, default=610)
    parser.add_argument("--items", type=int, default=9724)
    parser.add_argument("--embedding", type=int, default=64)
    parser.add_argument("--hidden", type=int, nargs="+", default=[256, 128, 64])
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the epoch")
    parser.add_argument("--rate", type=float, default=1e-3)
    timing_arguments(parser)
    arguments = parser.parse_args()
    for threads in arguments.threads:
        use_threads(threads)
        for batch in arguments.batch:
            for variant in arguments.variant:
                sizes = {"users": arguments.users, "items": arguments.items}
                fields = {"bench": "step", "variant": variant, "threads": threads, "batch": batch, **sizes}
                guarded(fields, lambda: measure(arguments, variant, batch))


if __name__ == "__main__":
    main()
