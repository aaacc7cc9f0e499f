"""Running parity."""

import math

import torch

from seqtrain.tasks.base import Batch, GeneratedTask, Prediction, Spec, Split
from seqtrain.tasks.metrics import Metric, Tally

STRETCH = 4


class Parity(GeneratedTask):
    """At every step, say whether the ones so far are odd in number.

        input    0  1  1  0  1  0  0  1
        target   0  1  0  0  1  1  1  0

    Bits are independent and fair. One slip makes all that follows wrong, so a model must track its state for as long
    as the sequence lasts. Training sequences have `length` steps; those of the validation and test sets have
    `eval_length`, by default four times as many: a model that fits the trained length alone does not solve it.

    Loss: cross-entropy at every step. Metrics: `accuracy` over all steps, `accuracy_at_end` at the last one alone.
    Baseline: the first bit is its own parity; from then on the bit alone tells nothing, ln 2. Solved: both accuracies
    are at least 0.99.
    """

    name = "parity"
    reach = "eval_length"
    metric = Metric("accuracy", higher_is_better=True, most=1.0)
    spec = Spec(input_size=2, symbols=True, output_size=2, every_step=True)

    def __init__(
        self,
        *,
        seed: int,
        length: int = 50,
        eval_length: int | None = None,
        valid_size: int = 2000,
        test_size: int = 2000,
    ) -> None:
        super().__init__(seed=seed, valid_size=valid_size, test_size=test_size)
        self.length = length
        self.eval_length = STRETCH * length if eval_length is None else eval_length
        self.variant = f"parity/length={length}/eval_length={self.eval_length}/v{self.generator_version}"

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Bits `[T, B]` and their running parities `[T, B]`."""
        return _draw(self.length, batch_size, generator)

    def sample_fixed(self, split: Split) -> Batch:
        """Likewise, of the length for evaluation."""
        return _draw(self.eval_length, self.sizes[split], self.generator(split))

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Steps (`accuracy`) and last steps (`accuracy_at_end`) answered right."""
        right = prediction.outputs.argmax(-1) == batch.targets
        return (
            Tally()
            .add("accuracy", right.sum(), right.numel())
            .add("accuracy_at_end", right[-1].sum(), right[-1].numel())
        )

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """The first step for sure, then a guess among two."""
        guessed = (self.eval_length - 1) / self.eval_length
        return {"loss": guessed * math.log(2), "accuracy": 1 - guessed / 2, "accuracy_at_end": 1 / 2}

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % of the steps, and of the last steps."""
        return min(means["accuracy"], means["accuracy_at_end"]) >= 0.99


def _draw(T: int, B: int, generator: torch.Generator) -> Batch:
    bits = torch.randint(2, (T, B), generator=generator)
    return Batch(bits, bits.cumsum(0) % 2)
