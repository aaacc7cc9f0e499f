"""Sequences of numbers as a file has them, before they are divided and scaled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.tasks.tables.table import MOST_FAULTS

CURE = "set task.missing=forward to repeat the last value, or task.missing=mask to tell the model as well"
"""Of missing values."""

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


class Wanted(NamedTuple):
    """What is to be read.

    inputs : columns of numbers; None for all that have no other use.
    targets : columns of the labels; empty if there are none.
    kind : what a label is; None if the task has no labels.
    by_step : each step has a label, rather than each sequence.
    id, step, group, part : columns; None for none.
    labelled : a sequence without a label is a fault.
    """

    inputs: list[str] | None
    targets: list[str]
    kind: Literal["class", "number"] | None
    by_step: bool
    id: str | None = None
    step: str | None = None
    group: str | None = None
    part: str | None = None
    labelled: bool = True


@dataclass(frozen=True)
class Collection:
    """Sequences one after the other: `N` sequences with `S` steps in all and `C` numbers in a step.

    names : `[N]`.
    columns : `[C]`, names.
    values : `[S, C]`, NaN for a missing value.
    lengths : `[N]`, steps.
    place : where a sequence, or a step of it, is in its file.
    labels : `[N]` or `[S]` texts (None: unknown), or `[N, K]` or `[S, K]` numbers (NaN: unknown); None for no labels.
    groups, parts : `[N]`; None for none.
    times : `[S]`, the step of each row as the file has it; None if it has none.
    left_out : what the file has beside the sequences, by kind, and how often.
    """

    names: list[str]
    columns: list[str]
    values: Numbers
    lengths: Whole
    place: Callable[[int, int | None], str]
    labels: NDArray[Any] | None = None
    groups: list[str] | None = None
    parts: list[str] | None = None
    times: list[Any] | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def starts(self) -> Whole:
        """`[N]`, the first step of each sequence."""
        return np.cumsum(self.lengths) - self.lengths

    def steps_of(self, chosen: Whole) -> Whole:
        """The steps of some sequences, one after the other."""
        lengths = self.lengths[chosen]
        before = np.cumsum(lengths) - lengths
        return np.repeat(self.starts[chosen] - before, lengths) + np.arange(int(lengths.sum()))

    def take(self, chosen: Whole, *, by_step: bool) -> Self:
        """Some of the sequences.

        by_step : the labels are those of steps.
        """
        steps, place = self.steps_of(chosen), self.place
        labels = None if self.labels is None else self.labels[steps if by_step else chosen]
        return type(self)(
            [self.names[n] for n in chosen],
            self.columns,
            self.values[steps],
            self.lengths[chosen],
            lambda sequence, step: place(int(chosen[sequence]), step),
            labels,
            None if self.groups is None else [self.groups[n] for n in chosen],
            None if self.parts is None else [self.parts[n] for n in chosen],
            None if self.times is None else [self.times[step] for step in steps],
            self.left_out,
        )

    def place_of_step(self, step: int) -> str:
        """Where a step, counted over all sequences, is in its file."""
        sequence = int(np.searchsorted(self.starts, step, side="right")) - 1
        return self.place(sequence, step - int(self.starts[sequence]))


def refuse(faults: Sequence[str], cure: str, *, more: int = 0) -> None:
    """Raise a DataError with the first faults and a cure, if there are faults.

    more : faults beside those that are given.
    """
    if faults:
        left = len(faults) - MOST_FAULTS + more
        rest = [f"and {left:,} more"] if left > 0 else []
        raise DataError("\n".join([*faults[:MOST_FAULTS], *rest, cure]))


def check_missing(collections: Sequence[Collection], task: Any, cure: str = CURE) -> int:
    """How many values are missing; raises a DataError with their places if the settings of the task refuse them."""
    faults, total = [], 0
    for own in collections:
        gaps = np.argwhere(np.isnan(own.values))
        total += len(gaps)
        faults += [f"{own.place_of_step(int(step))}: {own.columns[c]} has no value" for step, c in gaps[:MOST_FAULTS]]
    if task.missing == "refuse":
        if task.predict == "next_step":
            cure = "write 0 or 1, as each number is to be predicted"
        refuse(faults[:MOST_FAULTS], cure, more=total - min(len(faults), MOST_FAULTS))
    return total


def check_labels(collections: Sequence[Collection]) -> None:
    """Raise a DataError if a sequence has no label."""
    faults = []
    for own in collections:
        labels = own.labels if own.labels is not None else np.full(len(own), None)
        lacking = [label is None for label in labels] if labels.ndim == 1 else np.isnan(labels).any(1)
        faults += [f"{own.place(int(n), None)}: has no label" for n in np.flatnonzero(lacking)]
    refuse(faults, "give each sequence its label, or leave it out")
