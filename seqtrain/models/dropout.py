"""What is dropped in training, and how."""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.system.settings import Fraction, Section


class Dropout(Section):
    """Probabilities to drop something in training; what stays is scaled up, so that the mean stays (inverted dropout).

    symbols --embedding_dropout--> vectors --input_dropout--> [ layer 1 ] --dropout--> ... [ layer L ]
    --output_dropout--> head
    """

    dropout: Fraction = 0.0
    """Probability to drop a feature between layers, in training."""
    input_dropout: Fraction = 0.0
    """Probability to drop a feature of what the first layer reads."""
    output_dropout: Fraction = 0.0
    """Probability to drop a feature of what the last layer gives."""
    locked_dropout: bool = False
    """Drop a feature at all steps of a window or at none (variational dropout; Gal & Ghahramani 2016)."""
    embedding_dropout: Fraction = 0.0
    """Probability to drop a symbol wherever it stands in a window (Gal & Ghahramani 2016)."""
    weight_drop: Fraction = 0.0
    """Probability to drop an entry of each w_h, the same at all steps of a window (Merity et al. 2018)."""
    zoneout_hidden: Fraction = 0.0
    """Probability that a number of a cell's output keeps its old value for a step (Krueger et al. 2017); the plain loop
    runs it."""
    zoneout_memory: Fraction = 0.0
    """Likewise for everything else that the cell remembers in real numbers."""

    @property
    def zones(self) -> bool:
        """Whether there is zoneout, which acts in evaluation too."""
        return bool(self.zoneout_hidden or self.zoneout_memory)

    @property
    def draws(self) -> bool:
        """Whether anything is dropped, which needs a generator."""
        return any(getattr(self, name) for name in Dropout.model_fields)

    def features(self, x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
        """`[T, B, F]` or `[B, F]` with features dropped."""
        return drop(x, probability, generator, locked=self.locked_dropout and x.dim() == 3)


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
