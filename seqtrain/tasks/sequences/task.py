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
from seqtrain.tasks.sequences.classes import Classes
from seqtrain.tasks.sequences.collection import Collection, Whole, check_labels, check_missing
from seqtrain.tasks.sequences.division import SPLITS, by_group, by_name, by_part, by_shares, check_parts
from seqtrain.tasks.sequences.part import Part
from seqtrain.tasks.sequences.preparation import Preparation
from seqtrain.tasks.sequences.read import read_sequences
from seqtrain.tasks.sequences.settings import Predict, default_fractions, faults_of, is_drawn, wanted_of
from seqtrain.tasks.tables.series import Columns, Fractions

Column = Annotated[str, Field(min_length=1)]
Path_ = Annotated[str, Field(min_length=1)]

FEW = 10
"""Sequences of a class, in training, below which a remark says so."""


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
    missing: Annotated[Literal["refuse", "forward", "mask"], Affects.DATA] = "refuse"
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
        self.collections = self._read()
        if fitted is None:
            check_parts({split: np.arange(len(own)) for split, own in self.collections.items()}, self.path)
        self.missing_values = check_missing([*self.collections.values()], self)
        if self.predict in ("class", "number"):
            check_labels([*self.collections.values()])
        train = self.collections["train"]
        self.prepared = Preparation.measured(self, train) if fitted is None else Preparation.read(self, fitted)
        self.fitted = self.prepared.as_json()
        self.answers, self.every_step = self.prepared.answers, self.prepared.by_step
        self.metric, self.output_size = self.answers.metric, self.answers.output_size
        self.parts = {split: self.prepared.part(own) for split, own in self.collections.items()}
        self._check_scored()
        self.input_size = self.parts["train"].inputs.shape[1]
        self._baselines: dict[Split, dict[str, float]] = {}
        digest = hashlib.sha256("".join(self.fingerprints().values()).encode()).hexdigest()
        name = f"{text_path(str(self.path)).name}/{digest[:12]}/{self.predict}"
        self.definition = f"sequences/{name}/v{self.generator_version}"

    @classmethod
    def faults(cls, settings: Any) -> Faults:
        """Settings that do not fit each other."""
        yield from faults_of(settings)

    @classmethod
    def why_forward_only(cls, settings: Any) -> str | None:
        """The next step would be seen."""
        return "would show the model the step that it must predict" if settings.predict == "next_step" else None

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self) -> dict[Split, Collection]:
        """The sequences of each part."""
        wanted = wanted_of(self)
        whole = read_sequences(text_path(str(self.path)), wanted)
        found = {split: whole.take(own, by_step=wanted.by_step) for split, own in self._divided(whole).items()}
        others: tuple[tuple[Split, str | None], ...] = (("valid", self.valid_path), ("test", self.test_path))
        for split, place in others:
            if place is not None:
                alone = wanted._replace(inputs=whole.columns, part=None, group=None)
                found[split] = read_sequences(text_path(str(place)), alone)
        return found

    def _divided(self, whole: Collection) -> dict[Split, Whole]:
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

    def _check_scored(self) -> None:
        """Raise a DataError if a part has sequences, but no label of a step."""
        for split, part in self.parts.items():
            if len(part.sizes) and not part.is_known.any():
                place = self.collections[split].place(0, None)
                raise DataError(f"{place}: no step of {split} has a label; give labels, or other sequences to {split}")

    # --- batches ----------------------------------------------------------------------------------------------------

    def sequences(self, split: Split) -> Part:
        """Those of a part; raises a DataError if there are none."""
        if not len(self.parts[split].sizes):
            raise DataError(f"{self.path}: no sequence belongs to {split}; give other task.fractions or another split")
        return self.parts[split]

    def passes(self, batch_size: int) -> Passes:
        """The training sequences, in another order in each pass."""
        return ShuffledPasses(self.parts["train"], batch_size, self.seed)

    def specimen(self, split: Split, batch_size: int) -> Batch:  # noqa: ARG002
        """The longest sequence."""
        return longest(self.sequences(split))

    def eval_batches(self, split: Split, batch_size: int) -> Iterator[Batch]:
        """All sequences, the shortest first."""
        return by_length(self.sequences(split), batch_size)

    def count_eval_batches(self, split: Split, batch_size: int) -> int:
        """How many batches `eval_batches` gives."""
        return -(-len(self.sequences(split).sizes) // batch_size)

    def evaluated_together(self, batch_size: int | None) -> int:
        """At most the sequences of the larger part."""
        return min(super().evaluated_together(batch_size), max(len(part.sizes) for part in self.parts.values()))

    def fixed_bytes(self) -> int:
        """Of all parts."""
        return sum(part.nbytes for part in self.parts.values())

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
        """The figures of the best baseline, and the deciding one of each; none if there is no training part."""
        if not len(self.parts["train"].sizes):
            return {}
        if split not in self._baselines:
            self._baselines[split] = self.answers.baseline(self.parts["train"], self.sequences(split))
        return self._baselines[split]

    def facts(self, split: Split) -> dict[str, str | float]:
        """What was read."""
        own = self.parts[split]
        found: dict[str, str | float] = {"sequences": len(own.sizes), "steps": int(own.sizes.sum())}
        found |= self.answers.facts()
        left_out = {name: count for name, count in self.collections[split].left_out.items() if count}
        return found | {"missing_values": self.missing_values} | left_out

    def remarks(self, batch_size: int) -> list[str]:  # noqa: ARG002
        """Remarks on constant inputs, and on classes with few sequences."""
        found = []
        scaler = self.prepared.scaler
        spread = [] if scaler is None else [*zip(scaler.columns, scaler.spread, strict=True)]
        if constant := [name for name, own in spread if own == 0]:
            found.append(f"constant in training, so that they tell nothing: {', '.join(constant)}")
        if isinstance(self.answers, Classes) and not self.every_step:
            counts = self.parts["train"].targets.bincount(minlength=len(self.answers.names)).tolist()
            few = [f"{name} ({n})" for name, n in zip(self.answers.names, counts, strict=True) if n < FEW]
            if few:
                found.append(f"classes with fewer than {counted(FEW, 'sequence')} in training: {', '.join(few)}")
        return found

    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each part."""
        return {split: self._fingerprint(split) for split in SPLITS}

    def _fingerprint(self, split: Split) -> str:
        digest, own = hashlib.sha256(repr(self.prepared.columns).encode()), self.parts[split]
        for values in (own.sizes, own.inputs, own.targets.numpy()):
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()
