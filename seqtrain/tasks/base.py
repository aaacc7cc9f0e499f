"""What a task is: batches, a loss, metrics, a computed baseline, and a rule for "solved"."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, dataclass_transform

import torch
from torch import Tensor

from seqtrain.system.settings import NO_RESULT, Affects, Configurable, Declared, affects, section_of
from seqtrain.tasks.facts import HiddenFact
from seqtrain.tasks.metrics import Metric, Tally

Split = Literal["train", "valid", "test"]
"""A part of a task's data that can be evaluated; `train` only if the task trains on one finite text."""

NO_DATA = (*NO_RESULT, Affects.SPEED, Affects.CONTENT)
"""What a setting affects that is no part of the definition of a task; of a file, the content decides, not the place."""

HELD_OUT: tuple[Split, ...] = ("valid", "test")
"""The splits that every task has."""


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length, and what to predict about them.

    inputs : `[T, B, I]` real numbers; `[T, B]` symbols; or `[T, B, F]`, F symbols a step, whose vectors a model adds.
    targets : `[T, B]` symbols, `[T, B, V]` sets of symbols (1 for a symbol in the set, else 0), `[B]` classes, or
        `[B, O]` or `[T, B, O]` real numbers.
    lengths : `[B]`; None if every sequence has T steps.
    scored : `[T, B]` bool, the steps that count in the loss; None for all.
    marks : `[T, B]` whole numbers with a meaning that the task defines; None if it needs none.
    fresh : False if the sequences continue those of the previous batch, so that the state is carried over.
    lr_factor : factor on the learning rate of a training step with this batch.
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
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by the name of their field, without those that are None."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def rows(self, start: int, stop: int) -> Self:
        """The sequences from `start` to `stop`, cut to the longest of them."""
        steps = len(self.inputs)
        T = steps if self.lengths is None else max(1, int(self.lengths[start:stop].max()))  # all may be empty
        return self._map(lambda x: x[:T, start:stop] if self._has_steps(x) else x[start:stop])

    def columns(self, chosen: Tensor) -> Self:
        """The sequences with these numbers, `[N]`, not cut."""
        return self._map(lambda x: x[:, chosen] if self._has_steps(x) else x[chosen])

    def _has_steps(self, x: Tensor) -> bool:
        """Whether a tensor of the batch is `[T, B, ...]`. Targets `[B, O]` may have its sizes, but are real numbers."""
        is_last = x is self.targets and x.dim() == 2 and x.is_floating_point()
        return x.shape[:2] == self.inputs.shape[:2] and not is_last

    def to(self, device: torch.device) -> Self:
        """The same batch on a device."""
        if self.inputs.device == device:
            return self
        return self._map(lambda x: x.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The batch with every tensor changed."""
        changed: Any = {name: change(tensor) for name, tensor in self.tensors().items()}
        return replace(self, **changed)


class Prediction(Protocol):
    """What a task may ask about a model's predictions for a batch."""

    @property
    def outputs(self) -> Tensor:
        """`[T, B, O]` or `[B, O]`, values or class scores."""

    def cross_entropy(self, targets: Tensor, scored: Tensor | None = None) -> tuple[Tensor, int]:
        """Sum in nats over the targets `[T, B]` or `[B]` that `scored` selects, and their number."""


class Spec(NamedTuple):
    """Inputs and outputs of a model for a task; trained weights fit any task with the same spec.

    input_size : real numbers in a step, or symbols in the alphabet.
    symbols : the inputs are symbols, one or several a step, rather than real numbers.
    output_size : O, numbers in a prediction.
    every_step : a prediction at every step rather than after the last one.
    words : the symbols are words or characters of a text: the task has a `vocabulary`, and a model embeds them.
    """

    input_size: int
    symbols: bool
    output_size: int
    every_step: bool
    words: bool


@dataclass_transform(kw_only_default=True, eq_default=False)
class Task(Configurable, ABC):
    """A task that is ready to give batches. Its settings and the seed decide everything about it.

    Every subclass becomes a dataclass; its annotated attributes are its settings, `task.NAME` in a config, except those
    in `given`. A string below a setting describes it, and a marker in its annotation says what it affects:
    `length: Annotated[int, Affects.DATA] = 20` lets `eval` change it. `__post_init__` runs once the settings are set.
    Batches are made on the CPU and moved by the caller: the same seed gives the same data on every device.

    A task sets `metric`, `every_step`, `input_size` and `output_size`, in the class or in `__post_init__`, declares
    `seed: int`, and defines `train_batch`, `eval_batches`, `count_eval_batches`, `specimen`, `measure` and `baseline`.
    Most tasks draw their sequences at random: derive these from `GeneratedTask`, which defines the first four.
    """

    name: ClassVar[str]
    """Set for a user's own task: `module:Class`."""

    generator_version: ClassVar[int] = 1
    """Increased whenever the same settings would give different data than before."""

    given: ClassVar[tuple[str, ...]] = ("seed",)
    """Arguments of the constructor that the run provides; all others are settings."""

    metric: Metric
    """The figure that decides which of two models is better; `measure` sums it, or it is the loss."""

    work_unit: ClassVar[Literal["sequences", "tokens"]] = "sequences"
    """What the throughput counts."""

    symbolic: ClassVar[bool] = True
    """The inputs are symbols rather than real numbers."""

    embedded: ClassVar[bool] = False
    """The symbols are many, so that a model embeds them unless the config says otherwise; always true of `words`."""

    words: ClassVar[bool] = False
    """The symbols are words or characters of a text: the task has a `vocabulary`, and a model embeds them."""

    ranked: ClassVar[bool] = False
    """The vocabulary is sorted by frequency."""

    next_token: ClassVar[bool] = False
    """The target is the next input, or what may come next: a model that reads backward would see it."""

    has_epochs: ClassVar[bool] = False
    """Training passes through one finite text again and again; this text is the split `train`."""

    reach: ClassVar[str | None] = "length"
    """The setting that says how far back a model must look in evaluation; None if there is none."""

    solvable: ClassVar[bool] = True
    """There is a rule for "solved"."""

    every_step: bool
    """The task asks for a prediction at every step rather than after the last one."""

    input_size: int
    """Real numbers in a step, or symbols in the alphabet."""

    output_size: int
    """Numbers in a prediction."""

    vocabulary: list[str]
    """The word of each symbol, if symbols stand for words; saved in the checkpoint."""

    counts: list[int] | None = None
    """How often each word occurs in the training text, if there is one; saved in the checkpoint."""

    fitted: dict[str, Any] | None = None
    """Plain values that the task measured on its training data; saved in the checkpoint."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__dict__.get("name", f"{cls.__module__}:{cls.__name__}")
        dataclass(kw_only=True, eq=False)(cls)

    def __post_init__(self) -> None:
        """Prepare what the settings decide."""

    @cached_property
    def definition(self) -> str:
        """Names the task, the settings that decide its data, and the version of the generator.

        It is `name/variant/setting=value/.../v1`, with all settings except the sizes of the fixed sets and those that
        change no data.
        """
        parts, section = [self.name], section_of(type(self), self.name, Declared).model_fields
        others = {name for name, field in section.items() if affects(field) in NO_DATA}
        for field in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, field.name)
            if field.name == "variant":
                parts.insert(1, value)
            elif field.name not in {"seed", "valid_size", "test_size"} | others:
                parts.append(f"{field.name}={','.join(map(str, value)) if isinstance(value, list) else value}")
        return "/".join([*parts, f"v{self.generator_version}"])

    @classmethod
    def default_eval_batch_size(cls, settings: Any) -> int:  # noqa: ARG003
        """Sequences, or columns of a text, that are evaluated side by side unless the config sets another number."""
        return 250

    @property
    def carries_state(self) -> bool:
        """Whether a training batch may continue the sequences of the previous one."""
        return False

    @property
    def spec(self) -> Spec:
        """Inputs and outputs of a model for the task."""
        return Spec(self.input_size, self.symbolic, self.output_size, self.every_step, self.words)

    @classmethod
    def why_forward_only(cls, settings: Any) -> str | None:  # noqa: ARG003
        """Why a model must not read backward; None if it may."""
        if not cls.next_token:
            return None
        return f"would show the model {'the word' if cls.words else 'what'} it must predict"

    @abstractmethod
    def train_batch(self, step: int, batch_size: int) -> Batch:
        """The training batch of a step; the same step always gives the same batch."""

    def epoch_at(self, step: int, batch_size: int) -> int:  # noqa: ARG002
        """Passes through the training text that are finished before a step; 0 if the task has no epochs."""
        return 0

    def steps_in(self, epochs: int, batch_size: int) -> int:  # noqa: ARG002
        """Training steps in a number of passes through the training text.

        Raises
        ------
        TypeError : the task has no epochs.
        """
        raise TypeError(f"task {self.name} draws new sequences for every step and has no epochs")

    @abstractmethod
    def specimen(self, split: Split, batch_size: int) -> Batch:
        """One sequence as long as those in a batch of that size, to estimate the memory of a batch."""

    def trained_together(self, batch_size: int) -> int:
        """Sequences, or columns of a text, in a training batch; a short text makes fewer columns than are asked for."""
        return batch_size

    def evaluated_together(self, batch_size: int | None) -> int:
        """Sequences, or columns of a text, that are evaluated side by side, given the number in the config."""
        return batch_size or self.default_eval_batch_size(self)

    def fixed_bytes(self) -> int:
        """Bytes of the validation and test set in memory."""
        return 0

    def windows_bytes(self, batch_size: int) -> int:  # noqa: ARG002
        """Bytes to draw the windows of a pass through a text, if their sizes vary."""
        return 0

    @abstractmethod
    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All batches of a split, in order."""

    @abstractmethod
    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""

    @abstractmethod
    def baseline(self, split: Split) -> dict[str, float]:
        """What the best model without a memory would reach, by the names of the metrics; computed."""

    @abstractmethod
    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Sums of all metrics except the loss."""

    def solved(self, means: dict[str, float]) -> bool:  # noqa: ARG002
        """Whether these validation figures solve the task; always False for a task without a rule."""
        return False

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """The means of all sums, with figures that follow from them (such as a perplexity from a loss)."""
        return means

    def facts(self, split: Split) -> dict[str, str | float]:  # noqa: ARG002
        """What a reader of the figures on a split should know about its data."""
        return {}

    def hidden_facts(self, batch: Batch) -> list[HiddenFact]:  # noqa: ARG002
        """What a model must remember of the sequences of a batch, as far as the task knows."""
        return []

    def read_in_words(self, batch: Batch) -> list[str]:
        """What is read at each step of a batch of one sequence: a word, the number of a symbol, or numbers."""
        column = batch.inputs[:, 0].tolist()
        if self.words:
            return [self.vocabulary[number] for number in column]
        if self.symbolic:
            return [str(number) for number in column]
        return [" ".join(f"{number:.3g}" for number in numbers) for numbers in column]

    def memory_predictions(self, batch: Batch) -> Tensor | None:
        """`[T, B]` bool, the predictions that need what a model remembers; None for all that count."""
        return batch.scored

    def remarks(self, batch_size: int) -> list[str]:  # noqa: ARG002
        """What a person should know before training on the task, with so many sequences or columns in a step."""
        return []

    def remarks_on_evaluation(self, split: Split) -> list[str]:  # noqa: ARG002
        """What a person should know about the figures on a split."""
        return []

    def conversions(self, split: Split, loss: float) -> dict[str, float]:  # noqa: ARG002
        """The loss on a split in other units."""
        return {}

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """The loss as a sum over the scored predictions, and their number.

        Cross-entropy in nats over `[T, B]` or `[B]`; tasks with real targets define their own loss.
        """
        return prediction.cross_entropy(batch.targets, batch.scored)

    def work(self, batch: Batch) -> int:
        """The sequences or tokens (see `work_unit`) in a batch, for the throughput."""
        if self.work_unit == "sequences":
            return batch.size
        T, B = batch.inputs.shape[:2]
        return T * B if batch.scored is None else int(batch.scored.sum())

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each fixed set: equal fingerprints prove equal sets."""
        return {split: self.fingerprint(split) for split in HELD_OUT}

    def fingerprint(self, split: Split) -> str:
        """SHA-256 of the definition and of all tensors in a split."""
        digest = hashlib.sha256(self.definition.encode())
        for batch in self.eval_batches(split, 500):
            for tensor in batch.tensors().values():
                digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
                digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()
