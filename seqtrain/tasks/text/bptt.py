"""The windows of truncated back-propagation through time, in all passes through a text."""

from typing import NamedTuple

import torch

from seqtrain.system.rng import generator

SHORTEST = 5
SPREAD = 5.0
"""Standard deviation of the size of a window."""
HALVED = 0.05
"""Probability of a window of about half the size."""


class Window(NamedTuple):
    """A window: its pass (from 0), its first step, and its size (the last window of a pass may exceed the columns)."""

    epoch: int
    start: int
    size: int


class Windows:
    """The windows of all passes through columns of a length; the window of any step can be computed on its own.

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
        self._drawn: list[Window] = []
        self._first_steps = [0]  # of each pass drawn so far, and of the next one

    def at(self, step: int) -> Window:
        """The window of a training step."""
        if self.seed is None:
            epoch, index = divmod(step, self.steps(1))
            return Window(epoch, index * self.size, self.size)
        while len(self._drawn) <= step:
            self._draw_pass()
        return self._drawn[step]

    def steps(self, epochs: int) -> int:
        """How many windows a number of passes has."""
        if self.seed is None:
            return epochs * -(-self.length // self.size)
        while len(self._first_steps) <= epochs:
            self._draw_pass()
        return self._first_steps[epochs]

    def _draw_pass(self) -> None:
        epoch = len(self._first_steps) - 1
        draw = generator(self.seed or 0, "windows", epoch)
        most = -(-self.length // SHORTEST)
        around = torch.where(torch.rand(most, generator=draw) < HALVED, self.size / 2, float(self.size))
        sizes = (around + SPREAD * torch.randn(most, generator=draw)).int().clamp(min=SHORTEST)
        starts = sizes.cumsum(0) - sizes
        count = int((starts < self.length).sum())
        self._drawn += map(Window, [epoch] * count, starts[:count].tolist(), sizes[:count].tolist())
        self._first_steps.append(len(self._drawn))
