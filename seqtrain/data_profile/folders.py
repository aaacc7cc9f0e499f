"""A folder: the parts of a text, or sequences in files with a table of labels."""

from pathlib import Path

import numpy as np

from seqtrain.data_profile.arrays import profile_ts
from seqtrain.data_profile.columns import profile_columns, scan
from seqtrain.data_profile.configs import MOST_CLASSES, folder_config, text_config
from seqtrain.data_profile.result import BROKEN, Profile
from seqtrain.data_profile.tables import GROUP_NAMES, LABEL_NAMES
from seqtrain.data_profile.texts import has_sentences, measure, unit_of
from seqtrain.data_profile.trial import first_that_builds
from seqtrain.system.errors import DataError
from seqtrain.system.files import split_file
from seqtrain.system.words import counted
from seqtrain.tasks.tables.table import Table, read_table

NAMED = 10
"""Files of a folder that are named."""


def profile_folder(path: str, folder: Path) -> Profile:
    """The files of a folder."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror}); make it readable") from None
    if "labels.csv" in names:
        files = [name for name in names if name.lower().endswith(".csv") and name != "labels.csv"]
        what = f"a folder of {counted(len(files), 'sequence')} with labels.csv"
        return _sequences(path, folder, files, what)
    if split_file(folder, "train").exists():
        return _text(path, folder)
    if len(trains := [name for name in names if name.endswith("_TRAIN.ts")]) == 1:
        return profile_ts(f"{path.rstrip('/')}/{trains[0]}", folder / trains[0])
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    why_not = (
        "give one of its files; or a folder with train.txt, valid.txt and test.txt, CSV files with labels.csv, or "
    )
    why_not += "NAME_TRAIN.ts and NAME_TEST.ts"
    if "config.yaml" in names and any(name.endswith(".safetensors") for name in names):
        why_not = f"it is a run; seqtrain eval {path} tells its results"
    return Profile(path, "folder", f"a folder of {counted(len(names), 'file')}", {"files": shown}, why_not=why_not)


def _sequences(path: str, folder: Path, files: list[str], what: str) -> Profile:
    """A folder of tables with their labels: those in a column whose name says so, or the first one without a use."""
    table = read_table(folder / "labels.csv")
    columns = table.frame.columns
    facts = {"files": len(files), "columns of labels.csv": ", ".join(columns)}
    roles = {} if "file" in columns else {"id": columns[0]}
    left = [name for name in columns if name not in ("file", *roles.values())]
    if part := next((name for name in left if set(table.frame[name]) == {"train", "valid", "test"}), None):
        roles["part"] = part
    left = [name for name in left if name != part]
    left.sort(key=lambda name: (not LABEL_NAMES.fullmatch(name), bool(GROUP_NAMES.fullmatch(name))))
    if not left:
        fault = f"{folder / 'labels.csv'}: has no column of labels; write the columns file and label"
        return Profile(path, "sequences", what, facts, [], [fault], why_not=BROKEN)
    roles["targets"] = left[0]
    if files and (times := _times_of(folder / files[0])):
        roles["step"] = times
    if part is None and (groups := [name for name in left[1:] if GROUP_NAMES.fullmatch(name)]):
        roles["group"] = groups[0]
    tries = folder_config(path, files, roles, is_number=_holds_amounts(table, left[0]))
    config, _, faults = first_that_builds(tries, folder)
    return Profile(path, "sequences", what, facts, [], faults, [], config, None if config else BROKEN)


def _holds_amounts(table: Table, column: str) -> bool:
    """Whether a column has numbers that are no classes."""
    try:
        values = np.unique(table.numbers([column]))
    except DataError:
        return False
    return len(values) > MOST_CLASSES or bool((values != np.round(values)).any())


def _times_of(file: Path) -> str | None:
    """The column of dates of a table."""
    try:
        _, columns = profile_columns(scan(file)[0], file)
    except DataError:
        return None
    return next((column.name for column in columns if column.kind == "time"), None)


def _text(path: str, folder: Path) -> Profile:
    """A text in three files."""
    files = {split: split_file(folder, split) for split in ("train", "valid", "test")}
    measured = {split: measure(file) for split, file in files.items() if file.exists()}
    facts = {f"{split} {name}": value for split, own in measured.items() for name, value in own.facts().items()}
    faults = [f"{files[split]}: no such file; a folder of a text has three" for split in files if split not in measured]
    unit = unit_of(measured["train"])
    config = text_config(path, unit, measured["train"].tokens(unit), has_sentences=has_sentences(measured["train"]))
    config.reasons["task.path"] = "a folder with train, valid and test"
    built, _, refused = first_that_builds([config], files["train"])
    faults += [] if faults else refused
    why_not = None if built else BROKEN
    return Profile(path, "text", "a text in three files", facts, [], faults, [], built, why_not)
