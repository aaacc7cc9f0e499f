"""A text that is read as one: in parallel columns, window after window, with the state carried on."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from seqtrain.tasks.base import Batch
from seqtrain.tasks.text.batchify import Columns
from seqtrain.tasks.text.bptt import Windows
from seqtrain.tasks.text.corpus import Tokens

LONGEST_WINDOW = 1024
MOST_SCORES = 1 << 24
"""Limits of a window in evaluation, where its size changes the time only: steps, and scores (64 MiB)."""


class RunningTraining:
    """The training batches of a text in columns.

    Parameters
    ----------
    tokens : of the training text.
    batch_size : the columns at most.
    window : steps of a batch.
    seed : of windows of random sizes; None for windows of one size.
    """

    def __init__(self, tokens: Tokens, batch_size: int, window: int, seed: int | None) -> None:
        self._columns = Columns(tokens, batch_size)
        self._windows = Windows(self._columns.length, window, seed)
        self._window = window

    def at(self, step: int) -> Batch:
        """The window of a step; after the last window of the text, the first one follows again."""
        window = self._windows.at(step)
        batch = _batch(*self._columns.window(window.start, window.size), fresh=window.start == 0)
        return replace(batch, lr_factor=window.size / self._window)

    def epoch_at(self, step: int) -> int:
        """Passes through the text that are finished before a step."""
        return self._windows.at(step).epoch

    def steps(self, epochs: int) -> int:
        """Windows in a number of passes."""
        return self._windows.steps(epochs)

    @property
    def together(self) -> int:
        """The columns that the text makes."""
        return len(self._columns.begins)

    @property
    def length(self) -> int:
        """Predictions in a column."""
        return self._columns.length

    def longest(self) -> Batch:
        """The first column of the first window."""
        return self.at(0).rows(0, 1)

    @property
    def bytes(self) -> int:
        """Of the numbers with which a pass is drawn."""
        return self._windows.bytes


class RunningEvaluation:
    """The evaluation of a text: every token except the first one counts once.

    Parameters
    ----------
    vocabulary_size : decides how long a window may be.
    """

    def __init__(self, vocabulary_size: int) -> None:
        self._vocabulary_size = vocabulary_size

    def batches(self, tokens: Tokens, batch_size: int, window: int | None) -> Iterator[Batch]:
        """All windows, which carry the state; the last columns may be shorter.

        Parameters
        ----------
        window : steps of a window; None for as many as memory allows.
        """
        columns, size = Columns(tokens, batch_size), window or self._size(batch_size)
        for start in columns.starts(size):
            yield _batch(*columns.window(start, size), fresh=start == 0)

    def count(self, tokens: Tokens, batch_size: int, window: int | None) -> int:
        """How many windows there are."""
        return len(Columns(tokens, batch_size).starts(window or self._size(batch_size)))

    def longest(self, tokens: Tokens, batch_size: int, window: int | None) -> Batch:
        """The first column of the first window."""
        return next(self.batches(tokens, batch_size, window)).rows(0, 1)

    def predictions(self, tokens: Tokens) -> int:
        """How many tokens are predicted."""
        return len(tokens) - 1

    def targets(self, tokens: Tokens) -> Iterator[Tensor]:
        """All tokens that are predicted, in blocks."""
        return tokens.blocks(1)

    def _size(self, batch_size: int) -> int:
        return max(1, min(LONGEST_WINDOW, MOST_SCORES // (batch_size * self._vocabulary_size)))


def _batch(inputs: Tensor, targets: Tensor, lengths: Tensor, *, fresh: bool) -> Batch:
    if bool((lengths == len(inputs)).all()):
        return Batch(inputs, targets, fresh=fresh)
    scored = torch.arange(len(inputs))[:, None] < lengths
    return Batch(inputs, targets, lengths, scored, fresh=fresh)
