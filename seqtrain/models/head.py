"""From features to scores: the plain head is `nn.Linear`; here are the two that large vocabularies want."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.system.settings import Named, Size, by_name


class TiedHead(nn.Module):
    """Scores by the embedding itself: `E P h + b` (Inan et al. 2017; Press & Wolf 2017).

    Parameters
    ----------
    embedding : `[V, E]`, whose weight is used and stays its own.
    input_size : H; if it is not E, a learnt projection P `[E, H]` comes first.
    """

    def __init__(self, embedding: nn.Embedding, input_size: int) -> None:
        super().__init__()
        self._embedding = (embedding,)  # in a tuple: a parameter has one owner and one place in a checkpoint
        size = embedding.embedding_dim
        self.projection = nn.Identity() if input_size == size else nn.Linear(input_size, size, bias=False)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, features: Tensor) -> Tensor:
        """`[..., H]` to `[..., V]`."""
        (embedding,) = self._embedding
        return F.linear(self.projection(features), embedding.weight, self.bias)


class FullSoftmax(Named):
    """Scores for the whole vocabulary."""

    name: Literal["full"] = "full"


class AdaptiveSoftmax(Named):
    """Rare words in clusters that are computed only when they are needed (Grave et al. 2017)."""

    name: Literal["adaptive"] = "adaptive"
    cutoffs: Annotated[list[Size], Field(min_length=1)] | None = None
    """Ranks at which the clusters of rarer words begin, rising; null for 1/16 and 1/4 of the vocabulary."""
    shrink: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """How many times fewer features each next cluster gets."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Cutoffs out of order."""
        if any(a >= b for a, b in pairwise(self.cutoffs or [])):
            yield "cutoffs", f"are {self.cutoffs}; each must be larger than the one before"

    def cutoffs_for(self, vocabulary: int) -> list[int]:
        """Where the clusters of a vocabulary of so many words begin."""
        return self.cutoffs or sorted({max(1, vocabulary // 16), max(1, vocabulary // 4)})


SOFTMAXES = by_name(FullSoftmax, AdaptiveSoftmax)
"""The ways to score a vocabulary, by name."""


class AdaptiveHead(nn.Module):
    """Log-probabilities in clusters: few parameters and little work for rare symbols (Grave et al. 2017).

    The symbols must be in the order of their frequency, the most frequent first.

    Parameters
    ----------
    input_size, output_size : H and V.
    cutoffs : where each cluster of rarer symbols begins; from the first on, a cluster is looked into only when it is
        needed.
    shrink : how many times smaller the features of each next cluster are.
    """

    def __init__(self, input_size: int, output_size: int, cutoffs: Sequence[int], shrink: float) -> None:
        super().__init__()
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(
            input_size, output_size, list(cutoffs), div_value=shrink, head_bias=True
        )

    def forward(self, features: Tensor) -> Tensor:
        """`[..., H]` to log-probabilities `[..., V]`."""
        rows: Tensor = self.clusters.log_prob(features.flatten(0, -2))
        return rows.view(*features.shape[:-1], -1)

    def cross_entropy(self, features: Tensor, targets: Tensor) -> Tensor:
        """Sum in nats over `[N, H]` and `[N]`, without the clusters that no target is in."""
        log_probabilities: Tensor = self.clusters(features, targets).output
        return -log_probabilities.sum()


def cross_entropy(head: nn.Module, features: Tensor, targets: Tensor) -> Tensor:
    """Sum in nats over `[N, H]` and `[N]`."""
    if isinstance(head, AdaptiveHead):
        return head.cross_entropy(features, targets)
    return F.cross_entropy(head(features), targets, reduction="sum")
