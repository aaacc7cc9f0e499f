"""Learning-rate schedules, as factors on the optimizer's learning rate."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up, then one of four shapes.

        constant   1
        step       factor ** cuts, a cut after the first `hold` periods and after every further one; a period is
                   `every` steps since the warm-up, or an epoch
        plateau    factor ** cuts, a cut whenever more than `patience` evaluations bring no improvement
        cosine     from 1 down to `final` at the run's last step (Loshchilov & Hutter 2017, one cycle)

    Parameters
    ----------
    steps : of the whole run.
    warmup : steps before the full learning rate is reached.
    every : None for epochs.
    hold, factor, patience, final : as above, each for the shapes that name it.
    """

    name: Literal["constant", "step", "plateau", "cosine"]
    steps: int
    warmup: int = 0
    every: int | None = None
    hold: int = 1
    factor: float = 1.0
    patience: int = 0
    final: float = 0.0

    def lr_factor(self, step: int, cuts: int, epoch: int = 0) -> float:
        """What the learning rate is multiplied by at one step (from 0) of an epoch, after so many plateau cuts."""
        since = step - self.warmup
        if since < 0:
            return (step + 1) / (self.warmup + 1)
        if self.name == "step":
            periods = epoch if self.every is None else since // self.every
            return float(self.factor ** max(0, periods - self.hold + 1))
        if self.name == "plateau":
            return float(self.factor**cuts)
        if self.name == "cosine":
            progress = min(1.0, since / max(1, self.steps - 1 - self.warmup))
            return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2
        return 1.0

    def is_due(self, stalled: int) -> bool:
        """Whether so many evaluations without improvement since the last cut call for another."""
        return self.name == "plateau" and stalled > self.patience
