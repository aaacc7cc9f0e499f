"""Settings and masks of dropout."""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.system.settings import Fraction, Section


class Dropout(Section):
    """Probabilities of dropout in training; what is kept is scaled up to preserve the mean (inverted dropout).

    symbols --embedding_dropout--> vectors --input_dropout--> [ layer 1 ] --dropout--> ... [ layer L ]
    --output_dropout--> head
    """

    dropout: Fraction = 0.0
    """Probability to drop a feature between layers, in training."""
    input_dropout: Fraction = 0.0
    """Probability to drop a feature of the input of the first layer."""
    output_dropout: Fraction = 0.0
    """Probability to drop a feature of the output of the last layer."""
    locked_dropout: bool = False
    """Use the same mask of features at all steps of a window (variational dropout; Gal & Ghahramani 2016)."""
    embedding_dropout: Fraction = 0.0
    """Probability to drop a symbol everywhere in a window (Gal & Ghahramani 2016)."""
    weight_drop: Fraction = 0.0
    """Probability to drop an entry of each w_h, the same at all steps of a window (Merity et al. 2018)."""
    zoneout_hidden: Fraction = 0.0
    """Probability that a unit of a cell's output keeps its previous value at a step (Krueger et al. 2017); requires the
    plain loop."""
    zoneout_memory: Fraction = 0.0
    """The same probability for all other real numbers in the state of the cell."""

    @property
    def draws(self) -> bool:
        """Whether anything is random, so that a generator is needed."""
        return any(getattr(self, name) for name in Dropout.model_fields)

    def features(self, x: Tensor, probability: float, generator: torch.Generator | None) -> Tensor:
        """`[T, B, F]` or `[B, F]` with features dropped."""
        return drop(x, probability, generator, locked=self.locked_dropout and x.dim() == 3)


NO_DROPOUT = Dropout()
"""What applies in evaluation."""


def drop(x: Tensor, probability: float, generator: torch.Generator | None = None, *, locked: bool = False) -> Tensor:
    """Inverted dropout with masks from a given generator, so that a run can be repeated and resumed exactly.

    locked : one mask for all entries along the first axis.
    """
    if probability == 0:
        return x
    keep = 1 - probability
    mask = torch.empty_like(x[:1] if locked else x).bernoulli_(keep, generator=generator)
    return x * (mask / keep)


def embed(
    symbols: Tensor, weight: Tensor, probability: float, generator: torch.Generator | None, *, sparse: bool = False
) -> Tensor:
    """Rows of `weight` `[V, E]` for symbols `[T, B]`, or their sum for `[T, B, F]`, with whole symbols dropped.

    sparse : the gradient of `weight` is a sparse tensor.
    """
    vectors = F.embedding(symbols, weight, sparse=sparse)
    if probability:
        vectors = vectors * F.embedding(symbols, drop(weight.new_ones(len(weight), 1), probability, generator))
    return vectors.sum(-2) if symbols.dim() == 3 else vectors
