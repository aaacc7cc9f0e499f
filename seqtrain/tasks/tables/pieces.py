"""Pieces of series side by side, window after window."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from seqtrain.system.rng import generator
from seqtrain.tasks.base import Batch

LONGEST_WINDOW = 1024
"""Steps of a window in evaluation."""


class Piece(NamedTuple):
    """A part of a series.

    series : its number.
    start, stop : the first step, and the one after the last.
    scored_from, scored_to : the steps that count.
    """

    series: int
    start: int
    stop: int
    scored_from: int
    scored_to: int


WindowOf = Callable[[list[Piece], int, int], Batch]
"""The window of some pieces, from their step with a number on, of so many steps at most."""


class PieceTraining:
    """The training windows of several series.

    Few series are cut into pieces, so that a batch has as many as it may; but no piece is shorter than a window. Pieces
    of similar lengths are read together, and the groups in another order in each pass.

    Parameters
    ----------
    spans : the first training step of each series, and the step after the last one.
    batch_size : pieces side by side at most.
    window : steps of a batch.
    seed : of the orders.
    batch : the window of pieces from a step on, of so many steps at most.
    """

    def __init__(
        self, spans: Sequence[tuple[int, int]], batch_size: int, window: int, seed: int, batch: WindowOf
    ) -> None:
        self._window, self._seed, self._batch = window, seed, batch
        total = sum(stop - start for start, stop in spans)
        pieces = []
        for series, (start, stop) in enumerate(spans):
            share = max(1, batch_size * (stop - start) // max(total, 1))
            count = max(1, min(share, (stop - start) // window))
            bounds = [start + (stop - start) * n // count for n in range(count + 1)]
            pieces += [Piece(series, a, b, a, b) for a, b in pairwise(bounds) if b > a]
        pieces.sort(key=lambda piece: piece.start - piece.stop)
        self.together = min(batch_size, len(pieces))
        self._groups = [pieces[at : at + self.together] for at in range(0, len(pieces), self.together)]
        nothing = pieces[0]._replace(stop=pieces[0].start)
        self._groups[-1] += [nothing] * (self.together - len(self._groups[-1]))
        self._windows = [-(-max(p.stop - p.start for p in group) // window) for group in self._groups]

    def at(self, step: int) -> Batch:
        """The window of a step."""
        epoch, index = divmod(step, self.steps(1))
        order = torch.randperm(len(self._groups), generator=generator(self._seed, "series", epoch)).tolist()
        for group in order:
            if index < self._windows[group]:
                return self._batch(self._groups[group], index * self._window, self._window)
            index -= self._windows[group]
        raise AssertionError("a pass has as many windows as its groups")

    def epoch_at(self, step: int) -> int:
        """Passes that are finished before a step."""
        return step // self.steps(1)

    def steps(self, epochs: int) -> int:
        """Windows in a number of passes."""
        return epochs * sum(self._windows)

    @property
    def bytes(self) -> int:
        """Hardly any: a pass draws an order of groups."""
        return 0

    def longest(self) -> Batch:
        """The first column of the first window."""
        return self.at(0).rows(0, 1)


def count_whole(sizes: Sequence[int], batch_size: int, *, whole: bool) -> int:
    """How many windows `read_whole` gives for pieces of these sizes."""
    longest = sorted(sizes, reverse=True)[::batch_size]
    return len(longest) if whole else sum(-(-size // LONGEST_WINDOW) for size in longest)


def read_whole(pieces: Sequence[Piece], batch_size: int, batch: WindowOf, *, whole: bool) -> Iterator[Batch]:
    """All pieces, so many side by side, in windows that carry the state; or each in one window."""
    ordered = sorted(pieces, key=lambda piece: piece.start - piece.stop)
    for at in range(0, len(ordered), batch_size):
        group = ordered[at : at + batch_size]
        longest = group[0].stop - group[0].start
        size = longest if whole else LONGEST_WINDOW
        for start in range(0, longest, size):
            yield batch(group, start, size)
