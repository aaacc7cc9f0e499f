"""Read sequences from any of the four forms: a table, a folder of tables, a `.ts` file, a `.npz` file."""

from pathlib import Path

import numpy as np

from seqtrain.system.errors import DataError
from seqtrain.tasks.sequences.collection import Collection, Wanted, refuse
from seqtrain.tasks.sequences.csv_folder import read_csv_folder
from seqtrain.tasks.sequences.long_table import read_long_table
from seqtrain.tasks.sequences.npz_file import read_npz_file
from seqtrain.tasks.sequences.ts_file import read_ts_file


def read_sequences(path: Path, wanted: Wanted) -> Collection:
    """The sequences in a file or a folder.

    Raises
    ------
    DataError : they cannot be read; with the places of the faults, and the cure.
    """
    if path.is_dir():
        _check_targets(path, wanted)
        found = read_csv_folder(path, wanted)
    elif path.suffix.lower() == ".ts":
        _check_columns_of_ts(path, wanted)
        found = read_ts_file(path, wanted)
    elif path.suffix.lower() == ".npz":
        found = read_npz_file(path, wanted)
    else:
        _check_targets(path, wanted)
        return read_long_table(path, wanted)
    return _selected(found, wanted, path)


def _check_targets(path: Path, wanted: Wanted) -> None:
    if wanted.kind and wanted.labelled and not wanted.targets:
        raise DataError(f"{path}: which column holds the labels is not said; set task.targets, e.g. [label]")


def _check_columns_of_ts(path: Path, wanted: Wanted) -> None:
    """A `.ts` file has dimensions and a label, and nothing else."""
    asked = {"id": wanted.id, "step": wanted.step, "group": wanted.group, "part": wanted.part}
    faults = [f"{path}: has no columns, so task.{name} names nothing" for name, value in asked.items() if value]
    if wanted.targets:
        faults.append(f"{path}: has one label for each sequence, so task.targets names nothing")
    if wanted.kind and wanted.by_step:
        faults.append(
            f"{path}: has one label for each sequence, not for each step; set task.predict to class or number"
        )
    refuse(faults, "remove these settings, or give a table (.csv, .parquet), a folder or a .npz file")


def _selected(found: Collection, wanted: Wanted, path: Path) -> Collection:
    """The sequences with the inputs that are wanted."""
    if wanted.step and path.suffix.lower() == ".npz":
        raise DataError(f"{path}: its steps are in their order, so task.step names nothing; remove it")
    if wanted.inputs is None or found.columns == wanted.inputs:
        return found
    if lacking := [name for name in wanted.inputs if name not in found.columns]:
        raise DataError(f"{path}: has no input {', '.join(lacking)}; it has {', '.join(found.columns)}")
    left_out = {**found.left_out, "inputs_not_read": len(found.columns) - len(wanted.inputs)}
    chosen = np.array([found.columns.index(name) for name in wanted.inputs])
    return Collection(
        **(vars(found) | {"columns": wanted.inputs, "values": found.values[:, chosen], "left_out": left_out})
    )
