"""A learning rate that is cut at fixed times."""

from typing import Annotated, Literal

from pydantic import Field

from seqtrain.system.settings import Steps
from seqtrain.training.schedules.base import Schedule


class StepDecay(Schedule):
    """Multiply the learning rate every so many steps, or every epoch."""

    name: Literal["step"] = "step"
    every: Steps | None = None
    """Steps in a period; null for an epoch."""
    hold: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Periods before the first cut; there is one after every period from then on."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """What each cut multiplies by."""

    def shape(self, step: int, *, steps: int, cuts: int, epoch: int) -> float:  # noqa: ARG002
        """`factor ** cuts`, with a cut after the first `hold` periods and after every further period."""
        periods = epoch if self.every is None else step // self.every
        return float(self.factor ** max(0, periods - self.hold + 1))

    def counted_in_epochs(self) -> str | None:
        """`every`."""
        return "every" if self.every is None else None
