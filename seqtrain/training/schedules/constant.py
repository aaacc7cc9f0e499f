"""A constant learning rate."""

from typing import Literal

from seqtrain.training.schedules.base import Schedule


class Constant(Schedule):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"

    def shape(self, step: int, *, steps: int, cuts: int, epoch: int) -> float:  # noqa: ARG002
        """Always 1."""
        return 1.0
