"""What is dropped in training, and how."""

from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Dropout:
    """Probabilities to drop something in training; what stays is scaled up, so that the mean stays (inverted dropout).

        symbols --embedding--> vectors --input--> [ layer 1 ] --between--> ... [ layer L ] --output--> head

    embedding : a whole symbol, wherever it stands in the window (Gal & Ghahramani 2016).
    input, between, output : a feature.
    weight : an entry of each `w_h`, the same at all steps of a window (DropConnect; Merity et al. 2018).
    zoneout_hidden, zoneout_memory : a number of a cell's output, or of what else it remembers, stays as it was for a
        step (see `Zoneout`).
    locked : a feature is dropped at all steps of a window or at none (variational dropout; Gal & Ghahramani 2016).
    """

    embedding: float = 0.0
    input: float = 0.0
    between: float = 0.0
    output: float = 0.0
    weight: float = 0.0
    zoneout_hidden: float = 0.0
    zoneout_memory: float = 0.0
    locked: bool = False

    @property
    def zones(self) -> bool:
        """Whether there is zoneout, which acts in evaluation too."""
        return bool(self.zoneout_hidden or self.zoneout_memory)

    @property
    def draws(self) -> bool:
        """Whether anything is dropped, which needs a generator."""
        return any(astuple(self))

    def features(self, x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
        """`[T, B, F]` or `[B, F]` with features dropped."""
        return drop(x, probability, generator, locked=self.locked and x.dim() == 3)


def drop(x: Tensor, probability: float, generator: torch.Generator | None = None, *, locked: bool = False) -> Tensor:
    """Inverted dropout with masks from our own generator, so that a run can be repeated and resumed exactly.

    locked : one mask for everything along the first axis.
    """
    if probability == 0:
        return x
    keep = 1 - probability
    like = x[:1] if locked else x
    return x * (torch.empty_like(like).bernoulli_(keep, generator=generator) / keep)


def embed(symbols: Tensor, weight: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
    """Rows of `weight` `[V, E]` for symbols `[T, B]`, with whole symbols dropped."""
    vectors = F.embedding(symbols, weight)
    if probability == 0:
        return vectors
    return vectors * F.embedding(symbols, drop(weight.new_ones(len(weight), 1), probability, generator))
