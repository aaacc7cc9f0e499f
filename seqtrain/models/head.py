"""Heads, from features to scores: the plain one, and those for large vocabularies."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.native.linear import linear
from seqtrain.native.linear_cross_entropy import linear_cross_entropy
from seqtrain.native.recording import is_recorded
from seqtrain.system.settings import Faults, Named, Size, by_name


class Linear(nn.Linear):
    """`nn.Linear` whose result is float32 in every precision (see `seqtrain.native.linear`)."""

    def forward(self, features: Tensor) -> Tensor:
        """`[..., H]` to `[..., O]`."""
        return linear(features, self.weight, self.bias)


class TiedHead(nn.Module):
    """Scores with the weights E of the embedding: `E P h + b` (Inan et al. 2017; Press & Wolf 2017).

    Parameters
    ----------
    embedding : `[V, E]`, which remains the owner of its weight.
    input_size : H; if it is not E, a learnt projection P `[E, H]` comes first.
    """

    def __init__(self, embedding: nn.Embedding, input_size: int) -> None:
        super().__init__()
        self._embedding = (embedding,)  # in a tuple, so that the weight is in a checkpoint once
        self._shared: Tensor | None = None
        size = embedding.embedding_dim
        self.projection = nn.Identity() if input_size == size else Linear(input_size, size, bias=False)
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))

    def forward(self, features: Tensor) -> Tensor:
        """`[..., H]` to `[..., V]`."""
        return linear(self.projection(features), self.weight, self.bias)

    @property
    def weight(self) -> Tensor:
        """`[V, E]`, that of the embedding."""
        (embedding,) = self._embedding
        return embedding.weight if self._shared is None else self._shared

    def can_share(self) -> bool:
        """Whether a backward pass will be computed, which torch does not follow."""
        weight = self.weight
        return torch.is_grad_enabled() and weight.requires_grad and not is_recorded(weight)

    def share(self) -> tuple[Tensor, "TiedHead"]:
        """The weight for the embedding of a pass, and the head for the same pass.

        The gradient of the first must be sparse. It is added to that of the head in place; a gradient of all V rows
        would have to be filled with zeros first.
        """
        weight, own = _Shared.apply(self.weight)  # type: ignore[no-untyped-call]
        head = copy.copy(self)
        head._shared = own
        return weight, head


class _Shared(torch.autograd.Function):
    """A weight, for the embedding and for the head."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        return weight.detach(), weight.detach()

    @staticmethod
    def backward(ctx: Any, d_embedding: Tensor | None, d_head: Tensor | None) -> Tensor | None:  # noqa: ARG004
        if d_embedding is None or d_head is None:
            return d_head if d_embedding is None else d_embedding.to_dense()
        if torch.is_grad_enabled():
            return d_head + d_embedding.to_dense()
        return d_head.index_add_(0, d_embedding._indices()[0], d_embedding._values())


class FullSoftmax(Named):
    """Scores for the whole vocabulary."""

    name: Literal["full"] = "full"


class AdaptiveSoftmax(Named):
    """Scores in clusters, of which those of rare words are computed only if necessary (Grave et al. 2017)."""

    name: Literal["adaptive"] = "adaptive"
    cutoffs: Annotated[list[Size], Field(min_length=1)] | None = None
    """First ranks of the clusters of rarer words, ascending; null for 1/16 and 1/4 of the vocabulary."""
    shrink: Annotated[float, Field(ge=1, le=1000)] = 4.0
    """Each cluster has this many times fewer features than the previous one."""

    def faults(self) -> Faults:
        """Cutoffs that are not ascending."""
        if any(a >= b for a, b in pairwise(self.cutoffs or [])):
            yield "cutoffs", f"are {self.cutoffs}; each must be larger than the one before"

    def cutoffs_for(self, vocabulary: int) -> list[int]:
        """The first ranks of the clusters of rarer words, for a size of the vocabulary."""
        return self.cutoffs or sorted({max(1, vocabulary // 16), max(1, vocabulary // 4)})


SOFTMAXES = by_name(FullSoftmax, AdaptiveSoftmax)
"""The sections of `model.softmax`, by name."""


class AdaptiveHead(nn.Module):
    """Log-probabilities in clusters, with few parameters and little work for rare symbols (Grave et al. 2017).

    The symbols must be sorted by frequency, the most frequent first.

    Parameters
    ----------
    input_size, output_size : H and V.
    cutoffs : the first symbol of each cluster of rarer symbols.
    shrink : each cluster has this many times fewer features than the previous one.
    """

    def __init__(self, input_size: int, output_size: int, cutoffs: Sequence[int], shrink: float) -> None:
        super().__init__()
        self.clusters = nn.AdaptiveLogSoftmaxWithLoss(
            input_size, output_size, list(cutoffs), div_value=shrink, head_bias=True
        )
        for layer in self.clusters.modules():
            if isinstance(layer, nn.Linear):
                layer.__class__ = Linear  # torch cannot collect the results of its own layers under autocast

    def forward(self, features: Tensor) -> Tensor:
        """`[..., H]` to log-probabilities `[..., V]`."""
        rows: Tensor = self.clusters.log_prob(features.flatten(0, -2))
        return rows.view(*features.shape[:-1], -1)


def token_nats(head: nn.Module, features: Tensor, targets: Tensor, *, fused: bool) -> Tensor:
    """`[N]` nats, one for each of the features `[N, H]` and targets `[N]`.

    fused : use the engine where it is faster.
    """
    if isinstance(head, AdaptiveHead):
        log_probabilities: Tensor = head.clusters(features, targets).output
        return -log_probabilities
    return _nats(head, features, targets, "none", fused=fused)


def cross_entropy(head: nn.Module, features: Tensor, targets: Tensor, *, fused: bool) -> Tensor:
    """Sum in nats over features `[N, H]` and targets `[N]`; clusters without a target are not computed."""
    if isinstance(head, AdaptiveHead):
        log_probabilities: Tensor = head.clusters(features, targets).output
        return -log_probabilities.sum()
    return _nats(head, features, targets, "sum", fused=fused)


def _nats(
    head: nn.Module, features: Tensor, targets: Tensor, reduction: Literal["sum", "none"], *, fused: bool
) -> Tensor:
    if fused and isinstance(head, Linear | TiedHead) and not _is_watched(head):
        projected = head.projection(features) if isinstance(head, TiedHead) else features
        return linear_cross_entropy(projected, head.weight, head.bias, targets, reduction=reduction)
    return F.cross_entropy(head(features), targets, reduction=reduction)


def _is_watched(head: nn.Module) -> bool:
    """Whether hooks are to see the scores of a head, or change them."""
    return any((head._forward_hooks, head._forward_pre_hooks, head._backward_hooks, head._backward_pre_hooks))
