"""Running parity."""

import math
from typing import Annotated, Any

import torch

from seqtrain.system.settings import Affects, Length, Null
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.generated import Classification
from seqtrain.tasks.metrics import Tally

STRETCH = 4
"""How many times longer the evaluated sequences are by default."""


def _stretched(settings: Any) -> int:
    """The default length of an evaluated sequence."""
    return STRETCH * int(settings.length)


class Parity(Classification):
    """At every step, say whether the number of ones so far is odd.

        input    0  1  1  0  1  0  0  1
        target   0  1  0  0  1  1  1  0

    Bits are independent and fair. One error makes all later answers wrong, so a model must track its state through the
    whole sequence. Training sequences have `length` steps; those of the validation and test sets have `eval_length`,
    by default four times as many: a model that fits the trained length alone does not solve it.

    Loss: cross-entropy at every step. Metrics: `accuracy` over all steps, `accuracy_at_end` at the last one alone.
    Baseline: the first bit is its own parity; after it, the current bit tells nothing, ln 2. Solved: both accuracies
    are at least 0.99.
    """

    name = "parity"
    reach = "eval_length"
    every_step = True
    input_size = output_size = 2

    length: Annotated[Length, Affects.DATA] = 50
    """Steps in a training sequence."""
    eval_length: Annotated[Length | None, Null(_stretched, text=f"{STRETCH} times length"), Affects.EVALUATION] = None
    """Steps in a sequence of the validation and test sets; null for {null}."""

    def __post_init__(self) -> None:
        """Set the length of the evaluated sequences."""
        self.evaluated = self.eval_length = self.eval_length or _stretched(self)
        super().__post_init__()

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Bits `[T, B]` and their running parities `[T, B]`."""
        return _draw(self.length, batch_size, generator)

    def sample_fixed(self, split: Split, size: int) -> Batch:
        """The same with the length for evaluation."""
        return _draw(self.evaluated, size, self.generator(split))

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Steps (`accuracy`) and last steps (`accuracy_at_end`) answered right."""
        right = prediction.outputs[-1].argmax(-1) == batch.targets[-1]
        return super().measure(prediction, batch).add("accuracy_at_end", right.sum(), right.numel())

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """A certain answer at the first step, then a guess among two."""
        guessed = (self.evaluated - 1) / self.evaluated
        return {"loss": guessed * math.log(2), "accuracy": 1 - guessed / 2, "accuracy_at_end": 1 / 2}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % of the steps, and of the last steps."""
        return min(means["accuracy"], means["accuracy_at_end"]) >= 0.99

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:
        """The parity so far."""
        return [HiddenFact("parity so far", batch.targets, torch.ones_like(batch.targets).bool(), ("even", "odd"))]


def _draw(T: int, B: int, generator: torch.Generator) -> Batch:
    bits = torch.randint(2, (T, B), generator=generator)
    return Batch(bits, bits.cumsum(0) % 2)
