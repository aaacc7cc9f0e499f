"""From sequences to inputs and targets, as the training part was measured: its scaling, and its classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.tasks.sequences.amounts import Amounts
from seqtrain.tasks.sequences.answers import Answers
from seqtrain.tasks.sequences.binary_steps import BinarySteps
from seqtrain.tasks.sequences.classes import Classes
from seqtrain.tasks.sequences.collection import Collection
from seqtrain.tasks.sequences.part import Part, inputs_of
from seqtrain.tasks.tables.scaler import Scaler


@dataclass(frozen=True)
class Preparation:
    """How sequences become a `Part`.

    columns : the numbers that are read.
    scaler : of the inputs; None for binary vectors.
    answers : what is asked for.
    predict, missing : the settings.
    """

    columns: list[str]
    scaler: Scaler | None
    answers: Answers
    predict: str
    missing: str

    @property
    def by_step(self) -> bool:
        """Each step has a target."""
        return self.predict in ("step_class", "step_number", "next_step")

    @classmethod
    def measured(cls, task: Any, train: Collection) -> "Preparation":
        """Measured on the training part.

        Raises
        ------
        DataError : a column has no value, there is one class only, or a number is not binary.
        """
        columns, values, by_step = train.columns, train.values, task.predict.startswith("step")
        if task.predict == "next_step":
            return cls(columns, None, BinarySteps(len(columns)), task.predict, task.missing)
        if nothing := [name for name, own in zip(columns, values.T, strict=True) if np.isnan(own).all()]:
            raise DataError(f"{task.path}: no value in training in {', '.join(nothing)}; leave it out of task.inputs")
        scaler = Scaler.measured(columns, values, np.nanmax(np.abs(values), 0), 0)
        answers: Answers
        if task.predict in ("class", "step_class"):
            answers = Classes.measured(train, by_step=by_step)
        else:
            answers = Amounts.measured(train, task.targets or [], by_step=by_step)
        return cls(columns, scaler, answers, task.predict, task.missing)

    @classmethod
    def read(cls, task: Any, fitted: dict[str, Any]) -> "Preparation":
        """From a checkpoint.

        Raises
        ------
        DataError : it holds something else.
        """
        columns, by_step = fitted.get("columns"), task.predict.startswith("step")
        if not isinstance(columns, list) or not columns:
            raise DataError("the checkpoint does not name the columns that its model reads; use another checkpoint")
        columns = [str(name) for name in columns]
        if task.predict == "next_step":
            return cls(columns, None, BinarySteps(len(columns)), task.predict, task.missing)
        answers: Answers
        if task.predict in ("class", "step_class"):
            answers = Classes.read(fitted, by_step=by_step)
        else:
            answers = Amounts.read(fitted, by_step=by_step)
        return cls(columns, Scaler.read(fitted, columns, 0), answers, task.predict, task.missing)

    def as_json(self) -> dict[str, JsonValue]:
        """For a checkpoint."""
        found: dict[str, JsonValue] = {"columns": [*self.columns]}
        return found | ({} if self.scaler is None else self.scaler.as_json()) | self.answers.as_json()

    def part(self, own: Collection) -> Part:
        """The inputs and the targets of sequences."""
        return self._part(own, self.answers.targets(own))

    def part_without_targets(self, own: Collection) -> Part:
        """The inputs of sequences whose labels are not known, or not to be looked at. A next step is an input."""
        if self.predict == "next_step":
            return self.part(own)
        return self._part(own, torch.full((len(own.values) if self.by_step else len(own),), -1))

    def _part(self, own: Collection, targets: Tensor) -> Part:
        inputs = inputs_of(own, self.scaler, mask=self.missing == "mask")
        return Part(own.lengths, inputs, targets, by_step=self.by_step, delayed=self.predict == "next_step")
