"""The rating model `ncf` and the modules and distances of its distillation, as talkflow defines them, in plain PyTorch.

prediction = mean + user bias + item bias + head(up(low(user embedding ++ item embedding))), ReLU after every hidden layer; the low state
is the first hidden layer's output, the high state the last one's; dropout acts on the input of every dense layer but the first.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

# The least part of the mean variance that a dimension's variance must exceed to count in a distance.
DEAD = 1e-6


def dense(inputs: int, outputs: int, gain: float = math.sqrt(2)) -> nn.Linear:
    """A dense layer with uniform weights of standard deviation gain / sqrt(inputs), and bias 0."""
    layer = nn.Linear(inputs, outputs)
    bound = gain * math.sqrt(3 / inputs)
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)
    return layer


class Ncf(nn.Module):
    """Tables of users and items, hidden layers, a linear head, and bias terms."""

    def __init__(
        self,
        users: int,
        items: int,
        embedding: int,
        hidden: Iterable[int],
        dropout: float = 0.0,
        embedding_sd: float = 0.1,
        sparse: bool = False,
    ):
        super().__init__()
        hidden = list(hidden)
        self.widths = hidden
        self.register_buffer("mean", torch.zeros(()))
        self.user_bias = nn.Embedding(users, 1, sparse=sparse)
        self.item_bias = nn.Embedding(items, 1, sparse=sparse)
        self.user = nn.Embedding(users, embedding, sparse=sparse)
        self.item = nn.Embedding(items, embedding, sparse=sparse)
        for table in (self.user_bias, self.item_bias):
            nn.init.zeros_(table.weight)
        for table in (self.user, self.item):
            bound = embedding_sd * math.sqrt(3)
            nn.init.uniform_(table.weight, -bound, bound)
        self.layers = nn.ModuleList(dense(i, o) for i, o in zip([2 * embedding, *hidden], hidden))
        self.head = dense(hidden[-1], 1, gain=1.0)
        self.dropout = dropout

    def drop(self, state: torch.Tensor) -> torch.Tensor:
        return F.dropout(state, self.dropout, self.training) if self.dropout > 0 else state

    def up(self, low: torch.Tensor) -> torch.Tensor:
        """(batch, low width) to (batch, high width)."""
        state = low
        for layer in self.layers[1:]:
            state = F.relu(layer(self.drop(state)))
        return state

    def lookup(self, user: torch.Tensor, item: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Joined embeddings, (batch, 2 e), and mean plus bias terms, (batch)."""
        wide = self.mean + self.user_bias(user).squeeze(1) + self.item_bias(item).squeeze(1)
        return torch.cat((self.user(user), self.item(item)), dim=1), wide

    def deep(self, joined: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Low state, high state, and what the head makes of it, (batch)."""
        low = F.relu(self.layers[0](joined))
        high = self.up(low)
        return low, high, self.head(self.drop(high)).squeeze(1)

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        joined, wide = self.lookup(user, item)
        return wide + self.deep(joined)[2]

    def embedding_tables(self) -> list[nn.Parameter]:
        return [self.user.weight, self.item.weight]

    def tables(self) -> list[nn.Parameter]:
        return [*self.embedding_tables(), self.user_bias.weight, self.item_bias.weight]

    def dense_parameters(self) -> list[nn.Parameter]:
        return [*self.layers.parameters(), *self.head.parameters()]


class Module(nn.Module):
    """A training-only module: dense, ReLU, dense, hidden width the larger of both ends unless given; a ReLU more where it writes into
    a state that has gone through one."""

    def __init__(self, inputs: int, outputs: int, into_state: bool, hidden: int | None = None):
        super().__init__()
        hidden = hidden or max(inputs, outputs)
        self.first = dense(inputs, hidden)
        self.second = dense(hidden, outputs, gain=math.sqrt(2) if into_state else 1.0)
        self.into_state = into_state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(F.relu(self.first(x)))
        return F.relu(x) if self.into_state else x


class Frozen(nn.Module):
    """A teacher's layers between its low and its high state; gradients pass through them, but stop at their weights."""

    def __init__(self, layers: Iterable[nn.Linear]):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.requires_grad_(False)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            state = F.relu(layer(state))
        return state


def corr(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """1 - the mean, over dimensions that vary on both sides, of Pearson's correlation over the batch."""
    a, b = a - a.mean(0), b - b.mean(0)
    squares_a, squares_b = a.square().sum(0), b.square().sum(0)
    live = (squares_a > DEAD * squares_a.mean()) & (squares_b > DEAD * squares_b.mean())
    norms = torch.where(live, squares_a * squares_b, 1.0).sqrt()
    r = torch.where(live, (a * b).sum(0) / norms, 0.0)
    return 1 - r.sum() / live.sum().clamp(min=1)


def frozen_weights(states: torch.Tensor) -> torch.Tensor:
    """For each dimension of a teacher's cached states, 1 / (variance * live dimensions), or 0 where it does not vary."""
    variance = states.double().var(0, unbiased=False)
    live = variance > DEAD * variance.mean()
    return torch.where(live, 1 / (variance * live.sum()), 0.0).float()


def frozen_mse(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The mean over rows of the weighted squared difference."""
    return ((a - b).square() * weights).sum(1).mean()


class Talk(nn.Module):
    """The modules of a talk by the circular protocol, and the terms of its loss beside the task's, at talkflow's default distances."""

    def __init__(self, student: Ncf, upper: Frozen, weights: torch.Tensor, teacher: list[int], message: int, rounds: int):
        super().__init__()
        self.rounds = rounds
        self.upper = upper
        self.register_buffer("frozen", weights)
        self.student_encoder = Module(student.widths[-1], message, False)
        self.teacher_decoder = Module(message, teacher[0], True)
        self.teacher_encoder = Module(teacher[-1], message, False)
        self.student_decoder = Module(message, student.widths[0], True)

    def forward(self, student: Ncf, high: torch.Tensor, teacher_low: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The interaction term summed over rounds, message consistency, state consistency."""
        state, interact = high, 0.0
        for number in range(self.rounds):
            question = self.student_encoder(state)
            decoded = self.teacher_decoder(question)
            answer = self.teacher_encoder(self.upper(decoded))
            state = student.up(self.student_decoder(answer))
            interact = interact + corr(high, state)
            if number == 0:
                first = (question, decoded, answer)
        question, decoded, answer = first
        return interact, corr(question, answer), frozen_mse(decoded, teacher_low, self.frozen)
