"""What a schedule is: a section of a config that gives a factor on the learning rate."""

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from seqtrain.system.settings import Named


class Schedule(Named):
    """What all schedules take: a linear warm-up, then the shape of the schedule."""

    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Steps over which the learning rate rises linearly to its full value."""

    def lr_factor(self, step: int, *, steps: int, cuts: int = 0, epoch: int = 0) -> float:
        """What the learning rate is multiplied by.

        Parameters
        ----------
        step, epoch : of the run, from 0.
        steps : of the whole run.
        cuts : made so far because the validation metric did not improve (see `is_due`).
        """
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        return self.shape(step - self.warmup, steps=steps - self.warmup, cuts=cuts, epoch=epoch)

    @abstractmethod
    def shape(self, step: int, *, steps: int, cuts: int, epoch: int) -> float:
        """The factor after the warm-up; `step` and `steps` count from its end."""

    def is_due(self, stalled: int) -> bool:  # noqa: ARG002
        """Whether so many evaluations without improvement since the last cut call for another cut."""
        return False

    def counted_in_epochs(self) -> str | None:
        """The setting that is null and so stands for an epoch, if there is one."""
        return None
