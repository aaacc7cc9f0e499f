"""RMSprop."""

from typing import Literal

import torch

from seqtrain.system.settings import Fraction, Positive
from seqtrain.training.optimizers.base import Momentum


class RmsProp(Momentum):
    """RMSprop (Tieleman & Hinton 2012)."""

    torch_class = torch.optim.RMSprop
    form = "foreach"
    moments = 1

    name: Literal["rmsprop"] = "rmsprop"
    alpha: Fraction = 0.99
    """Decay of the running square."""
    eps: Positive = 1e-8
    """Added to the denominator."""
