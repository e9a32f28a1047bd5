"""Times a training step of the rating model `ncf` in PyTorch: benches (a) and (b), beside talkflow's training step.

A step is: gather the batch's users, items and ratings from the epoch's tensors by a shuffled order drawn beforehand, forward, mean squared
error, backward, Adam. Users, items and ratings are uniform from a seed; no dropout, no decay. Variants: Adam a tensor at a time
(`eager-adam`), `foreach-adam`, `fused-adam`, torch.compile of forward and loss with fused Adam (`compile-fused-adam`) and of everything
with foreach Adam (`compile-all`), SparseAdam on the tables with fused Adam on the dense layers (`sparse-adam`, `compile-sparse-adam`; there
the dense part is compiled, for sparse gradients are not). SparseAdam moves only the rows of the batch, as talkflow does; the others move
every row. (a) is the default; (b) is `--users 160000 --items 60000`.
"""

from torch.nn import functional as F

import steps
from ncf import Ncf


def build(model: Ncf, rows: int) -> steps.Built:
    def deep_loss(joined, wide, rating):
        return F.mse_loss(wide + model.deep(joined)[2], rating)

    return [], [], deep_loss


def main() -> None:
    arguments = steps.parser(__doc__, hidden=[256, 128, 64], rows=100_000).parse_args()
    sizes = {"users": arguments.users, "items": arguments.items}
    steps.report_all(arguments, "step", [sizes], lambda **_: build)


if __name__ == "__main__":
    main()
