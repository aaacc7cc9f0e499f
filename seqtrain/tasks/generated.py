"""Tasks whose sequences are drawn at random."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Annotated

import torch

from seqtrain.system.rng import generator
from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.base import Batch, Prediction, Split, Task
from seqtrain.tasks.metrics import ACCURACY, Tally

SPECIMEN_STEPS = 1 << 14
"""Steps in all sequences that are drawn to find a long one."""


class GeneratedTask(Task):
    """A task whose sequences are drawn, whole batches at a time, from generators named by (seed, split, step).

    A task defines `sample`, `fixed_sizes`, `measure` and `baseline`, and `solved` if its rule is not an accuracy of at
    least 0.99. `SizedTask` has the two sizes as settings; `Classification` has all but `sample`.

    seed : of the run; decides the training batches, the validation set and the test set.
    """

    seed: int

    @cached_property
    def sizes(self) -> dict[Split, int]:
        """As `fixed_sizes` says."""
        return self.fixed_sizes()

    @cached_property
    def _fixed(self) -> dict[Split, Batch]:
        """The fixed sets that are drawn, which is when they are first used."""
        return {}

    @abstractmethod
    def fixed_sizes(self) -> dict[Split, int]:
        """Sequences in the validation and in the test set."""

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch; without a loop over its sequences."""

    def sample_fixed(self, split: Split, size: int) -> Batch:
        """Draw sequences of a fixed set; in the same way as a training batch unless a task says otherwise."""
        return self.sample(size, self.generator(split))

    def generator(self, *key: str | int) -> torch.Generator:
        """The generator for one purpose of this task."""
        return generator(self.seed, self.name, *key)

    def train_batch(self, step: int, batch_size: int) -> Batch:
        """The training batch of a step, drawn from a generator of its own."""
        return self.sample(batch_size, self.generator("train", step))

    def specimen(self, split: Split, batch_size: int) -> Batch:  # noqa: ARG002
        """One sequence; the longest of many if lengths differ, since a batch is padded to its longest sequence."""

        def draw(size: int) -> Batch:
            if split == "train":
                return self.sample(size, self.generator("specimen"))
            return self.sample_fixed(split, min(size, self.sizes[split]))

        one = draw(1)
        if one.lengths is None:
            return one
        many = draw(max(1, SPECIMEN_STEPS // len(one.inputs)))
        assert many.lengths is not None
        longest = int(many.lengths.argmax())
        return many.rows(longest, longest + 1)

    def evaluated_together(self, batch_size: int | None) -> int:
        """At most the sequences in the larger fixed set."""
        return min(super().evaluated_together(batch_size), max(self.sizes.values()))

    def fixed_bytes(self) -> int:
        """The bytes of a specimen for each sequence."""
        return sum(size * self.specimen(split, size).bytes for split, size in self.sizes.items())

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """The fixed set, drawn once; the size of the batches does not change its content."""
        if split not in self._fixed:
            self._fixed[split] = self.sample_fixed(split, self.sizes[split])
        whole = self._fixed[split]
        for start in range(0, whole.size, batch_size):
            yield whole.rows(start, min(start + batch_size, whole.size))

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        return -(-self.sizes[split] // batch_size)

    def solved(self, means: dict[str, float]) -> bool:
        """At least 99 % right, unless a task has another rule."""
        return means["accuracy"] >= 0.99


class SizedTask(GeneratedTask):
    """A generated task whose fixed sets may have any size."""

    valid_size: Annotated[Size, Affects.EVALUATION] = 2000
    """Sequences in the fixed validation set."""
    test_size: Annotated[Size, Affects.EVALUATION] = 2000
    """Sequences in the fixed test set."""

    def fixed_sizes(self) -> dict[Split, int]:
        """The two settings."""
        return {"valid": self.valid_size, "test": self.test_size}


class Classification(SizedTask):
    """A task that asks for classes, `[T, B]` or `[B]`.

    Loss: cross-entropy. Metric: `accuracy`, the share of right answers. Baseline: a guess among all classes, equally
    likely. Solved: at least 99 % right. A task overrides what differs.
    """

    metric = ACCURACY
    answers = slice(None)
    """Which of the targets count in `accuracy`, if all are scored."""

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Right answers (`accuracy`)."""
        answers = self.answers if batch.scored is None else batch.scored
        right = prediction.outputs[answers].argmax(-1) == batch.targets[answers]
        return Tally().add("accuracy", right.sum(), right.numel())

    def baseline(self, split: Split) -> dict[str, float]:  # noqa: ARG002
        """A guess among classes that are equally likely."""
        return {"loss": math.log(self.output_size), "accuracy": 1 / self.output_size}
