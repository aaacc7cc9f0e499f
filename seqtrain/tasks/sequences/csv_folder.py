"""Sequences in a folder: a table for each, and `labels.csv` with what is known of them."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.tasks.sequences.collection import Collection, Wanted, Whole, refuse
from seqtrain.tasks.sequences.long_table import given, input_columns, labels_of, texts
from seqtrain.tasks.tables.steps import read_clock
from seqtrain.tasks.tables.table import Table, read_table

LABELS = "labels.csv"
FILE = "file"
"""The column of `labels.csv` that names the tables, unless `task.id` does."""


def read_csv_folder(path: Path, wanted: Wanted) -> Collection:
    """The sequences of a folder.

    Raises
    ------
    DataError : a table or a label is missing, or a table cannot be read.
    """
    index = read_table(path / LABELS) if (path / LABELS).is_file() else None
    known = _known(path, index, wanted)
    tables, left_out = _tables(path, index, wanted)
    own = wanted._replace(
        id=None, group=None, part=None, kind=wanted.kind if wanted.by_step else None,
        targets=wanted.targets if wanted.by_step else [],
    )  # fmt: skip
    columns = input_columns(tables[0], own)
    values, labels, orders = [], [], []
    for table in tables:
        own_columns = input_columns(table, own._replace(inputs=columns))
        order = np.arange(len(table.frame)) if wanted.step is None else _order(table, wanted.step)
        orders.append(order)
        values.append(table.numbers(own_columns)[order])
        if (found := labels_of(table, own)) is not None:
            labels.append(found[order])

    def place(sequence: int, step: int | None) -> str:
        table = tables[sequence]
        return str(table.path) if step is None else table.row(int(orders[sequence][step]))

    lengths = np.array([len(one) for one in values], np.int64)
    by_step = np.concatenate(labels) if wanted.by_step and len(labels) == len(tables) else None
    return Collection(
        [str(table.path.relative_to(path)) for table in tables], columns, np.concatenate(values), lengths, place,
        by_step if wanted.by_step else known["label"],
        None if known["group"] is None else [*known["group"]],
        None if known["part"] is None else [*known["part"]],
        None if (step := wanted.step) is None else [
            time for table, order in zip(tables, orders, strict=True) for time in table.frame[step].gather(order)
        ],
        left_out,
    )  # fmt: skip


def _order(table: Table, step: str) -> Whole:
    """The rows of a table in the order of its steps."""
    times = read_clock(table, step).values
    order = np.argsort(times, kind="stable")
    same = np.flatnonzero(np.diff(times[order]) == 0)
    refuse(
        [f"{table.row(int(order[at + 1]))}: has this step, {table.frame[step][int(order[at])]}, twice" for at in same],
        "keep one of the two rows, or name another column as task.step",
    )
    return order


def _known(path: Path, index: Table | None, wanted: Wanted) -> dict[str, NDArray[Any] | None]:
    """What `labels.csv` says of each file: its label, its group and its part."""
    known: dict[str, NDArray[Any] | None] = {"label": None, "group": None, "part": None}
    if index is None:
        asked = {"group": wanted.group, "part": wanted.part}
        faults = [f"{path}: has no {LABELS}, so task.{name} names nothing" for name, value in asked.items() if value]
        refuse(faults, f"write one with a column {FILE!r} that names each table, and this column")
        return known
    targets = [] if wanted.by_step or not wanted.labelled else wanted.targets
    index.check_columns(targets=targets, group=[wanted.group], part=[wanted.part])
    if not wanted.by_step:
        known["label"] = labels_of(index, wanted)
    row_of = index.row
    for name, column in (("group", wanted.group), ("part", wanted.part)):
        known[name] = (
            None
            if column is None
            else np.array(given(texts(index, column), lambda row, _: row_of(row), column), object)
        )
    return known


def _tables(path: Path, index: Table | None, wanted: Wanted) -> tuple[list[Table], dict[str, int]]:
    """The table of each sequence, and how many files are not in `labels.csv`."""
    there = sorted(file for file in path.rglob("*.csv") if file != path / LABELS)
    if index is None:
        if wanted.labelled and not wanted.by_step and wanted.kind is not None:
            raise DataError(
                f"{path}: has no {LABELS}; write one with a column {FILE!r} that names each table, and "
                f"{', '.join(map(repr, wanted.targets))}"
            )
        if not there:
            raise DataError(f"{path}: has no CSV files; give a folder with a table for each sequence, or one file")
        return [read_table(file) for file in there], {}
    column = wanted.id or FILE
    index.check_columns(id=[column])
    named = texts(index, column)
    files, faults = [], []
    for row, name in enumerate(named):
        found = None if name is None else _found(path, name)
        if found is None:
            shown = "an empty cell" if name is None else repr(name)
            faults.append(f"{index.row(row)}: column {column!r} has {shown}, and there is no such table in {path}")
        else:
            files.append(found)
    seen: dict[Path, int] = {}
    for row, file in enumerate(files if not faults else []):
        if seen.setdefault(file, row) != row:
            faults.append(f"{index.row(row)}: names {file.name} again, as {index.row(seen[file])} does")
    refuse(faults, f"name each table of the folder once in column {column!r} (task.id chooses another column)")
    return [read_table(file) for file in files], {"files_without_label": len({*there} - {*files})}


def _found(path: Path, name: str) -> Path | None:
    """The table with a name, which may lack its ending; only one in the folder."""
    plain = Path(os.path.normpath(name))
    if plain.is_absolute() or plain.parts[:1] == ("..",):
        return None
    there = (path / one for one in (plain, f"{plain}.csv"))
    return next((file for file in there if os.path.isfile(file)), None)  # noqa: PTH113 - false for too long a name
