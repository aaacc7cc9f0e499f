"""The temporal order problem."""

import math
from typing import Literal

import torch
from torch import Tensor

from seqtrain.tasks.base import Batch, GeneratedTask, Prediction, Spec, Split, count_correct
from seqtrain.tasks.metrics import Metric, Tally

START, TRIGGER, FIRST_DISTRACTOR, X = 0, 1, 2, 6  # E B | a b c d | X Y
WINDOWS = {2: ((0.10, 0.20), (0.50, 0.60)), 3: ((0.10, 0.20), (0.33, 0.43), (0.66, 0.76))}
"""Where each mark may fall, as fractions of T, by the number of marks."""


class TemporalOrder(GeneratedTask):
    """Marks X and Y stand far apart among distractors; after the last step, name their order.

        E  b  a  X  d  c  c  ...  b  Y  a  ...  d  B    -->   class "XY"

    The sequence starts with E and ends with the trigger B; its length is uniform in [T, 1.1 T]. For T = 100, 2
    marks fall in steps 10-20 and 50-60 (4 classes), 3 marks in 10-20, 33-43 and 66-76 (8 classes); other T in
    proportion (Hochreiter & Schmidhuber 1997, experiments 6a and 6b). Variants are named by the number of
    symbols: sources use "3-bit" for both.

    Loss: cross-entropy after the last step. Baseline: ln 4 or ln 8. Solved: at least 99 % right.
    """

    name = "temporal_order"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)

    def __init__(
        self,
        *,
        seed: int,
        length: int = 100,
        symbols: Literal[2, 3] = 2,
        valid_size: int = 2000,
        test_size: int = 2000,
    ) -> None:
        super().__init__(seed=seed, valid_size=valid_size, test_size=test_size)
        self.length = length
        self.classes = 2**symbols
        self.windows = [(round(low * length), round(high * length)) for low, high in WINDOWS[symbols]]
        self.spec = Spec(input_size=8, symbols=True, output_size=self.classes, every_step=False)
        self.variant = f"temporal_order/symbols={symbols}/length={length}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Symbols `[T, B]`, classes `[B]`: the marks read as binary digits, X = 0 and Y = 1, first mark first."""

        def integers(low: int, high: int, *shape: int) -> Tensor:
            return torch.randint(low, high, shape, generator=generator)

        lengths = integers(self.length, self.length + self.length // 10 + 1, batch_size)
        longest = int(lengths.max())
        inputs = integers(FIRST_DISTRACTOR, X, longest, batch_size)
        inputs[0] = START
        targets = torch.zeros_like(lengths)
        for low, high in self.windows:
            mark = integers(0, 2, batch_size)
            inputs.scatter_(0, integers(low, high + 1, 1, batch_size), X + mark[None])
            targets = 2 * targets + mark
        inputs.scatter_(0, lengths[None] - 1, TRIGGER)
        inside = torch.arange(longest)[:, None] < lengths
        return Batch(inputs * inside, targets, lengths)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Sequences whose order is named right (`accuracy`)."""
        return Tally().add("accuracy", count_correct(prediction.outputs, batch.targets), batch.size)

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """A guess among equally likely classes."""
        return {"loss": math.log(self.classes), "accuracy": 1 / self.classes}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % right."""
        return means["accuracy"] >= 0.99
