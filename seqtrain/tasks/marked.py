"""What the adding and the multiplication problem share: numbers of which two are marked."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from seqtrain.system.settings import Affects, Length
from seqtrain.tasks.base import Batch, Prediction
from seqtrain.tasks.generated import SizedTask
from seqtrain.tasks.metrics import Metric, Tally

Variant = Literal["halves", "anywhere", "hochreiter"]


class MarkedNumbers(SizedTask):
    """Two of many numbers are marked; a subclass defines the answer and the baseline.

    tolerance : an answer is right if its error is smaller.
    """

    metric = Metric("mse", higher_is_better=False)
    symbolic = False
    every_step = False
    input_size, output_size = 2, 1
    tolerance = 0.0

    length: Annotated[Length, Affects.DATA] = 100
    """Steps in a sequence (at least, in `hochreiter`)."""
    variant: Annotated[Variant, Affects.DATA] = "halves"
    """The published definition, which says where the marks are."""

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """A length without room for the marks."""
        if settings.variant == "hochreiter" and settings.length < 22:
            yield (
                "length",
                f"is {settings.length}; variant 'hochreiter' places marks in the first 10 and the first T/2 - 1 steps "
                "and needs at least 22",
            )

    @abstractmethod
    def answer(self, values: Tensor, marker: Tensor) -> tuple[Tensor, Tensor]:
        """The values `[T, B]` of the inputs and the answers `[B]`, given values U[0,1] and markers `[T, B]`.

        The marker is 1 at marked steps, -1 at the first and last step of `hochreiter`, where marks are hidden, else 0.
        """

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Values and markers `[T, B, 2]`, zero after the end; answers `[B, 1]`."""
        hochreiter, T, B = self.variant == "hochreiter", self.length, batch_size

        def integers(high: int) -> Tensor:
            return torch.randint(high, (B,), generator=generator)

        lengths = T + integers(T // 10 + 1) if hochreiter else None
        values = torch.rand(T if lengths is None else int(lengths.max()), B, generator=generator)
        if self.variant == "halves":
            first, second = integers(T // 2), T // 2 + integers(T - T // 2)
        else:
            first = integers(10 if hochreiter else T)
            drawn = integers((T // 2 - 1 if hochreiter else T) - 1)
            second = drawn + (drawn >= first).long()  # any place but the first
        marker = torch.zeros_like(values).scatter_(0, torch.stack([first, second]), 1.0)
        if lengths is not None:
            marker[0] = -1.0
            marker.scatter_(0, lengths[None] - 1, -1.0)
        values, answers = self.answer(values, marker)
        inputs = torch.stack([values, marker], -1)
        if lengths is not None:
            inputs = inputs * (torch.arange(len(values))[:, None] < lengths)[..., None]
        return Batch(inputs, answers[:, None], lengths)

    def hidden_marks(self) -> tuple[float, float]:
        """Probabilities that the first, and that the second mark is hidden because it falls on the first step."""
        if self.variant != "hochreiter":
            return 0.0, 0.0
        return 1 / 10, (9 / 10) / (self.length // 2 - 2)

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Summed squared error."""
        return (prediction.outputs - batch.targets).square().sum(), batch.size

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Squared error (`mse`), and the sequences within the tolerance (`accuracy`)."""
        error = (prediction.outputs - batch.targets).double()
        tally = Tally().add("mse", error.square().sum(), batch.size)
        return tally.add("accuracy", (error.abs() < self.tolerance).sum(), batch.size)
