"""Stochastic gradient descent."""

from collections.abc import Iterator
from typing import Literal

import torch

from seqtrain.training.optimizers.base import Momentum


class Sgd(Momentum):
    """Stochastic gradient descent."""

    torch_class = torch.optim.SGD
    name: Literal["sgd"] = "sgd"
    nesterov: bool = False
    """Nesterov's momentum."""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Nesterov's momentum without momentum."""
        if self.nesterov and self.momentum == 0:
            yield "nesterov", "is true, but momentum is 0; set optimizer.momentum, e.g. 0.9"
