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

from seqtrain.system.rng import generator
from seqtrain.tasks.base import Batch
from seqtrain.tasks.text.corpus import Tokens

SORTED_TOGETHER = 50
"""Batches whose sentences are sorted by length together, so that little is padding."""

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

    def longest(self) -> Batch:
        """The longest one."""
        return self.batch(self.sizes.argmax(keepdims=True))


class SentenceTraining:
    """The training batches of sentences: each pass has every sentence once, in an order of its own.

    Parameters
    ----------
    sentences : of the training text.
    batch_size : sentences in a batch; the last one of a pass may have fewer.
    seed : of the orders.
    """

    def __init__(self, sentences: Sentences, batch_size: int, seed: int) -> None:
        self._sentences, self._batch_size, self._seed = sentences, batch_size, seed
        self._order: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        epoch, index = divmod(step, self.steps(1))
        if self._order[0] != epoch:
            self._order = epoch, self._batches_of(epoch)
        return self._sentences.batch(self._order[1][index])

    def epoch_at(self, step: int) -> int:
        """Passes that are finished before a step."""
        return step // self.steps(1)

    def steps(self, epochs: int) -> int:
        """Batches in a number of passes."""
        return epochs * -(-len(self._sentences) // self._batch_size)

    @property
    def together(self) -> int:
        """Sentences in a batch."""
        return min(self._batch_size, len(self._sentences))

    @property
    def bytes(self) -> int:
        """Of the order of a pass."""
        return 2 * int(self._sentences.sizes.nbytes)

    def longest(self) -> Batch:
        """The longest sentence."""
        return self._sentences.longest()

    def _batches_of(self, epoch: int) -> list[NDArray[np.int64]]:
        """The numbers of the sentences in each batch of a pass: of similar lengths, in a random order."""
        draw, size = generator(self._seed, "sentences", epoch), self._batch_size
        order = torch.randperm(len(self._sentences), generator=draw).numpy()
        batches = []
        for start in range(0, len(order), size * SORTED_TOGETHER):
            part = order[start : start + size * SORTED_TOGETHER]
            part = part[np.argsort(self._sentences.sizes[part], kind="stable")]
            batches += [part[at : at + size] for at in range(0, len(part), size)]
        return [batches[number] for number in torch.randperm(len(batches), generator=draw).tolist()]


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
        sentences = self.sentences(tokens)
        order = np.argsort(sentences.sizes, kind="stable")
        for start in range(0, len(order), batch_size):
            yield sentences.batch(order[start : start + batch_size])

    def count(self, tokens: Tokens, batch_size: int, window: int | None = None) -> int:  # noqa: ARG002
        """How many batches there are."""
        return -(-len(self.sentences(tokens)) // batch_size)

    def longest(self, tokens: Tokens, batch_size: int, window: int | None) -> Batch:  # noqa: ARG002
        """The longest sentence."""
        return self.sentences(tokens).longest()

    def predictions(self, tokens: Tokens) -> int:
        """How many tokens are predicted."""
        return int(self.sentences(tokens).sizes.sum())

    def targets(self, tokens: Tokens) -> Iterator[Tensor]:
        """All tokens that are predicted, in blocks."""
        for batch in self.batches(tokens, 1000):
            yield batch.targets.flatten() if batch.scored is None else batch.targets[batch.scored]
