"""Times a training step of a student in a talk in PyTorch: bench (c), beside talkflow's `talk`.

The student (users 610, items 9724, hidden 64-32) talks to a frozen teacher (hidden 256-128-64) by the circular protocol with messages of
16 numbers: loss = task + 0.1 sum over rounds of corr(high, understood) + 0.1 corr(question, answer) + 0.1 squared error of the decoded low state
over the teacher's variance, the last two of the first round. The teacher's low states are tensors of the epoch, as cached features are;
its upper layers run live, their weights wanting no gradient. A step gathers indices, ratings and low states from the epoch's
tensors, and ends with Adam on the student and the four modules. Variants are those of step.py.
"""

import argparse
from collections.abc import Callable

import torch
from torch.nn import functional as F

import steps
from ncf import Frozen, Ncf, Talk, dense, frozen_weights


def build(arguments: argparse.Namespace, rounds: int) -> Callable[[Ncf, int], steps.Built]:
    teacher = arguments.teacher_hidden

    def built(model: Ncf, rows: int) -> steps.Built:
        low = F.relu(torch.randn(rows, teacher[0]))
        upper = Frozen(dense(inputs, outputs) for inputs, outputs in zip(teacher, teacher[1:]))
        talk = Talk(model, upper, frozen_weights(low), teacher, arguments.message, rounds)

        def deep_loss(joined, wide, rating, low):
            _, high, output = model.deep(joined)
            interact, message, state = talk(model, high, low)
            return F.mse_loss(wide + output, rating) + 0.1 * interact + 0.1 * message + 0.1 * state

        return [low], [parameter for parameter in talk.parameters() if parameter.requires_grad], deep_loss

    return built


def main() -> None:
    parser = steps.parser(__doc__, hidden=[64, 32], rows=50_000)
    parser.add_argument("--rounds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--message", type=int, default=16)
    parser.add_argument("--teacher-hidden", type=int, nargs="+", default=[256, 128, 64])
    arguments = parser.parse_args()
    sizes = [{"rounds": rounds} for rounds in arguments.rounds]
    steps.report_all(arguments, "talk", sizes, lambda rounds: build(arguments, rounds))


if __name__ == "__main__":
    main()
