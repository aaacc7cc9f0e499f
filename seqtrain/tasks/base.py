"""What a task is: batches, a loss, metrics, a computed baseline and a rule for "solved"."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from seqtrain.system.rng import generator
from seqtrain.system.settings import Affects, Size
from seqtrain.tasks.metrics import Metric, Tally

Split = Literal["train", "valid", "test"]
"""A part of a task's data that can be evaluated; `train` only where training passes through one finite text."""

HELD_OUT: tuple[Split, ...] = ("valid", "test")
"""The splits that every task has."""


@dataclass(frozen=True)
class Batch:
    """Sequences, padded to one length, and what to predict about them.

    inputs : `[T, B, I]` reals, or `[T, B]` symbols.
    targets : `[T, B]` symbols, `[T, B, V]` sets of symbols (1 for what is in a set, else 0), `[B]` classes, or
        `[B, O]` reals.
    lengths : `[B]`; None if every sequence fills T.
    scored : `[T, B]` bool, the steps that count in the loss; None for all.
    marks : `[T, B]` whole numbers that a task gives its own meaning to; None if it needs none.
    fresh : False if the sequences continue those of the batch before, so that the state is carried over.
    lr_factor : what the learning rate of a training step on it is multiplied by.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    scored: Tensor | None = None
    marks: Tensor | None = None
    fresh: bool = True
    lr_factor: float = 1.0

    @property
    def size(self) -> int:
        """B."""
        return self.inputs.shape[1]

    @property
    def bytes(self) -> int:
        """Of all that is in it."""
        return sum(part.nbytes for f in fields(self) if isinstance(part := getattr(self, f.name), Tensor))

    def rows(self, start: int, stop: int) -> Self:
        """The sequences `start` to `stop`, cut to the longest of them."""
        lengths = None if self.lengths is None else self.lengths[start:stop]
        T = self.inputs.shape[0] if lengths is None else int(lengths.max())

        def cut(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[:T, start:stop]

        by_step = self.targets.shape[:2] == self.inputs.shape[:2]
        targets = self.targets[:T, start:stop] if by_step else self.targets[start:stop]
        return replace(
            self,
            inputs=self.inputs[:T, start:stop],
            targets=targets,
            lengths=lengths,
            scored=cut(self.scored),
            marks=cut(self.marks),
        )

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        moved: dict[str, Any] = {
            f.name: part.to(device) for f in fields(self) if isinstance(part := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


MANY_STEPS = 1 << 14
"""Of all sequences that are drawn to see how long they become."""


class Prediction(Protocol):
    """What a task may ask of a model's answer to a batch."""

    @property
    def outputs(self) -> Tensor:
        """`[T, B, O]` or `[B, O]`, values or class scores."""

    def cross_entropy(self, targets: Tensor, scored: Tensor | None = None) -> tuple[Tensor, int]:
        """Sum in nats over the targets `[T, B]` or `[B]` that `scored` marks, and how many they are."""


class Spec(NamedTuple):
    """What a model for a task takes and gives; weights trained on one spec serve any task of the same spec.

    input_size : numbers a step, or symbols in the alphabet.
    symbols : the inputs are symbols rather than reals.
    output_size : O, numbers in a prediction.
    every_step : a prediction at every step rather than after the last.
    words : the symbols are words or characters of a text: the task has a `vocabulary`, and a model embeds them.
    """

    input_size: int
    symbols: bool
    output_size: int
    every_step: bool
    words: bool = False


class Task(ABC):
    """A task, ready to give batches. All of it follows from its settings and the seed.

    A task is a dataclass; its annotated attributes are its settings, `task.NAME` in a config, except those in `given`.
    Batches are made on the CPU and moved by whoever uses them: the same seed gives the same data on every device.
    """

    name: ClassVar[str]
    generator_version: ClassVar[int] = 1
    """Raised whenever the same settings would give other data than before."""

    given: ClassVar[tuple[str, ...]] = ("seed",)
    """Arguments of the constructor that the run gives; all others are settings."""

    metric: ClassVar[Metric]
    work_unit: ClassVar[Literal["sequences", "tokens"]] = "sequences"
    """What the throughput counts."""

    symbolic: ClassVar[bool] = True
    """The inputs are symbols rather than real numbers."""

    words: ClassVar[bool] = False
    """The symbols are words or characters of a text: the task has a `vocabulary`, and a model embeds them."""

    ranked: ClassVar[bool] = False
    """The vocabulary is in the order of frequency."""

    next_token: ClassVar[bool] = False
    """The target is the next input, or what may come next: a model that reads backward would see it."""

    carries_state: ClassVar[bool] = False
    """A training batch may continue the sequences of the one before."""

    has_epochs: ClassVar[bool] = False
    """Training passes through one finite text again and again, which is its split `train`."""

    reach: ClassVar[str | None] = "length"
    """The setting of the evaluated sequences that says how far back one must look; None if there is none."""

    solvable: ClassVar[bool] = True
    """There is a rule for "solved"."""

    eval_batch_size: ClassVar[int] = 250
    """Sequences, or columns of a text, that are evaluated side by side unless the config says otherwise."""

    spec: Spec
    vocabulary: list[str]
    """What each symbol stands for, where symbols stand for words; kept in the checkpoint."""

    counts: list[int] | None
    """How often each stands in the training text, if there is one; kept likewise."""

    definition: str
    """Names the definition, its settings, and the version of the generator."""

    @classmethod
    def faults(cls, settings: Any) -> Iterator[tuple[str, str]]:  # noqa: ARG003
        """What is wrong with settings that are each allowed: the name of a setting, and a message about it."""
        yield from ()

    @classmethod
    def filled_in(cls, settings: Any) -> Mapping[str, Any]:  # noqa: ARG003
        """The values of settings that are null because they follow from others."""
        return {}

    @classmethod
    def why_forward_only(cls) -> str | None:
        """What goes wrong where a model reads backward; None if it may read backward."""
        if not cls.next_token:
            return None
        return f"would show the model {'the word' if cls.words else 'what'} it must predict"

    @abstractmethod
    def train_batch(self, step: int, batch_size: int) -> Batch:
        """The training batch of one step; the same step always gives the same batch."""

    def epoch_at(self, step: int, batch_size: int) -> int:  # noqa: ARG002
        """Passes through the training text that are done before a step; 0 where there are none."""
        return 0

    def steps_in(self, epochs: int, batch_size: int) -> int:  # noqa: ARG002
        """Training steps in so many passes through the training text.

        Raises
        ------
        TypeError : the task has no epochs.
        """
        raise TypeError(f"task {self.name} draws its sequences anew and has no epochs")

    @abstractmethod
    def specimen(self, split: Split, batch_size: int) -> Batch:
        """One sequence as they are in a batch of so many, from which to tell how much memory a batch will take."""

    def evaluated_together(self, batch_size: int | None) -> int:
        """Sequences, or columns of a text, that are evaluated side by side if the config asks for so many."""
        return batch_size or self.eval_batch_size

    def fixed_bytes(self) -> int:
        """Bytes of the fixed sets, once they are drawn."""
        return 0

    @abstractmethod
    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """A split, in order."""

    @abstractmethod
    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""

    @abstractmethod
    def baseline(self, split: Split) -> dict[str, float]:
        """What the best model without a memory would reach, by the names of the metrics; computed."""

    @abstractmethod
    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Sums of the metrics beside the loss."""

    def solved(self, means: dict[str, float]) -> bool:  # noqa: ARG002
        """Whether these validation figures solve the task; a task without such a rule is never solved."""
        return False

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The divided sums, with whatever follows from them (a perplexity from a loss)."""
        return means

    def facts(self, split: Split) -> dict[str, Any]:  # noqa: ARG002
        """What a reader of the figures on a split should know about its data."""
        return {}

    def remarks(self) -> list[str]:
        """What a person should know before training on it."""
        return []

    def conversions(self, split: Split, loss: float) -> dict[str, float]:  # noqa: ARG002
        """What the loss on a split says in other units than the task's own."""
        return {}

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """The loss as a sum over the scored predictions, and how many they are.

        Cross-entropy in nats, over `[T, B]` or `[B]`; a task on reals brings its own.
        """
        return prediction.cross_entropy(batch.targets, batch.scored)

    def work(self, batch: Batch) -> int:
        """How many sequences or tokens (see `work_unit`) a batch holds, for the throughput."""
        if self.work_unit == "sequences":
            return batch.size
        T, B = batch.inputs.shape[:2]
        return T * B if batch.scored is None else int(batch.scored.sum())

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of everything in the fixed sets: two equal ones prove the same test set."""
        return {split: self.fingerprint(split) for split in HELD_OUT}

    def fingerprint(self, split: Split) -> str:
        """SHA-256 of everything in a split."""
        digest = hashlib.sha256(self.definition.encode())
        for batch in self.eval_batches(split, 500):
            for part in (batch.inputs, batch.targets, batch.lengths, batch.scored, batch.marks):
                if part is not None:
                    digest.update(str((part.dtype, tuple(part.shape))).encode())
                    digest.update(part.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()


@dataclass(kw_only=True, eq=False)
class GeneratedTask(Task):
    """A task whose sequences are drawn, whole batches at a time, from generators named by (seed, split, step).

    seed : of the run; fixes the training stream, the validation set and the test set.
    """

    seed: int

    def __post_init__(self) -> None:
        """Prepare the fixed sets, which are drawn when they are first needed."""
        self.counts = None
        self.sizes: dict[Split, int] = self.fixed_sizes()
        self._fixed: dict[Split, Batch] = {}

    @abstractmethod
    def fixed_sizes(self) -> dict[Split, int]:
        """Sequences in the validation and in the test set."""

    @abstractmethod
    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch; no loop over its sequences."""

    def sample_fixed(self, split: Split) -> Batch:
        """The whole of a fixed set: drawn as the training batches are, unless a task says otherwise."""
        return self.sample(self.sizes[split], self.generator(split))

    def generator(self, *key: str | int) -> torch.Generator:
        """The generator for one purpose of this task."""
        return generator(self.seed, self.name, *key)

    def train_batch(self, step: int, batch_size: int) -> Batch:
        """The training batch of one step, drawn anew from its own generator."""
        return self.sample(batch_size, self.generator("train", step))

    def specimen(self, split: Split, batch_size: int) -> Batch:  # noqa: ARG002
        """One drawn alone; if they differ in length, the longest of many, since a batch is padded to its longest."""
        one = self._draw(split, 1)
        if one.lengths is None:
            return one
        many = self._draw(split, max(1, MANY_STEPS // len(one.inputs)))
        assert many.lengths is not None
        longest = int(many.lengths.argmax())
        return many.rows(longest, longest + 1)

    def _draw(self, split: Split, size: int) -> Batch:
        if split == "train":
            return self.sample(size, self.generator("specimen"))
        part = copy(self)
        part.sizes = {split: min(size, whole) for split, whole in self.sizes.items()}
        return part.sample_fixed(split)

    def evaluated_together(self, batch_size: int | None) -> int:
        """No more than there are."""
        return min(super().evaluated_together(batch_size), max(self.sizes.values()))

    def fixed_bytes(self) -> int:
        """Those of a specimen for each sequence."""
        return sum(size * self.specimen(split, size).bytes for split, size in self.sizes.items())

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """The fixed set, drawn once; how it is cut into batches does not change what is in it."""
        if split not in self._fixed:
            self._fixed[split] = self.sample_fixed(split)
        whole = self._fixed[split]
        for start in range(0, whole.size, batch_size):
            yield whole.rows(start, min(start + batch_size, whole.size))

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        return -(-self.sizes[split] // batch_size)


@dataclass(kw_only=True, eq=False)
class SizedTask(GeneratedTask):
    """A generated task whose fixed sets may have any size."""

    valid_size: Annotated[Size, Affects.EVALUATION] = 2000
    """Sequences in the fixed validation set."""
    test_size: Annotated[Size, Affects.EVALUATION] = 2000
    """Sequences in the fixed test set."""

    def fixed_sizes(self) -> dict[Split, int]:
        """As the settings say."""
        return {"valid": self.valid_size, "test": self.test_size}


def count_correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """How many targets have the largest output: `[..., O]` against `[...]`."""
    return (outputs.argmax(-1) == targets).sum()
