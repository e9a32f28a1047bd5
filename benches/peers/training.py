"""A training loop for rating models as a researcher would write it: evenly shared batches, early stopping on validation RMSE, best weights
kept. Used by sparse.py and students.py; knows no files."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

import optimisers
from ncf import Ncf


@dataclass
class Rows:
    """Ratings of some rows; users and items are dense indices."""

    user: torch.Tensor
    item: torch.Tensor
    rating: torch.Tensor

    def __len__(self) -> int:
        return len(self.rating)

    def at(self, index: torch.Tensor) -> "Rows":
        return Rows(self.user[index], self.item[index], self.rating[index])


@dataclass
class Settings:
    """How a model is trained. `patience` of none: never stop early."""

    batch: int
    epochs: int
    patience: int | None
    rate: float = 1e-3
    embedding_decay: float = 0.0
    compile: bool = False


class Biases(nn.Module):
    """Mean plus bias terms: the model without its deep path."""

    def __init__(self, users: int, items: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.user_bias = nn.Embedding(users, 1)
        self.item_bias = nn.Embedding(items, 1)

    def embedding_tables(self) -> list[nn.Parameter]:
        return []

    def lookup(self, user: torch.Tensor, item: torch.Tensor) -> tuple[None, torch.Tensor]:
        return None, self.mean + self.user_bias(user).squeeze(1) + self.item_bias(item).squeeze(1)

    def deep(self, joined: None) -> tuple[None, None, float]:
        return None, None, 0.0


Model = Ncf | Biases


@torch.no_grad()
def begin_biases(model: Model, train: Rows, damping: float) -> None:
    """Sets the mean, and begins the bias terms at damped means of the residuals: items first, users on what is left."""
    model.mean.fill_(train.rating.mean())
    residual = (train.rating - model.mean).double()
    for table, index in ((model.item_bias.weight, train.item), (model.user_bias.weight, train.user)):
        sums = torch.zeros(len(table), dtype=torch.float64).index_add_(0, index, residual)
        means = sums / (torch.bincount(index, minlength=len(table)) + damping)
        table.copy_(means.nan_to_num(0.0).float().unsqueeze(1))
        residual -= means[index]


@torch.no_grad()
def predict(model: Model, train: Rows, rows: Rows) -> torch.Tensor:
    """Predictions, not clipped. Users and items that training has not seen bring neither their bias nor the deep path."""
    seen_user = torch.bincount(train.user, minlength=model.user_bias.num_embeddings)[rows.user] > 0
    seen_item = torch.bincount(train.item, minlength=model.item_bias.num_embeddings)[rows.item] > 0
    training = model.training
    model.eval()
    joined, _ = model.lookup(rows.user, rows.item)
    deep = model.deep(joined)[2]
    model.train(training)
    wide = model.mean + model.user_bias(rows.user).squeeze(1) * seen_user + model.item_bias(rows.item).squeeze(1) * seen_item
    return wide + deep * (seen_user & seen_item)


def rmse(model: Model, train: Rows, rows: Rows, scale: tuple[float, float]) -> float:
    return F.mse_loss(predict(model, train, rows).clamp(*scale), rows.rating).sqrt().item()


# What a method adds to the squared error: gets (the model, high states, predictions, row numbers of the batch).
Extra = Callable[[Model, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def fit(
    model: Model,
    train: Rows,
    validation: Rows,
    scale: tuple[float, float],
    settings: Settings,
    extra: Extra | None = None,
    modules: nn.Module | None = None,
) -> int:
    """Trains, and leaves the best epoch's weights in the model. Returns how many epochs were run."""
    learning = [p for p in modules.parameters() if p.requires_grad] if modules is not None else []
    optimiser = optimisers.decoupled(model, model.embedding_tables(), learning, settings.rate, settings.embedding_decay)

    def objective(user, item, rating, index):
        joined, wide = model.lookup(user, item)
        _, high, deep = model.deep(joined)
        output = wide + deep
        loss = F.mse_loss(output, rating)
        return loss if extra is None else loss + extra(model, high, output, index)

    if settings.compile:
        objective = torch.compile(objective, dynamic=True)
    best, best_epoch, kept = math.inf, 0, None
    steps = math.ceil(len(train) / settings.batch)
    model.train()
    for epoch in range(1, settings.epochs + 1):
        for index in torch.randperm(len(train)).tensor_split(steps):
            optimiser.zero_grad(set_to_none=True)
            objective(train.user[index], train.item[index], train.rating[index], index).backward()
            optimiser.step()
        error = rmse(model, train, validation, scale)
        if error < best:
            best, best_epoch = error, epoch
            kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        if settings.patience is not None and epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(kept)
    return epoch
