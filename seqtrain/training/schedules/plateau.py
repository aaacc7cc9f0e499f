"""A learning rate that is cut when training stalls."""

from typing import Annotated, Literal

from pydantic import Field

from seqtrain.training.schedules.base import Schedule


class Plateau(Schedule):
    """Multiply the learning rate when the validation metric stops improving.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` with `threshold=0`: any improvement counts. Evaluations count from
    the end of the warm-up.
    """

    name: Literal["plateau"] = "plateau"
    patience: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Evaluations without improvement that are let pass before a cut."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """What each cut multiplies by."""

    def shape(self, step: int, *, steps: int, cuts: int, epoch: int) -> float:  # noqa: ARG002
        """`factor ** cuts`."""
        return float(self.factor**cuts)

    def is_due(self, stalled: int) -> bool:
        """Whether more than `patience` evaluations brought no improvement."""
        return stalled > self.patience
