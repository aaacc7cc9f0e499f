"""What tasks with right and wrong answers share."""

import math

from torch import Tensor

from seqtrain.tasks.base import Prediction, Split
from seqtrain.tasks.batch import Batch
from seqtrain.tasks.generated import SizedTask
from seqtrain.tasks.metrics import ACCURACY, Tally


class Classification(SizedTask):
    """A task that asks for classes, `[T, B]` or `[B]`.

    Loss: cross-entropy. Metric: `accuracy`, the share of right answers. Baseline: a guess among all classes, equally
    likely. Solved: at least 99 % right. A task overrides what differs.
    """

    metric = ACCURACY

    def answers(self, batch: Batch) -> slice | Tensor:
        """Which targets count in `accuracy`, as an index."""
        return slice(None) if batch.scored is None else batch.scored

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Right answers (`accuracy`)."""
        answers = self.answers(batch)
        right = prediction.outputs[answers].argmax(-1) == batch.targets[answers]
        return Tally().add("accuracy", right.sum(), right.numel())

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """A guess among classes that are equally likely."""
        return {"loss": math.log(self.output_size), "accuracy": 1 / self.output_size}
