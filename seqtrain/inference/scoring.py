"""How likely a trained language model finds sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.models import SequenceModel
from seqtrain.models.head import token_nats
from seqtrain.system.errors import CheckpointError

MOST_TOKENS, MOST_SCORES = 1 << 15, 1 << 22
"""Limits of a batch: tokens with padding, and scores at a time (16 MiB)."""


@dataclass(frozen=True)
class Scored:
    """A sentence and how much it surprises the model.

    sentence : as given.
    tokens : what is predicted: its tokens, and the end of the line unless it is a beginning.
    nats : of each, minus the logarithm of its probability, given all tokens before it.
    unknown : tokens that the model reads as `<unk>`, each once.
    """

    sentence: str
    tokens: list[str]
    nats: list[float]
    unknown: list[str]

    @property
    def total(self) -> float:
        """Nats of the whole sentence."""
        return math.fsum(self.nats)

    @property
    def words(self) -> int:
        """Parts between white space."""
        return len(self.sentence.split())


class Summary(NamedTuple):
    """Sums over sentences.

    words : parts between white space.
    """

    sentences: int = 0
    tokens: int = 0
    words: int = 0
    nats: float = 0.0
    unknown: int = 0

    def plus(self, scored: Scored) -> "Summary":
        """With one sentence more."""
        return Summary(
            self.sentences + 1,
            self.tokens + len(scored.tokens),
            self.words + scored.words,
            self.nats + scored.total,
            self.unknown + len(scored.unknown),
        )

    def as_json(self) -> dict[str, float | int | None]:
        """The sums, with the figures that follow from them."""
        return self._asdict() | figures(self.nats, self.tokens, self.words)


def figures(nats: float, tokens: int, words: int) -> dict[str, float | int | None]:
    """Perplexity and bits per token, and bits per word; None where there is nothing to divide by."""
    bits = nats / math.log(2)
    mean = nats / tokens if tokens else None
    return {
        "perplexity": None if mean is None else math.exp(min(mean, 700.0)),
        "bits_per_token": bits / tokens if tokens else None,
        "bits_per_word": bits / words if words else None,
    }


def nats_of(model: SequenceModel, start: int, sentences: Sequence[Sequence[int]], symbols: int) -> list[list[float]]:
    """The nats of each token of sentences, each from a fresh state and after the token `start`.

    Parameters
    ----------
    symbols : in the vocabulary.

    Raises
    ------
    CheckpointError : a score of the model is not finite.
    """
    nats: list[list[float]] = [[] for _ in sentences]
    order = sorted(range(len(sentences)), key=lambda n: len(sentences[n]), reverse=True)
    while order and sentences[order[0]]:
        size = max(1, MOST_TOKENS // len(sentences[order[0]]))
        batch, order = order[:size], order[size:]
        own = [sentences[n] for n in batch if sentences[n]]  # sentences without a token come last
        for n, values in zip(batch, _batch_nats(model, start, own, symbols), strict=False):
            nats[n] = values
    return nats


@torch.inference_mode()
def _batch_nats(
    model: SequenceModel, start: int, sentences: Sequence[Sequence[int]], symbols: int
) -> list[list[float]]:
    """The nats of each token of sentences that have one, the longest first."""
    lengths = torch.tensor([len(numbers) for numbers in sentences])
    T = int(lengths[0])
    targets = torch.zeros(len(sentences), T, dtype=torch.long)
    inside = torch.arange(T) < lengths[:, None]
    targets[inside] = torch.tensor([number for numbers in sentences for number in numbers])
    inputs = torch.cat([torch.full((len(sentences), 1), start), targets[:, :-1]], 1)
    prediction, _ = model.predict(inputs.t().contiguous(), lengths)
    features = prediction.features.transpose(0, 1)[inside]  # [N, H], sentence by sentence
    wanted, size = targets[inside], max(1, MOST_SCORES // symbols)
    with model.products():
        parts = [
            token_nats(model.head, features[at : at + size], wanted[at : at + size], fused=model.fused_loss).double()
            for at in range(0, len(features), size)
        ]
    found: Tensor = torch.cat(parts)
    if not bool(found.isfinite().all()):
        raise CheckpointError("the model's scores are not numbers; use another checkpoint, of a run that converged")
    return [part.tolist() for part in torch.split(found, lengths.tolist())]
