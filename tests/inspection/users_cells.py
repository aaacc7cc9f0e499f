"""Cells as a user may write them: whatever they hold, they can be inspected."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.cells.base import Cell, HiddenState


class OwnState(NamedTuple):
    hidden: Tensor
    total: Tensor  # [B]
    matrix: Tensor  # [B, H, H]
    count: Tensor  # whole numbers [B, H]


class Unusual(Cell):
    """A state with fields of one and of three dimensions, and with whole numbers, that starts in single precision."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.weight = nn.Parameter(0.3 * torch.randn(hidden_size, input_size))

    def project(self, x):
        return x @ self.weight.T

    def step(self, x_gates, state):
        hidden = torch.tanh(x_gates + 0.9 * state.hidden + 0.01 * state.total[:, None])
        matrix = 0.9 * state.matrix + hidden[:, :, None] * hidden[:, None, :]
        return OwnState(hidden + 0.01 * matrix.mean(2), state.total + hidden.sum(1), matrix, state.count + 1)

    def initial_state(self, batch_size):
        H = self.hidden_size
        sizes = (batch_size, H), (batch_size,), (batch_size, H, H)
        return OwnState(*map(torch.zeros, sizes), torch.zeros(batch_size, H, dtype=torch.long))


class TwoBlocks(Cell):
    """`w_h` is not square, and nothing is named."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.w_x = nn.Parameter(0.3 * torch.randn(2 * hidden_size, input_size))
        self.w_h = self.recurrent()

    def recurrent(self):
        return nn.Parameter(0.3 * torch.randn(2 * self.hidden_size, self.hidden_size))

    def project(self, x):
        return x @ self.w_x.T

    def step(self, x_gates, state):
        f, g = (x_gates + self.by_weights(state.hidden)).chunk(2, 1)
        return HiddenState(self.kept(f, g) * state.hidden + torch.tanh(g))

    def by_weights(self, hidden):
        return hidden @ self.w_h.T

    def kept(self, f, _):
        return torch.sigmoid(f)

    def initial_state(self, batch_size):
        return HiddenState(self.w_x.new_zeros(batch_size, self.hidden_size))


class WeightsInAModule(TwoBlocks):
    """`w_h` is a module."""

    def recurrent(self):
        return nn.Linear(self.hidden_size, 2 * self.hidden_size)

    def by_weights(self, hidden):
        return self.w_h(hidden)


class NumberAsP(TwoBlocks):
    """`p` is a number; the gate that keeps the state has values beyond 0 and 1."""

    gates = ("f", "g")
    keeps = "f"
    p = 0.5

    def kept(self, f, g):
        return self.observe(f=3 * f, g=torch.tanh(g))[0]
