"""Predict something of whole sequences of different lengths: a class, a number, or the next binary vector."""

import hashlib
from collections.abc import Iterator
from dataclasses import InitVar
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, JsonValue
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.system.settings import Affects, Faults, Null
from seqtrain.system.shipped import text_path
from seqtrain.system.words import counted
from seqtrain.tasks.base import Batch, Prediction, Split
from seqtrain.tasks.finite import FiniteTask, Passes, ShuffledPasses, by_length, longest
from seqtrain.tasks.metrics import Tally
from seqtrain.tasks.sequences.amounts import Amounts
from seqtrain.tasks.sequences.answers import Answers
from seqtrain.tasks.sequences.binary_steps import BinarySteps
from seqtrain.tasks.sequences.classes import Classes
from seqtrain.tasks.sequences.collection import Collection, Wanted, refuse
from seqtrain.tasks.sequences.division import SPLITS, by_group, by_name, by_part, by_shares, check_parts
from seqtrain.tasks.sequences.part import Part, inputs_of
from seqtrain.tasks.sequences.read import read_sequences
from seqtrain.tasks.tables.scaler import Scaler
from seqtrain.tasks.tables.series import Columns, Fractions

Predict = Literal["class", "number", "step_class", "step_number", "next_step"]
Column = Annotated[str, Field(min_length=1)]
Path_ = Annotated[str, Field(min_length=1)]

FEW = 10
"""Sequences of a class, in training, below which a remark says so."""


def default_fractions(task: Any) -> list[float]:
    """Shares of train, valid and test of the sequences in `path`; a part with a file of its own has none."""
    if task.valid_path is not None:
        return [1.0, 0.0, 0.0] if task.test_path is not None else [0.85, 0.0, 0.15]
    return [0.85, 0.15, 0.0] if task.test_path is not None else [0.7, 0.15, 0.15]


def is_drawn(task: Any) -> bool:
    """Whether the sequences in `path` are divided at random."""
    return task.part is None and task.valid_ids is None and task.test_ids is None


class LabelledSequences(FiniteTask):
    """Predict a class or a number of each sequence, or of each of its steps; or the next of its binary vectors.

        gesture  step    x     y    label
        a1         1    0.1  -0.2   circle        the model reads x and y from the first step to the last one,
        a1         2    0.3   0.1   circle        and then predicts the label
        a2         1   -0.2   0.0   zigzag

    The sequences may have different lengths and do not depend on each other. `path` is

    - a table (CSV or Parquet), where `id` tells the sequences apart and `step` orders their rows,
    - a folder with a table for each sequence, and labels.csv with a column `file` and the labels,
    - a `.ts` file of aeon or sktime,
    - a `.npz` file with the arrays inputs, lengths and labels (see docs/data.md).

    `path` is divided at random, each class in equal shares; or by a column `part`, by `valid_ids` and `test_ids`, by
    a column `group`, whose sequences stay together (all of one person, say), or by files of their own. The scaling of
    the inputs and the classes are those of the training part only. Training reads the sequences in batches of similar
    lengths, in another order in each pass.

    Loss and metrics:

    - class, step_class: cross-entropy; `accuracy`, `balanced_accuracy` (the mean recall of the classes) and `f1` (the
      mean over classes).
    - number, step_number: squared error of scaled numbers; `rmse` and `mae` in the units of the data.
    - next_step: binary cross-entropy summed over the inputs of a step, and its mean over all steps, the first step of
      each sequence included, before which the model reads zeros; `frame_accuracy`.

    Baselines: the most frequent class, the mean (of steps also a linear regression), the frequencies of ones; for small
    sets also the label of the nearest training sequence by dynamic time warping. There is no rule for "solved".
    """

    name = "sequences"
    given = ("seed", "fitted")
    symbolic = False

    path: Annotated[Path_, Affects.CONTENT]
    """A table, a folder of tables, a .ts file or a .npz file."""
    valid_path: Annotated[Path_ | None, Affects.CONTENT] = None
    """Likewise for validation; null for a part of path."""
    test_path: Annotated[Path_ | None, Affects.CONTENT] = None
    """Likewise for the test; null for a part of path."""
    predict: Predict = "class"
    """What: a class or a number of each sequence, or of each step, or the next step of binary vectors."""
    targets: Annotated[Columns | None, Affects.WEIGHTS] = None
    """The column of the label (of several numbers: the columns); null for a file that has no columns."""
    inputs: Columns | None = None
    """Columns to read; null for all that have no other use."""
    id: Annotated[Column | None, Affects.DATA] = None
    """The column that tells the sequences apart; in a folder that of the file names, null for `file`."""
    step: Annotated[Column | None, Affects.DATA] = None
    """The column of time that orders the rows of a sequence; null for the order of the rows."""
    part: Annotated[Column | None, Affects.DATA] = None
    """A column that has train, valid or test for each sequence; null for none."""
    group: Annotated[Column | None, Affects.DATA] = None
    """A column whose sequences stay in one part, such as a person; null for none."""
    valid_ids: Annotated[Columns | None, Affects.DATA] = None
    """The sequences of the validation; null for a division at random."""
    test_ids: Annotated[Columns | None, Affects.DATA] = None
    """The sequences of the test; null for a division at random."""
    fractions: Annotated[
        Fractions | None, Null(default_fractions, when=is_drawn, text="0.7, 0.15, 0.15"), Affects.DATA
    ] = None
    """Shares of train, valid and test in path; null for {null}, and none for a part with a file of its own."""
    division: Annotated[int | None, Field(ge=0), Null(0, when=is_drawn), Affects.DATA] = None
    """Which of the random divisions; it does not follow the seed, so that all seeds have the same test; null for
    {null}."""
    missing: Annotated[Literal["refuse", "forward", "mask"], Affects.WEIGHTS] = "refuse"
    """What to do about missing values: refuse the data, repeat the last value, or repeat it and tell the model."""

    fitted: InitVar[dict[str, JsonValue] | None] = None
    seed: int = 0

    def __post_init__(self, fitted: dict[str, JsonValue] | None) -> None:
        """Read the sequences, divide them, and measure the training part.

        Parameters
        ----------
        fitted : what a trained model was scaled with, and its classes; None to measure them. With it, a part may be
            empty.

        Raises
        ------
        DataError : the data cannot be used.
        """
        self.counts = None
        self.by_step = self.predict in ("step_class", "step_number", "next_step")
        self.every_step = self.by_step
        collections = self._collections()
        if fitted is None:
            check_parts({split: np.arange(len(own)) for split, own in collections.items()}, self.path)
        self.columns = collections["train"].columns
        self._check_missing(collections)
        self.scaler = self._scaler(fitted, collections["train"])
        self.answers = self._answers(fitted, collections["train"])
        self.fitted = ({} if self.scaler is None else self.scaler.as_json()) | self.answers.as_json()
        self.metric, self.output_size = self.answers.metric, self.answers.output_size
        self.parts = {split: self._part(own) for split, own in collections.items()}
        self.input_size = self.parts["train"].inputs.shape[1]
        self.collections = collections
        self._baselines: dict[Split, dict[str, float]] = {}
        digest = hashlib.sha256("".join(self.fingerprints().values()).encode()).hexdigest()
        self.definition = (
            f"sequences/{text_path(str(self.path)).name}/{digest[:12]}/{self.predict}/v{self.generator_version}"
        )

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """Settings that do not fit each other."""
        if settings.predict == "next_step":
            for name, off in (("targets", None), ("missing", "refuse")):
                if getattr(settings, name) not in (off, None):
                    yield name, "is for labels, and next_step predicts the inputs, which are all 0 or 1; remove it"
        if settings.predict in ("class", "step_class") and len(settings.targets or []) > 1:
            yield "targets", f"names {len(settings.targets)} columns; a class has one, the column of the label"
        lacking = [
            split
            for split in ("valid", "test")
            if getattr(settings, f"{split}_ids") is getattr(settings, f"{split}_path") is None
        ]
        if len(lacking) == 1 and (settings.valid_ids or settings.test_ids):
            yield f"{lacking[0]}_ids", f"is null, so that nothing is left for {lacking[0]}; name its sequences, too"
        yield from cls._faults_of_division(settings)

    @classmethod
    def _faults_of_division(cls, settings: Any) -> Faults:
        """Two ways to divide the same sequences."""
        ways = {"part": settings.part, "valid_ids": settings.valid_ids, "test_ids": settings.test_ids}
        named = [name for name, value in ways.items() if value is not None]
        for name in ("fractions", "division", "group"):
            if named and getattr(settings, name) is not None:
                yield name, f"is for a division at random, and {' and '.join(named)} say it already; remove it"
        if settings.part is not None and (more := [name for name in named if name != "part"]):
            yield "part", f"says it already, and so do {' and '.join(more)}; remove one of the two"
        for split in ("valid", "test"):
            own = getattr(settings, f"{split}_path")
            if own is not None and (settings.part is not None or getattr(settings, f"{split}_ids") is not None):
                yield f"{split}_path", "is a file of its own, but a column or a list names sequences, too; remove one"
            elif own is not None and settings.fractions and settings.fractions[SPLITS.index(split)]:
                yield "fractions", f"give {split} a share of path, but it has a file of its own; make it 0"
        if settings.fractions is not None and abs(sum(settings.fractions) - 1) > 1e-6:
            yield "fractions", f"add up to {sum(settings.fractions):g}; they must add up to 1"

    @classmethod
    def why_forward_only(cls, settings: Any) -> str | None:
        """The next step would be seen."""
        return "would show the model the step that it must predict" if settings.predict == "next_step" else None

    # --- reading ----------------------------------------------------------------------------------------------------

    def wanted(self, *, labelled: bool = True) -> Wanted:
        """What is read from a file.

        labelled : a file without labels is a fault.
        """
        kind: Literal["class", "number"] | None = None
        if self.predict != "next_step":
            kind = "class" if self.predict in ("class", "step_class") else "number"
        return Wanted(
            self.inputs, self.targets or [], kind, self.by_step, self.id, self.step, self.group, self.part, labelled
        )

    def _collections(self) -> dict[Split, Collection]:
        """The sequences of each part."""
        whole = read_sequences(text_path(str(self.path)), self.wanted())
        by_step = self.by_step and self.predict != "next_step"
        found = {s: whole.take(chosen, by_step=by_step) for s, chosen in self._divided(whole).items()}
        others: tuple[tuple[Split, str | None], ...] = (("valid", self.valid_path), ("test", self.test_path))
        for split, own in others:
            if own is not None:
                wanted = self.wanted()._replace(inputs=whole.columns, part=None, group=None)
                found[split] = read_sequences(text_path(str(own)), wanted)
        return found

    def _divided(self, whole: Collection) -> dict[Split, Any]:
        """The numbers of the sequences of each part."""
        if self.part is not None:
            return by_part(whole)
        if self.valid_ids is not None or self.test_ids is not None:
            return by_name(whole, self.valid_ids or [], self.test_ids or [])
        shares, division = self.fractions or default_fractions(self), self.division or 0
        if whole.groups is not None:
            return by_group(whole.groups, shares, division)
        classes = whole.labels.tolist() if self.predict == "class" and whole.labels is not None else [None] * len(whole)
        return by_shares(classes, shares, division)

    def _check_missing(self, collections: dict[Split, Collection]) -> None:
        """Refuse missing values unless the config says what to do about them, and sequences without a label."""
        faults, self.missing_values = [], 0
        for own in collections.values():
            gaps = np.argwhere(np.isnan(own.values))
            self.missing_values += len(gaps)
            faults += [f"{own.place_of_step(int(step))}: {own.columns[c]} has no value" for step, c in gaps[:20]]
        if self.missing == "refuse":
            refuse(
                faults[:20],
                "set task.missing=forward to repeat the last value, or task.missing=mask to tell the model as well",
                more=self.missing_values - min(len(faults), 20),
            )
        if self.predict not in ("class", "number"):
            return
        faults = []
        for own in collections.values():
            labels = own.labels if own.labels is not None else np.full(len(own), None)
            lacking = [label is None for label in labels] if labels.ndim == 1 else np.isnan(labels).any(1)
            faults += [f"{own.place(int(n), None)}: has no label" for n in np.flatnonzero(lacking)]
        refuse(faults, "give each sequence its label, or leave it out")

    def _scaler(self, fitted: dict[str, JsonValue] | None, train: Collection) -> Scaler | None:
        """That of a checkpoint, or measured on the training part; None for binary vectors."""
        if self.predict == "next_step":
            return None
        if fitted is not None:
            return Scaler.read(fitted, self.columns, 0)
        nothing = [name for name, own in zip(self.columns, train.values.T, strict=True) if np.isnan(own).all()]
        if nothing:
            raise DataError(f"{self.path}: no value in training in {', '.join(nothing)}; leave it out of task.inputs")
        return Scaler(self.columns, np.nanmean(train.values, 0), np.nanstd(train.values, 0), 0)

    def _answers(self, fitted: dict[str, JsonValue] | None, train: Collection) -> Answers:
        """What is asked for, from a checkpoint or measured on the training part."""
        if self.predict == "next_step":
            return BinarySteps(len(self.columns))
        if self.predict in ("class", "step_class"):
            return Classes.measured(train, by_step=self.by_step) if fitted is None else (
                Classes.read(fitted, by_step=self.by_step))  # fmt: skip
        if fitted is not None:
            return Amounts.read(fitted, by_step=self.by_step)
        return Amounts.measured(train, self.targets or [], by_step=self.by_step)

    def _part(self, own: Collection) -> Part:
        inputs = inputs_of(own, self.scaler, mask=self.missing == "mask")
        targets = self.answers.targets(own)
        return Part(own.lengths, inputs, targets, by_step=self.by_step, delayed=self.predict == "next_step")

    # --- batches ----------------------------------------------------------------------------------------------------

    def passes(self, batch_size: int) -> Passes:
        """The training sequences, in another order in each pass."""
        return ShuffledPasses(self.parts["train"], batch_size, self.seed)

    def specimen(self, split: Split, batch_size: int) -> Batch:  # noqa: ARG002
        """The longest sequence."""
        return longest(self._held(split))

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All sequences, the shortest first."""
        return by_length(self._held(split), batch_size)

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        return -(-len(self._held(split).sizes) // batch_size)

    def evaluated_together(self, batch_size: int | None) -> int:
        """At most the sequences of the larger part."""
        return min(super().evaluated_together(batch_size), max(len(part.sizes) for part in self.parts.values()))

    def fixed_bytes(self) -> int:
        """Of all parts."""
        return sum(part.nbytes for part in self.parts.values())

    def _held(self, split: Split) -> Part:
        """A part with sequences; raises a DataError if there are none."""
        if not len(self.parts[split].sizes):
            raise DataError(f"{self.path}: no sequence belongs to {split}; give other task.fractions or another split")
        return self.parts[split]

    # --- figures ----------------------------------------------------------------------------------------------------

    def loss(self, prediction: Prediction, batch: Batch) -> tuple[Tensor, int]:
        """That of the answers."""
        return self.answers.loss(prediction, batch)

    def measure(self, prediction: Prediction, batch: Batch) -> Tally:
        """Those of the answers."""
        return self.answers.measure(prediction, batch)

    def summarise(self, means: dict[str, float]) -> dict[str, float]:
        """Those of the answers."""
        return self.answers.summarise(means)

    def baseline(self, split: Split) -> dict[str, float]:
        """The figures of the best baseline, and the deciding one of each."""
        if split not in self._baselines:
            self._baselines[split] = self.answers.baseline(self.parts["train"], self._held(split))
        return self._baselines[split]

    def facts(self, split: Split) -> dict[str, str | float]:
        """What was read."""
        own = self.parts[split]
        found: dict[str, str | float] = {"sequences": len(own.sizes), "steps": int(own.sizes.sum())}
        if isinstance(self.answers, Classes) or not self.by_step:
            found |= self.answers.facts()
        left_out = {name: count for name, count in self.collections[split].left_out.items() if count}
        return found | {"missing_values": self.missing_values} | left_out

    def remarks(self, batch_size: int) -> list[str]:  # noqa: ARG002
        """Remarks on constant inputs, and on classes with few sequences."""
        found = []
        spread = [] if self.scaler is None else [*zip(self.columns, self.scaler.spread, strict=True)]
        if constant := [name for name, own in spread if own == 0]:
            found.append(f"constant in training, so that they tell nothing: {', '.join(constant)}")
        if isinstance(self.answers, Classes) and not self.by_step:
            counts = self.parts["train"].targets.bincount(minlength=len(self.answers.names)).tolist()
            few = [f"{name} ({n})" for name, n in zip(self.answers.names, counts, strict=True) if n < FEW]
            if few:
                found.append(f"classes with fewer than {counted(FEW, 'sequence')} in training: {', '.join(few)}")
        return found

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each part."""
        return {split: self._fingerprint(split) for split in SPLITS}

    def _fingerprint(self, split: Split) -> str:
        digest, own = hashlib.sha256(repr(self.columns).encode()), self.parts[split]
        for values in (own.sizes, own.inputs, own.targets.numpy()):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()
