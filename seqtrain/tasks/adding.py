"""The adding problem."""

from typing import Literal

import torch
from torch import Tensor

from seqtrain.metrics import Metric, Tally
from seqtrain.tasks.base import Batch, GeneratedTask, Prediction, Spec, Split

Variant = Literal["halves", "anywhere", "hochreiter"]


class Adding(GeneratedTask):
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
    (0.04 in `hochreiter`, whose target is scaled: the two agree). Baseline: the mean as a constant guess. Solved: an
    accuracy of at least 0.99 on the validation set.
    """

    name = "adding"
    metric = Metric("mse", higher_is_better=False)
    spec = Spec(input_size=2, symbols=False, output_size=1, every_step=False)

    def __init__(
        self,
        *,
        seed: int,
        length: int = 100,
        variant: Variant = "halves",
        valid_size: int = 2000,
        test_size: int = 2000,
    ) -> None:
        super().__init__(seed=seed, valid_size=valid_size, test_size=test_size)
        self.length = length
        self.rule = variant
        self.tolerance = 0.04 if variant == "hochreiter" else 0.08
        self.variant = f"adding/{variant}/length={length}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Values and markers `[T, B, 2]`, sums `[B, 1]`."""
        if self.rule == "hochreiter":
            return self._sample_hochreiter(batch_size, generator)
        T, B = self.length, batch_size
        values = torch.rand(T, B, generator=generator)
        if self.rule == "halves":
            first = self._integers(T // 2, B, generator)
            second = T // 2 + self._integers(T - T // 2, B, generator)
        else:
            first = self._integers(T, B, generator)
            second = _skip(self._integers(T - 1, B, generator), first)
        marker = torch.zeros_like(values).scatter_(0, torch.stack([first, second]), 1.0)
        return Batch(torch.stack([values, marker], -1), (values * marker).sum(0)[:, None])

    def _sample_hochreiter(self, B: int, generator: torch.Generator) -> Batch:
        T = self.length
        lengths = T + self._integers(T // 10 + 1, B, generator)
        longest = int(lengths.max())
        values = torch.rand(longest, B, generator=generator) * 2 - 1
        first = self._integers(10, B, generator)
        second = _skip(self._integers(T // 2 - 2, B, generator), first)
        marker = torch.zeros_like(values).scatter_(0, torch.stack([first, second]), 1.0)
        marker[0] = -1.0
        marker.scatter_(0, lengths[None] - 1, -1.0)
        total = (values * (marker == 1)).sum(0)
        inside = torch.arange(longest)[:, None] < lengths
        inputs = torch.stack([values, marker], -1) * inside[..., None]
        return Batch(inputs, (0.5 + total / 4)[:, None], lengths)

    def _integers(self, high: int, B: int, generator: torch.Generator) -> Tensor:
        return torch.randint(high, (B,), generator=generator)

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

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """Variance of the target: the error of the best constant guess."""
        if self.rule == "hochreiter":
            square = 1 / 3  # of a value U[-1, 1]; the marks on step 0 count as zero
            first = square * (1 - 1 / 10)
            second = square * (1 - (9 / 10) / (self.length // 2 - 2))
            variance = (first + second) / 16
        else:
            variance = 2 / 12  # of a value U[0, 1], twice
        return {"loss": variance, "mse": variance}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % within the tolerance."""
        return means["accuracy"] >= 0.99


def _skip(drawn: Tensor, taken: Tensor) -> Tensor:
    """Move draws from 0..n-2 to 0..n-1 without `taken`, all equally likely."""
    return drawn + (drawn >= taken).long()
