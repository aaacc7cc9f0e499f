"""What a task on sequences asks for: what it needs to know of the answers to train and to judge a model."""

from typing import Any, Protocol

from pydantic import JsonValue
from torch import Tensor

from seqtrain.tasks.base import Batch, Prediction
from seqtrain.tasks.metrics import Metric, Tally
from seqtrain.tasks.sequences.collection import Collection
from seqtrain.tasks.sequences.part import Part


class Answers(Protocol):
    """The kind of what is predicted: classes, numbers, or the next binary vector."""

    metric: Metric

    @property
    def output_size(self) -> int:
        """Numbers in a prediction."""

    def as_json(self) -> dict[str, JsonValue]:
        """What was measured on the training part, for a checkpoint."""

    def targets(self, collection: Collection) -> Tensor:
        """The targets of a `Part`."""

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """A sum over the scored predictions, and their number."""

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Sums of all metrics except the loss."""

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics from the means of all sums."""

    def baseline(self, train: Part, part: Part) -> dict[str, float]:
        """The metrics of the best simple rule, and the deciding one of each rule."""

    def facts(self) -> dict[str, Any]:
        """What a reader of the figures should know."""
