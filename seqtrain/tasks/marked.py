"""Numbers of which two are marked: what the adding and the multiplication problem have in common."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from seqtrain.system.settings import Affects, Length
from seqtrain.tasks.base import Batch, Prediction, SizedTask, Spec
from seqtrain.tasks.metrics import Metric, Tally

Variant = Literal["halves", "anywhere", "hochreiter"]


@dataclass(kw_only=True, eq=False)
class MarkedNumbers(SizedTask):
    """Of many numbers two are marked; a subclass says what is asked about them, and what a constant guess costs.

    tolerance : an answer counts as right if it is off by less.
    """

    metric = Metric("mse", higher_is_better=False)
    symbolic = False
    spec = Spec(input_size=2, symbols=False, output_size=1, every_step=False)
    tolerance = 0.0

    length: Annotated[Length, Affects.DATA] = 100
    """Steps in a sequence (the least, in `hochreiter`)."""
    variant: Annotated[Variant, Affects.DATA] = "halves"
    """Which published definition; it says where the marks are."""

    def __post_init__(self) -> None:
        """Name the definition and lay out the sequences."""
        super().__post_init__()
        self.definition = f"{self.name}/{self.variant}/length={self.length}/v{self.generator_version}"

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:
        """A length that leaves no room for the marks."""
        if settings.variant == "hochreiter" and settings.length < 22:
            yield (
                "length",
                f"is {settings.length}; variant 'hochreiter' places marks in the first 10 and the first T/2 - 1 steps "
                "and needs at least 22",
            )

    def draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values U[0,1] and markers `[T, B]`; lengths `[B]`, or None if all are T.

        The marker is 1 at the marked steps, -1 at the first and last step of `hochreiter`, where no mark shows, else 0.
        """
        if self.variant == "hochreiter":
            return self._draw_hochreiter(batch_size, generator)
        T, B = self.length, batch_size
        values = torch.rand(T, B, generator=generator)
        if self.variant == "halves":
            first = _integers(T // 2, B, generator)
            second = T // 2 + _integers(T - T // 2, B, generator)
        else:
            first = _integers(T, B, generator)
            second = _skip(_integers(T - 1, B, generator), first)
        return values, _mark(values, first, second), None

    def _draw_hochreiter(self, B: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        T = self.length
        lengths = T + _integers(T // 10 + 1, B, generator)
        values = torch.rand(int(lengths.max()), B, generator=generator)
        first = _integers(10, B, generator)
        second = _skip(_integers(T // 2 - 2, B, generator), first)
        marker = _mark(values, first, second)
        marker[0] = -1.0
        marker.scatter_(0, lengths[None] - 1, -1.0)
        return values, marker, lengths

    def hidden_marks(self) -> tuple[float, float]:
        """Probabilities that the first, and that the second mark falls on the first step, where it does not show."""
        if self.variant != "hochreiter":
            return 0.0, 0.0
        return 1 / 10, (9 / 10) / (self.length // 2 - 2)

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """Summed squared error."""
        return (prediction.outputs - batch.targets).square().sum(), batch.size

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Squared error, and the sequences within the tolerance (`accuracy`)."""
        error = (prediction.outputs - batch.targets).double()
        return (
            Tally()
            .add("mse", error.square().sum(), batch.size)
            .add("accuracy", (error.abs() < self.tolerance).sum(), batch.size)
        )

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % within the tolerance."""
        return means["accuracy"] >= 0.99


def as_batch(values: Tensor, marker: Tensor, answers: Tensor, lengths: Tensor | None) -> Batch:
    """Values and markers `[T, B]` as inputs `[T, B, 2]`, zero past the end; answers `[B]` as targets `[B, 1]`."""
    inputs = torch.stack([values, marker], -1)
    if lengths is not None:
        inputs = inputs * (torch.arange(len(values))[:, None] < lengths)[..., None]
    return Batch(inputs, answers[:, None], lengths)


def _integers(high: int, B: int, generator: torch.Generator) -> Tensor:
    return torch.randint(high, (B,), generator=generator)


def _mark(values: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Ones at the steps `first` and `second` `[B]`, zeros elsewhere."""
    return torch.zeros_like(values).scatter_(0, torch.stack([first, second]), 1.0)


def _skip(drawn: Tensor, taken: Tensor) -> Tensor:
    """Move draws from 0..n-2 to 0..n-1 without `taken`, all equally likely."""
    return drawn + (drawn >= taken).long()
