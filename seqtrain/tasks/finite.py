"""Tasks on a finite set of data of the user, which training reads in passes."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from seqtrain.system.rng import generator
from seqtrain.tasks.base import Batch, Split, Task

SORTED_TOGETHER = 50
"""Batches whose sequences are sorted by length together, so that little is padding."""

Numbers = NDArray[np.int64]


class Passes(Protocol):
    """The batches of training, pass after pass, for one batch size."""

    @property
    def together(self) -> int:
        """Sequences, or columns, in a batch."""

    @property
    def bytes(self) -> int:
        """Bytes of what a pass is drawn with."""

    def at(self, step: int) -> Batch:
        """The batch of a step."""

    def epoch_at(self, step: int) -> int:
        """Passes that are finished before a step."""

    def steps(self, epochs: int) -> int:
        """Batches in a number of passes."""

    def longest(self) -> Batch:
        """One sequence, or column, as long as any."""


class FiniteTask(Task):
    """A task that trains on a finite set of data; it defines `passes` in place of `train_batch`."""

    reach = None
    has_epochs = True
    solvable = False

    @abstractmethod
    def passes(self, batch_size: int) -> Passes:
        """The training batches of that size."""

    def sequences(self, split: Split) -> "Sequences | None":  # noqa: ARG002
        """The sequences of a split, if they do not depend on each other."""
        return None

    @cached_property
    def _passes(self) -> dict[int, Passes]:
        """Those that were asked for, by the size of the batch."""
        return {}

    def _trained(self, batch_size: int) -> Passes:
        if batch_size not in self._passes:
            self._passes[batch_size] = self.passes(batch_size)
        return self._passes[batch_size]

    def train_batch(self, step: int, batch_size: int) -> Batch:
        """The batch of a step; after the last one of a pass, the next pass begins."""
        return self._trained(batch_size).at(step)

    def epoch_at(self, step: int, batch_size: int) -> int:
        """Passes through the training data that are finished before a step."""
        return self._trained(batch_size).epoch_at(step)

    def steps_in(self, epochs: int, batch_size: int) -> int:
        """Batches in a number of passes."""
        return self._trained(batch_size).steps(epochs)

    def trained_together(self, batch_size: int) -> int:
        """Sequences, or columns, in a batch; little data gives fewer than are asked for."""
        return self._trained(batch_size).together

    def windows_bytes(self, batch_size: int) -> int:
        """Those of one pass."""
        return self._trained(batch_size).bytes


class Sequences(Protocol):
    """Sequences of different lengths that do not depend on each other.

    sizes : `[N]`, the steps in each.
    """

    sizes: Numbers

    def batch(self, chosen: Numbers) -> Batch:
        """The sequences with these numbers, `[B]`, side by side."""


class ShuffledPasses:
    """Each pass has every sequence once, in an order of its own; a batch has sequences of similar lengths.

    Parameters
    ----------
    sequences : of the training data.
    batch_size : sequences in a batch; the last one of a pass may have fewer.
    seed : of the orders.
    """

    def __init__(self, sequences: Sequences, batch_size: int, seed: int) -> None:
        self._sequences, self._batch_size, self._seed = sequences, batch_size, seed
        self._order: tuple[int, list[Numbers]] = (-1, [])

    @property
    def together(self) -> int:
        """Sequences in a batch."""
        return min(self._batch_size, len(self._sequences.sizes))

    @property
    def bytes(self) -> int:
        """Of the order of a pass."""
        return 2 * int(self._sequences.sizes.nbytes)

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        epoch, index = divmod(step, self.steps(1))
        if self._order[0] != epoch:
            self._order = epoch, self._batches_of(epoch)
        return self._sequences.batch(self._order[1][index])

    def epoch_at(self, step: int) -> int:
        """Passes that are finished before a step."""
        return step // self.steps(1)

    def steps(self, epochs: int) -> int:
        """Batches in a number of passes."""
        return epochs * -(-len(self._sequences.sizes) // self._batch_size)

    def longest(self) -> Batch:
        """The longest sequence."""
        return longest(self._sequences)

    def _batches_of(self, epoch: int) -> list[Numbers]:
        """The numbers of the sequences in each batch of a pass, in a random order."""
        draw, size, sizes = generator(self._seed, "shuffle", epoch), self._batch_size, self._sequences.sizes
        order = torch.randperm(len(sizes), generator=draw).numpy()
        batches = []
        for start in range(0, len(order), size * SORTED_TOGETHER):
            part = order[start : start + size * SORTED_TOGETHER]
            part = part[np.argsort(sizes[part], kind="stable")]
            batches += [part[at : at + size] for at in range(0, len(part), size)]
        return [batches[number] for number in torch.randperm(len(batches), generator=draw).tolist()]


def longest(sequences: Sequences) -> Batch:
    """The longest of the sequences."""
    return sequences.batch(np.array([sequences.sizes.argmax()]))


def by_length(sequences: Sequences, batch_size: int) -> Iterator[Batch]:
    """All sequences, the shortest first."""
    order = np.argsort(sequences.sizes, kind="stable")
    for start in range(0, len(order), batch_size):
        yield sequences.batch(order[start : start + batch_size])
