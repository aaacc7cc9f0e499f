"""Zoneout: a random part of a cell's state keeps its previous value."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell


class Zoneout(Cell):
    """A cell around another one; each number in its state keeps its old value with a probability (Krueger et al. 2017).

        training    s_t = m * s_{t-1} + (1 - m) * step(x_t, s_{t-1}),   m ~ Bernoulli(probability) at each step
        evaluation  the same with m = probability

    Parameters
    ----------
    cell : the other cell, which has all parameters.
    hidden, memory : the probabilities for the output, and for all other real numbers in the state except the fields
        that the cell declares transient.
    generator : draws the masks.
    training : whether to draw masks.
    """

    def __init__(
        self, cell: Cell, hidden: float, memory: float, generator: torch.Generator | None, *, training: bool
    ) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        self.hidden = hidden
        self.memory = memory
        self.generator = generator
        self.training = training

    def project(self, x: Tensor) -> Any:
        """As the cell does."""
        return self.cell.project(x)

    def initial_state(self, batch_size: int) -> Any:
        """As the cell does."""
        return self.cell.initial_state(batch_size)

    def step(self, x_gates: Tensor, state: Any) -> Any:
        """One step of the cell, after which a part of the state gets its previous value."""
        new = self.cell.step(x_gates, state)
        return type(new)(*(self._mixed(*parts) for parts in zip(new, state, self.rates(new._fields), strict=True)))

    def rates(self, fields: Sequence[str]) -> list[float]:
        """The probability of each field of the state, whose names are given."""
        return [self.hidden, *(0.0 if field in self.cell.transient else self.memory for field in fields[1:])]

    def _mixed(self, new: Tensor, old: Tensor, probability: float) -> Tensor:
        if probability == 0 or not new.is_floating_point():
            return new
        if not self.training:
            return new.lerp(old, probability)
        stays = torch.empty_like(new).bernoulli_(probability, generator=self.generator).bool()
        return old.where(stays, new)
