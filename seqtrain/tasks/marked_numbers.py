"""The adding and the multiplication problem: numbers of which two are marked."""

from abc import abstractmethod
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from seqtrain.system.settings import Affects, Faults, Length
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.generated import SizedTask
from seqtrain.tasks.metrics import Metric, Tally

Variant = Literal["halves", "anywhere", "hochreiter"]


class MarkedNumbers(SizedTask):
    """Two of many numbers are marked; a subclass defines the answer and the baseline.

    tolerance : an answer is right if its error is smaller.
    signed : in `hochreiter`, the values are U[-1,1] rather than U[0,1].
    kept : what the answer is called while it is not complete.
    """

    metric = Metric("mse", higher_is_better=False)
    symbolic = False
    every_step = False
    input_size, output_size = 2, 1
    tolerance = 0.0
    signed = False
    kept = "answer so far"

    length: Annotated[Length, Affects.DATA] = 100
    """Steps in a sequence (at least, in `hochreiter`)."""
    variant: Annotated[Variant, Affects.DATA] = "halves"
    """The published definition, which says where the marks are."""

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A length without room for the marks."""
        if settings.variant == "hochreiter" and settings.length < 22:
            yield (
                "length",
                f"is {settings.length}; variant 'hochreiter' places marks in the first 10 and the first T/2 - 1 steps "
                "and needs at least 22",
            )

    @abstractmethod
    def answer(self, values: Tensor, marked: Tensor) -> Tensor:
        """The answers `[B]`, given values and which of them are marked, `[T, B]`."""

    @abstractmethod
    def variance(self) -> float:
        """Of the target."""

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """Variance of the target: the error of the best constant guess."""
        return {"loss": self.variance(), "mse": self.variance()}

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
        if hochreiter and self.signed:
            values = values * 2 - 1
        answers = self.answer(values, marker == 1)
        inputs = torch.stack([values, marker], -1)
        if lengths is not None:
            inputs = inputs * (torch.arange(len(values))[:, None] < lengths)[..., None]
        return Batch(inputs, answers[:, None], lengths)

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The answer for the marks so far, from the first mark on."""
        values, marked = batch.inputs[..., 0], batch.inputs[..., 1] == 1
        count = marked.cumsum(0)
        one, both = self.answer(values, marked & (count == 1)), self.answer(values, marked)
        known = count > 0
        if batch.lengths is not None:
            known &= torch.arange(len(values))[:, None] < batch.lengths
        return [HiddenFact(self.kept, both.where(count > 1, one), known)]

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


class Adding(MarkedNumbers):
    """Two of many numbers are marked; after the last step, say their sum.

        value   .31  .80  .12  .57  .44  .09          target
        marker   0    1    0    0    1    0    -->    .80 + .44

    Variants
    --------
    halves : values U[0,1], one mark in each half (Arjovsky, Shah & Bengio 2016).
    anywhere : values U[0,1], any two positions (Bai, Kolter & Koltun 2018).
    hochreiter : values U[-1,1]; marks in the first 10 steps and in the first T/2 - 1; marker -1 on the first and
        last step, where a mark counts as zero; length uniform in [T, 1.1 T]; target 0.5 + (X1 + X2) / 4
        (Hochreiter & Schmidhuber 1997, experiment 4).

    Loss: mean squared error, also the metric `mse`; `accuracy` is the share of sequences with an error below 0.08
    (0.04 in `hochreiter`: the same error, since its target is scaled). Baseline: the mean as a constant guess. Solved:
    an accuracy of at least 0.99 on the validation set.
    """

    name = "adding"
    signed = True
    kept = "sum so far"

    def __post_init__(self) -> None:
        """Set the tolerance."""
        super().__post_init__()
        self.tolerance = 0.04 if self.variant == "hochreiter" else 0.08

    def answer(self, values: Tensor, marked: Tensor) -> Tensor:
        """The sums."""
        total = (values * marked).sum(0)
        return 0.5 + total / 4 if self.variant == "hochreiter" else total

    def variance(self) -> float:
        """Of two values."""
        if self.variant != "hochreiter":
            return 2 / 12  # of a value U[0, 1], twice
        square = 1 / 3  # of a value U[-1, 1]; marks on step 0 count as zero
        return sum(square * (1 - hidden) for hidden in self.hidden_marks()) / 16


class Multiplication(MarkedNumbers):
    """Two of many numbers are marked; after the last step, say their product.

        value   .31  .80  .12  .57  .44  .09          target
        marker   0    1    0    0    1    0    -->    .80 * .44

    Hochreiter & Schmidhuber 1997, experiment 5. Adding to one memory cell gives a sum, but not a product.

    Variants
    --------
    All values are U[0,1]; the variants place the marks as those of `adding` do.

    halves : one mark in each half.
    anywhere : any two positions.
    hochreiter : marks in the first 10 steps and in the first T/2 - 1; marker -1 on the first and last step, where a
        mark counts as a factor of one; length uniform in [T, 1.1 T]. The published task.

    Loss: mean squared error, also the metric `mse`; `accuracy` is the share of sequences with an error below 0.04.
    Baseline: the mean as a constant guess, 7/144 if both marks are visible. Solved: an accuracy of at least 0.99 on the
    validation set.
    """

    name = "multiplication"
    tolerance = 0.04
    kept = "product so far"

    def answer(self, values: Tensor, marked: Tensor) -> Tensor:
        """The products."""
        return values.where(marked, 1.0).prod(0)

    def variance(self) -> float:
        """Of a product, or of one value if the other mark is hidden."""
        single = sum(self.hidden_marks())
        mean = (1 - single) * (1 / 2) ** 2 + single * 1 / 2
        square = (1 - single) * (1 / 3) ** 2 + single * 1 / 3
        return square - mean**2
