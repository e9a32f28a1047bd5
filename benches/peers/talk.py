"""Times a training step of a student in a talk in PyTorch: bench (c), beside talkflow's `talk`.

The student (users 610, items 9724, hidden 64-32) talks to a frozen teacher (hidden 256-128-64) by the circular protocol with messages of
16 numbers: loss = task + 0.1 sum over rounds of corr(high, understood) + 0.1 corr(question, answer) + 0.1 squared error of the decoded low state
over the teacher's variance, the last two of the first round. The teacher's low states are tensors of the epoch, as cached features are;
its upper layers run live, their weights wanting no gradient. A step gathers indices, ratings and low states from the epoch's
tensors, and ends with Adam on the student and the four modules. Variants are those of step.py.
"""

import argparse

import torch
from torch.nn import functional as F

import optimisers
from common import Batches, guarded, time_steps, timing_arguments, use_threads
from ncf import Frozen, Ncf, Talk, dense, frozen_weights


def measure(arguments: argparse.Namespace, variant: str, batch: int, rounds: int) -> dict[str, object]:
    torch.manual_seed(arguments.seed)
    torch.compiler.reset()
    kind, compiled = optimisers.VARIANTS[variant]
    sparse = kind == "sparse"
    rows = max(arguments.rows, batch)
    user = torch.randint(arguments.users, (rows,))
    item = torch.randint(arguments.items, (rows,))
    rating = torch.randint(1, 11, (rows,)) / 2
    teacher = arguments.teacher_hidden
    low = F.relu(torch.randn(rows, teacher[0]))
    batches = Batches(rows, batch, arguments.seed)
    model = Ncf(arguments.users, arguments.items, arguments.embedding, arguments.hidden, sparse=sparse)
    model.mean.fill_(rating.mean())
    upper = Frozen(dense(inputs, outputs) for inputs, outputs in zip(teacher, teacher[1:]))
    talk = Talk(model, upper, frozen_weights(low), teacher, arguments.message, rounds)
    learning = [parameter for parameter in talk.parameters() if parameter.requires_grad]
    optimiser = optimisers.make(kind, model.tables(), [*model.dense_parameters(), *learning], arguments.rate)

    def deep_loss(joined, wide, rating, low):
        _, high, output = model.deep(joined)
        interact, message, state = talk(model, high, low)
        return F.mse_loss(wide + output, rating) + 0.1 * interact + 0.1 * message + 0.1 * state

    if compiled and sparse:
        deep_loss = torch.compile(deep_loss, dynamic=False)

    def loss(user, item, rating, low):
        return deep_loss(*model.lookup(user, item), rating, low)

    if compiled and not sparse:
        loss = torch.compile(loss, dynamic=False)
    update = torch.compile(optimiser.step) if compiled == "all" else optimiser.step

    def step() -> None:
        index = batches.next()
        optimiser.zero_grad()
        loss(user[index], item[index], rating[index], low[index]).backward()
        update()

    timed = time_steps(step, arguments.warm_up, arguments.seconds, arguments.repeats)
    return {"samples_per_second": round(timed["steps_per_second"] * batch), **timed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--variant", nargs="+", choices=[*optimisers.VARIANTS], default=[*optimisers.VARIANTS])
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--message", type=int, default=16)
    parser.add_argument("--users", type=int, default=610)
    parser.add_argument("--items", type=int, default=9724)
    parser.add_argument("--embedding", type=int, default=64)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 32])
    parser.add_argument("--teacher-hidden", type=int, nargs="+", default=[256, 128, 64])
    parser.add_argument("--rows", type=int, default=50_000, help="rows of the epoch")
    parser.add_argument("--rate", type=float, default=1e-3)
    timing_arguments(parser)
    arguments = parser.parse_args()
    for threads in arguments.threads:
        use_threads(threads)
        for rounds in arguments.rounds:
            for batch in arguments.batch:
                for variant in arguments.variant:
                    fields = {"bench": "talk", "variant": variant, "threads": threads, "batch": batch, "rounds": rounds}
                    guarded(fields, lambda: measure(arguments, variant, batch, rounds))


if __name__ == "__main__":
    main()
