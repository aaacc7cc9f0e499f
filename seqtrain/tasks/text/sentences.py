"""A text whose lines are sentences of their own: each starts from a fresh state, and none depends on the others.

line     the cat sat <eos>
inputs   <eos> the cat sat          the end of a line is also the start of a sentence,
targets  the   cat sat <eos>        so that the first word counts as every other one
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.tasks.base import Batch
from seqtrain.tasks.finite import by_length, longest
from seqtrain.tasks.text.corpus import Tokens

EVALUATED_TOGETHER = 64
"""Sentences that are evaluated side by side by default."""


class Sentences:
    """The lines of a text that are not empty.

    Parameters
    ----------
    tokens : of the text.
    end : the token that ends a line, as it stands in the text.

    Attributes
    ----------
    sizes : `[N]`, predictions in each sentence, the end of the line included.
    empty : lines without a token, which are left out.
    """

    def __init__(self, tokens: Tokens, end: str) -> None:
        self._tokens = tokens
        self.end = tokens.number_of(end)
        ends = tokens.places_of(end)
        is_whole = len(ends) and ends[-1] == len(tokens) - 1
        stops = ends + 1 if is_whole else np.append(ends + 1, len(tokens))  # characters may lack the last line end
        starts = np.concatenate((np.zeros(1, np.int64), stops[:-1]))
        sizes = stops - starts
        is_empty = (sizes == 0) | ((sizes == 1) & np.isin(starts, ends))
        self.starts, self.sizes, self.empty = starts[~is_empty], sizes[~is_empty], int(is_empty.sum())

    def __len__(self) -> int:
        return int(self.sizes.size)

    def batch(self, chosen: NDArray[np.int64]) -> Batch:
        """The sentences with these numbers, `[B]`, side by side."""
        lengths = torch.from_numpy(self.sizes[chosen])
        T = int(lengths.max())
        targets = self._tokens.at(self.starts[chosen][:, None] + np.arange(T)).t()  # [T, B]
        inside = torch.arange(T)[:, None] < lengths
        targets = targets * inside
        inputs = torch.cat([torch.full_like(targets[:1], self.end), targets[:-1]]) * inside
        if bool(inside.all()):
            return Batch(inputs, targets)
        return Batch(inputs, targets, lengths, scored=inside)


class SentenceEvaluation:
    """The evaluation of sentences: every token counts once, the ends of the lines included.

    Parameters
    ----------
    end : the token that ends a line.
    """

    def __init__(self, end: str) -> None:
        self._end = end
        self._found: dict[int, Sentences] = {}

    def sentences(self, tokens: Tokens) -> Sentences:
        """The sentences of a part of the text."""
        if id(tokens) not in self._found:
            self._found[id(tokens)] = Sentences(tokens, self._end)
        return self._found[id(tokens)]

    def batches(self, tokens: Tokens, batch_size: int, window: int | None = None) -> Iterator[Batch]:  # noqa: ARG002
        """All sentences, the shortest first."""
        return by_length(self.sentences(tokens), batch_size)

    def count(self, tokens: Tokens, batch_size: int, window: int | None = None) -> int:  # noqa: ARG002
        """How many batches there are."""
        return -(-len(self.sentences(tokens)) // batch_size)

    def longest(self, tokens: Tokens, batch_size: int, window: int | None) -> Batch:  # noqa: ARG002
        """The longest sentence."""
        return longest(self.sentences(tokens))

    def predictions(self, tokens: Tokens) -> int:
        """How many tokens are predicted."""
        return int(self.sentences(tokens).sizes.sum())

    def targets(self, tokens: Tokens) -> Iterator[Tensor]:
        """All tokens that are predicted, in blocks."""
        for batch in self.batches(tokens, 1000):
            yield batch.targets.flatten() if batch.scored is None else batch.targets[batch.scored]
