"""The windows of truncated back-propagation through time, in all passes through a text."""

from array import array
from bisect import bisect_right
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.system.rng import generator

SHORTEST = 5
SPREAD = 5.0
"""Standard deviation of the size of a window."""
HALVED = 0.05
"""Probability of a window of about half the size."""
BYTES_A_WINDOW = 24
"""Of the numbers that exist together when the windows of a pass are drawn: for each two of 4 and two of 8."""


class Window(NamedTuple):
    """A window: its pass (from 0), its first step, and its size (the last window of a pass may exceed the columns)."""

    epoch: int
    start: int
    size: int


class Windows:
    """The windows of all passes through columns of a length; the window of any step can be computed on its own.

    Random windows are drawn pass by pass, and of earlier passes only the number is kept.

    Parameters
    ----------
    length : of the columns.
    size : of a window.
    seed : None if all windows have that size; else each size is random, normal with a standard deviation of 5 around
        `size`, or around half of it with a probability of 1/20, and at least 5 (Merity et al. 2018, section 5).
    """

    def __init__(self, length: int, size: int, seed: int | None = None) -> None:
        self.length = length
        self.size = size
        self.seed = seed
        self._first_steps = array("q", [0])  # of each pass counted so far, and of the next one
        self._passes: dict[int, tuple[Tensor, Tensor]] = {}

    def at(self, step: int) -> Window:
        """The window of a training step."""
        if self.seed is None:
            epoch, index = divmod(step, self.steps(1))
            return Window(epoch, index * self.size, self.size)
        while self._first_steps[-1] <= step:
            self._count_pass()
        epoch = bisect_right(self._first_steps, step) - 1
        index = step - self._first_steps[epoch]
        starts, sizes = self._pass(epoch)
        return Window(epoch, int(starts[index]), int(sizes[index]))

    def steps(self, epochs: int) -> int:
        """How many windows a number of passes has."""
        if self.seed is None:
            return epochs * -(-self.length // self.size)
        while len(self._first_steps) <= epochs:
            self._count_pass()
        return self._first_steps[epochs]

    @property
    def bytes(self) -> int:
        """Memory that drawing a pass needs at least; it does not grow with the passes."""
        return 0 if self.seed is None else BYTES_A_WINDOW * -(-self.length // SHORTEST)

    def _count_pass(self) -> None:
        starts, _ = self._pass(len(self._first_steps) - 1)
        self._first_steps.append(self._first_steps[-1] + len(starts))

    def _pass(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The first steps and the sizes of the windows of a pass; the pass before it is kept as well."""
        if epoch not in self._passes:
            self._passes = {at: kept for at, kept in self._passes.items() if at == epoch - 1}
            self._passes[epoch] = self._draw_pass(epoch)
        return self._passes[epoch]

    def _draw_pass(self, epoch: int) -> tuple[Tensor, Tensor]:
        draw = generator(self.seed or 0, "windows", epoch)
        most = -(-self.length // SHORTEST)
        around = torch.where(torch.rand(most, generator=draw) < HALVED, self.size / 2, float(self.size))
        sizes = (around + SPREAD * torch.randn(most, generator=draw)).int().clamp(min=SHORTEST)
        starts = sizes.cumsum(0) - sizes
        count = int((starts < self.length).sum())
        return starts[:count].clone(), sizes[:count].clone()
