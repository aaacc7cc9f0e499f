"""The two-sequence problem: noise and signal on the same channel."""

import math
from typing import Annotated, Any, Literal

import torch

from seqtrain.system.settings import Affects, Faults, Length, Size
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact, constant
from seqtrain.tasks.generated import Classification
from seqtrain.tasks.metrics import Tally

VARIANCE = 0.2
"""Variance of the noise on the inputs."""

TARGETS = (0.2, 0.8)
TARGET_VARIANCE = 0.1
"""With `noisy_targets`: the mean target of each class, and the variance of the noise on it."""

TOLERANCE, MEAN_DIFFERENCE = 0.1, 0.015
"""With `noisy_targets`: the largest error of a right answer, and the mean error that solves the task."""


class TwoSequence(Classification):
    """The first few of many noisy numbers show one of two classes; after the last, name the class.

        1.2  .7  .9 | -.3  .5  .1 -.6 ...  .2    -->   class 1        signal 3
        -.8 -.9 -1. |  .4 -.1 -.5  .2 ... -.7    -->   class 2

    The first `signal` numbers are 1 for class 1 and -1 for class 2, all later ones noise with mean 0 and variance 0.2;
    the length is uniform in [T, 1.1 T] (Hochreiter & Schmidhuber 1997, experiment 3). Their 3a, which has no other
    noise, is left out because random weights solve it.

    Variants
    --------
    noisy_signal : the same noise also on the first numbers (their 3b). Loss: cross-entropy. Baseline: ln 2. Solved: at
        least 99 % right (`accuracy`); if the noise makes this impossible, as with a signal of one number, the best
        possible accuracy less 1 %.
    noisy_targets : the target is 0.2 for class 1 and 0.8 for class 2, with noise of variance 0.1 on it, and the
        signal has no noise (their 3c). Loss: squared error. `mean_difference`: mean absolute difference of the answer
        and the target without noise; `accuracy`: answers that differ by less than 0.1. Baseline: the error of a
        constant 0.5. Solved: a mean difference below 0.015.
    """

    name = "two_sequence"
    symbolic = False
    every_step = False
    input_size = 1

    variant: Annotated[Literal["noisy_signal", "noisy_targets"], Affects.DATA] = "noisy_signal"
    """Where there is noise besides the later numbers: experiment 3b or 3c of Hochreiter & Schmidhuber 1997."""
    length: Annotated[Length, Affects.DATA] = 100
    """Least steps in a sequence; the most are a tenth more."""
    signal: Annotated[Size, Affects.DATA] = 3
    """The first steps, which show the class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.classifies = self.variant == "noisy_signal"
        self.output_size = 2 if self.classifies else 1

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """A signal without noise after it."""
        if settings.signal >= settings.length:
            yield (
                "signal",
                f"is {settings.signal}; noise must follow it, so it must be below length {settings.length}",
            )

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Numbers `[T, B, 1]`; classes `[B]`, or targets with and without noise `[B, 2]`."""
        lengths = self.length + torch.randint(self.length // 10 + 1, (batch_size,), generator=generator)
        classes = torch.randint(2, (batch_size,), generator=generator)
        inputs = math.sqrt(VARIANCE) * torch.randn(int(lengths.max()), batch_size, generator=generator)
        if not self.classifies:
            inputs[: self.signal] = 0.0
        inputs[: self.signal] += 1.0 - 2.0 * classes
        inputs *= torch.arange(len(inputs))[:, None] < lengths
        if self.classifies:
            return Batch(inputs[..., None], classes, lengths)
        mean = torch.tensor(TARGETS)[classes]
        noise = math.sqrt(TARGET_VARIANCE) * torch.randn(batch_size, generator=generator)
        return Batch(inputs[..., None], torch.stack([mean + noise, mean], 1), lengths)

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[torch.Tensor, int]:
        """Cross-entropy of the classes, or squared error against the noisy targets, summed."""
        if self.classifies:
            return super().loss(prediction, batch)
        return (prediction.outputs - batch.targets[:, :1]).square().sum(), batch.size

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Right answers (`accuracy`), and the difference to the targets without noise (`mean_difference`)."""
        if self.classifies:
            return super().measure(prediction, batch)
        difference = (prediction.outputs - batch.targets[:, 1:]).double().abs()
        tally = Tally().add("mean_difference", difference.sum(), batch.size)
        return tally.add("accuracy", (difference < TOLERANCE).sum(), batch.size)

    def baseline(self, split: Split) -> dict[str, float]:
        """A guess of either class; or the mean of both targets, and for the accuracy always one of them."""
        if self.classifies:
            return super().baseline(split)
        spread = (TARGETS[1] - TARGETS[0]) / 2
        return {"loss": TARGET_VARIANCE + spread**2, "mean_difference": spread, "accuracy": 1 / 2}

    def solved(self, means: dict[str, float]) -> bool:
        """As the variants say."""
        if not self.classifies:
            return means["mean_difference"] < MEAN_DIFFERENCE
        hidden = math.erfc(math.sqrt(self.signal / VARIANCE / 2)) / 2  # P(the sum of the signal has the wrong sign)
        return means["accuracy"] >= (0.99 if hidden < 0.01 else 0.99 - hidden)

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The class, from the end of the signal on."""
        assert batch.lengths is not None
        second = batch.targets.long() if self.classifies else (batch.targets[:, 1] > sum(TARGETS) / 2).long()
        end = batch.lengths - 1
        return [constant("class", second, self.signal - 1, end, len(batch.inputs), ("1", "2"))]
