"""The next step of sequences of binary vectors, such as the keys of a piano that sound together.

step      1     2     3
read      0     x1    x2          zeros, so that the first step counts as every other one
predict   x1    x2    x3          a probability for each input
"""

from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor
from torch.nn import functional as F

from seqtrain.tasks.base import Batch, Prediction
from seqtrain.tasks.metrics import Metric, Tally
from seqtrain.tasks.sequences.collection import Collection, refuse
from seqtrain.tasks.sequences.part import Part
from seqtrain.tasks.tables.table import MOST_FAULTS

LOSS = Metric("loss", higher_is_better=False)


class BinarySteps:
    """Binary vectors; each step of each sequence is predicted once.

    Parameters
    ----------
    columns : how many numbers a step has.
    """

    metric = LOSS

    def __init__(self, columns: int) -> None:
        self._columns = columns

    def as_json(self) -> dict[str, JsonValue]:
        """Nothing is measured."""
        return {}

    @property
    def output_size(self) -> int:
        """One score for each number in a step."""
        return self._columns

    def facts(self) -> dict[str, Any]:
        """Nothing beside the metrics."""
        return {}

    def targets(self, collection: Collection) -> Tensor:
        """The vectors themselves, `[S, C]`.

        Raises
        ------
        DataError : a number is neither 0 nor 1.
        """
        values = collection.values
        wrong = np.argwhere((values != 0) & (values != 1))
        refuse(
            [
                f"{collection.place_of_step(int(step))}: {collection.columns[c]} is {values[step, c]:g}"
                for step, c in wrong[:MOST_FAULTS]
            ],
            "predict: next_step predicts binary vectors, so write 0 or 1; name them with task.inputs if others stand "
            "beside them",
            more=len(wrong) - min(MOST_FAULTS, len(wrong)),
        )
        return torch.from_numpy(values.astype(np.float32))

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Binary cross-entropy in nats, summed over the numbers of all steps; and how many steps there are."""
        outputs, known = prediction.outputs, _scored(batch)
        total = F.binary_cross_entropy_with_logits(outputs[known], batch.targets[known], reduction="sum")
        return total, int(known.sum())

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Ones that are predicted right among all that are predicted or true (`frame_accuracy`; Bay et al. 2009)."""
        known = _scored(batch)
        said, true = prediction.outputs[known] > 0, batch.targets[known] > 0
        return Tally().add("frame_accuracy", (said & true).sum(), (said | true).sum())

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """As they are."""
        return means

    def baseline(self, train: Part, part: Part) -> dict[str, float]:
        """How often each number is 1 in training: always, and after it was 0 or 1 at the step before."""
        rules = {"frequencies": _frequencies(train, part), "the step before": _after_the_step_before(train, part)}
        truth = part.targets.double()
        losses, figures = {}, {}
        for name, guess in rules.items():
            nats = F.binary_cross_entropy(guess, truth, reduction="sum")
            losses[name] = float(nats) / len(truth)
            said, true = guess > 0.5, truth > 0.5
            either = int((said | true).sum())
            figures[name] = int((said & true).sum()) / either if either else float("nan")
        best = min(losses, key=lambda name: losses[name])
        found = {"loss": losses[best], "frame_accuracy": figures[best]}
        return found | {f"loss of {name}": value for name, value in losses.items()}


def _scored(batch: Batch) -> Tensor:
    return torch.ones(batch.inputs.shape[:2], dtype=torch.bool) if batch.scored is None else batch.scored


def _smoothed(ones: Tensor, all_: Tensor | int) -> Tensor:
    """A frequency with one more 0 and one more 1."""
    return (ones + 1) / (all_ + 2)


def _frequencies(train: Part, part: Part) -> Tensor:
    targets = train.targets.double()
    return _smoothed(targets.sum(0), len(targets)).expand(part.targets.shape)


def _after_the_step_before(train: Part, part: Part) -> Tensor:
    before, targets = _delayed(train), train.targets.double()
    after = [_smoothed((targets * was).sum(0), was.sum(0)) for was in (1 - before, before)]
    return torch.where(_delayed(part) > 0, after[1], after[0])


def _delayed(part: Part) -> Tensor:
    """`[S, C]`, the step before of the same sequence, or zeros."""
    before = torch.cat([torch.zeros(1, part.targets.shape[1]), part.targets[:-1]]).double()
    before[torch.from_numpy(part.starts)] = 0.0
    return before
