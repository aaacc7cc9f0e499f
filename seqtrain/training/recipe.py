"""How a run trains: all that does not change in it."""

from dataclasses import dataclass

from seqtrain.tasks import Task
from seqtrain.training.schedules import Schedule
from seqtrain.training.settings import Train


@dataclass(frozen=True)
class Recipe:
    """How to train: all that does not change in a run.

    train : the settings of the loop, with no default left to fill in.
    lr, clip_norm : the settings of the optimizer.
    seed : of the data and of dropout.
    steps : of the whole run.
    """

    task: Task
    train: Train
    schedule: Schedule
    lr: float
    clip_norm: float | None
    seed: int
    steps: int

    @property
    def eval_batch_size(self) -> int:
        """Sequences, or columns of a text, evaluated side by side."""
        return self.task.evaluated_together(self.train.eval_batch_size)

    @property
    def max_skips(self) -> int | None:
        """Steps that may be skipped in the whole run; None if the first such step ends it."""
        return self.train.max_skips if self.train.on_divergence == "skip" else None

    def epoch_at(self, step: int) -> int:
        """Passes through the training text that are done before a step; 0 where there are none."""
        return self.task.epoch_at(step, self.train.batch_size)
