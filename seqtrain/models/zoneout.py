"""Zoneout: some of a cell's state stays as it was."""

from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell


class Zoneout(Cell):
    """Another cell, of whose state each number keeps its old value with some probability (Krueger et al. 2017).

        training    s_t = m * s_{t-1} + (1 - m) * step(x_t, s_{t-1}),   m ~ Bernoulli(probability), anew at each step
        evaluation  with the probability itself for m

    Parameters
    ----------
    cell : which does the rest, and whose parameters these are.
    hidden, memory : the probabilities for the output and for everything else in the state that is a real number and
        that the cell does not call transient.
    generator : draws the masks.
    training : whether to draw.
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
        """That of the cell."""
        return self.cell.project(x)

    def initial_state(self, batch_size: int) -> Any:
        """That of the cell."""
        return self.cell.initial_state(batch_size)

    def step(self, x_gates: Tensor, state: Any) -> Any:
        """One step of the cell, partly undone."""
        new = self.cell.step(x_gates, state)
        rates = [self.hidden, *(0.0 if field in self.cell.transient else self.memory for field in new._fields[1:])]
        return type(new)(*(self._mixed(*parts) for parts in zip(new, state, rates, strict=True)))

    def _mixed(self, new: Tensor, old: Tensor, probability: float) -> Tensor:
        if probability == 0 or not new.is_floating_point():
            return new
        if not self.training:
            return new.lerp(old, probability)
        stays = torch.empty_like(new).bernoulli_(probability, generator=self.generator).bool()
        return old.where(stays, new)
