"""The ways PyTorch has to take an Adam step, by name; and torch.compile of what comes before it."""

import torch
from torch import nn

# Name: (kind of optimiser, what is compiled). `loss` compiles forward and loss, `all` the optimiser's step too.
VARIANTS = {
    "eager-adam": ("eager", None),
    "foreach-adam": ("foreach", None),
    "fused-adam": ("fused", None),
    "compile-fused-adam": ("fused", "loss"),
    "compile-all": ("foreach", "all"),
    "sparse-adam": ("sparse", None),
    "compile-sparse-adam": ("sparse", "loss"),
}


class Optimisers:
    """One or two optimisers that step together."""

    def __init__(self, *optimisers: torch.optim.Optimizer):
        self.optimisers = optimisers

    def zero_grad(self) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        for optimiser in self.optimisers:
            optimiser.step()


def make(kind: str, tables: list[nn.Parameter], dense: list[nn.Parameter], rate: float) -> Optimisers:
    match kind:
        case "sparse":
            return Optimisers(torch.optim.SparseAdam(tables, lr=rate), torch.optim.Adam(dense, lr=rate, fused=True))
        case "fused":
            return Optimisers(torch.optim.Adam([*tables, *dense], lr=rate, fused=True))
        case _:
            return Optimisers(torch.optim.Adam([*tables, *dense], lr=rate, foreach=kind == "foreach", fused=False))


def decoupled(model: nn.Module, embeddings: list[nn.Parameter], modules: list[nn.Parameter], rate: float, decay: float):
    """Fused Adam with decoupled decay of the embeddings alone."""
    decayed = {id(parameter) for parameter in embeddings}
    others = [p for p in model.parameters() if id(p) not in decayed] + modules
    groups = [{"params": others, "weight_decay": 0.0}]
    if embeddings:
        groups.append({"params": embeddings, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=rate, fused=True)
