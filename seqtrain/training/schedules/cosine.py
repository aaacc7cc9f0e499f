"""A learning rate that follows a cosine."""

import math
from typing import Annotated, Literal

from pydantic import Field

from seqtrain.training.schedules.base import Schedule


class Cosine(Schedule):
    """Half a cosine from the full learning rate at the end of the warm-up down to a part of it at the last step
    (Loshchilov & Hutter 2017, one cycle).
    """

    name: Literal["cosine"] = "cosine"
    final: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The part that is left at the last step; with 0 that step has a learning rate of 0 and changes nothing."""

    def shape(self, step: int, *, steps: int, cuts: int, epoch: int) -> float:  # noqa: ARG002
        """From 1 down to `final`."""
        progress = min(1.0, step / max(1, steps - 1))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
