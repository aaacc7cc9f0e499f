"""Sequences in one table: a row for each step, and a column that tells the sequences apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.tasks.sequences.collection import Collection, Wanted, Whole, refuse
from seqtrain.tasks.tables.steps import read_clock
from seqtrain.tasks.tables.table import Table, read_table


def read_long_table(path: Path, wanted: Wanted) -> Collection:
    """The sequences of a table.

    Raises
    ------
    DataError : it has other columns, cells that are no numbers, or different labels within a sequence.
    """
    table = read_table(path)
    if wanted.id is None and wanted.labelled:
        raise DataError(
            f"{path}: holds sequences one below the other, but no column tells them apart; set task.id to one of "
            f"{', '.join(map(repr, table.frame.columns))}"
        )
    inputs = input_columns(table, wanted)
    rows, lengths, names = _grouped(table, wanted)
    starts = np.cumsum(lengths) - lengths

    def place(sequence: int, step: int | None) -> str:
        return table.row(int(rows[starts[sequence] + (step or 0)]))

    labels = labels_of(table, wanted)
    if labels is not None:
        labels = labels[rows] if wanted.by_step else _one_each(labels[rows], starts, lengths, place, "label")
    groups, parts = (
        None
        if column is None
        else given(_one_each(texts(table, column)[rows], starts, lengths, place, column), place, column)
        for column in (wanted.group, wanted.part)
    )
    times = None if wanted.step is None else table.frame[wanted.step].gather(rows).to_list()
    return Collection(names, inputs, table.numbers(inputs)[rows], lengths, place, labels, groups, parts, times)


def input_columns(table: Table, wanted: Wanted) -> list[str]:
    """The columns to read: those that are named, or all without another use.

    Raises
    ------
    DataError : a column does not exist, or none is left.
    """
    targets = wanted.targets if wanted.labelled else [name for name in wanted.targets if name in table.frame.columns]
    others = [name for name in (wanted.id, wanted.step, wanted.group, wanted.part) if name]
    own = {name: [getattr(wanted, name)] for name in ("id", "step", "group", "part")}
    table.check_columns(inputs=wanted.inputs or [], targets=targets, **own)
    inputs = wanted.inputs or [name for name in table.frame.columns if name not in {*others, *wanted.targets}]
    if not inputs:
        raise DataError(f"{table.path}: has no column of numbers beside {', '.join(map(repr, [*others, *targets]))}")
    return inputs


def texts(table: Table, column: str) -> NDArray[Any]:
    """The texts of a column, `[rows]`; None for an empty cell. Whole numbers have no `.0`, as in a CSV file."""
    import polars

    own = table.frame[column]
    found = own.cast(polars.String).str.strip_chars()
    if own.dtype.is_float():
        found = found.str.strip_suffix(".0").replace("NaN", None)
    return np.array([*found.replace("", None).to_list(), None], object)[:-1]


def given(own: NDArray[Any], place: Callable[[int, int | None], str], column: str) -> list[str]:
    """The groups or the parts of sequences; raises a DataError for sequences that have none."""
    lacking = np.flatnonzero([text is None for text in own])
    refuse(
        [f"{place(int(n), None)}: column {column!r} is empty" for n in lacking], f"every sequence needs its {column}"
    )
    return [*own]


def labels_of(table: Table, wanted: Wanted) -> NDArray[Any] | None:
    """The label of each row; None if the table has none."""
    if wanted.kind is None or not set(wanted.targets) <= {*table.frame.columns}:
        return None
    return texts(table, wanted.targets[0]) if wanted.kind == "class" else table.numbers(wanted.targets)


def _grouped(table: Table, wanted: Wanted) -> tuple[Whole, Whole, list[str]]:
    """The rows of all sequences one after the other, the steps of each sequence, and their names."""
    if wanted.id is None:  # a table alone, as a folder has them
        rows = np.arange(len(table.frame))
        if wanted.step is not None:
            rows = np.argsort(read_clock(table, wanted.step).values, kind="stable")
        return rows, np.array([len(rows)]), [table.path.stem]
    own = texts(table, wanted.id)
    lacking = np.flatnonzero([text is None for text in own])
    refuse(
        [f"{table.row(int(row))}: column {wanted.id!r} is empty" for row in lacking],
        "every row needs the name of its sequence",
    )
    number: dict[str, int] = {}
    codes = np.array([number.setdefault(text, len(number)) for text in own], np.int64)
    if wanted.step is None:
        rows = np.argsort(codes, kind="stable")
    else:
        times = read_clock(table, wanted.step).values
        rows = np.lexsort((times, codes))
        same = np.flatnonzero((np.diff(times[rows]) == 0) & (np.diff(codes[rows]) == 0))
        refuse(
            [
                f"{table.row(int(rows[at + 1]))}: sequence {own[rows[at]]!r} has this step, "
                f"{table.frame[wanted.step][int(rows[at])]}, twice"
                for at in same
            ],
            f"keep one of the two rows, or name another column as task.id ({wanted.id!r} now)",
        )
    return rows, np.bincount(codes, minlength=len(number)), [*number]


def _one_each(own: NDArray[Any], starts: Whole, lengths: Whole, place: Any, what: str) -> NDArray[Any]:
    """The one value of each sequence, which all of its rows must have."""
    first = own[starts]
    repeated = np.repeat(first, lengths, axis=0)
    differs = (own != repeated) & ~((own != own) & (repeated != repeated))  # NaN is NaN
    differs = differs.any(-1) if differs.ndim > 1 else differs.astype(bool)
    faults = []
    for step in np.flatnonzero(differs):
        sequence = int(np.searchsorted(starts, step, side="right")) - 1
        at = place(sequence, int(step) - int(starts[sequence]))
        faults.append(f"{at}: {what} {own[step]!s} differs from {first[sequence]!s} in the first row of its sequence")
    cure = "give all rows of a sequence the same"
    if what == "label":
        cure += ", or set task.predict to step_class or step_number for labels that change within a sequence"
    refuse(faults, cure)
    return first
