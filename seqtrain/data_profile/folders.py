"""A folder: the parts of a text, or sequences in files with a table of labels."""

from pathlib import Path

from seqtrain.data_profile.configs import folder_config, text_config
from seqtrain.data_profile.result import BROKEN, Profile
from seqtrain.data_profile.texts import measure, unit_of
from seqtrain.data_profile.trial import first_that_builds
from seqtrain.system.errors import DataError
from seqtrain.system.files import split_file
from seqtrain.system.words import counted
from seqtrain.tasks.tables.table import read_table

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
    shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    why_not = "give one of its files; or a folder with train.txt, valid.txt and test.txt, or CSV files with labels.csv"
    return Profile(path, "folder", f"a folder of {counted(len(names), 'file')}", {"files": shown}, why_not=why_not)


def _sequences(path: str, folder: Path, files: list[str], what: str) -> Profile:
    """A folder of tables with their labels: those in the first column beside that of the files."""
    labels = read_table(folder / "labels.csv").frame.columns
    facts = {"files": len(files), "columns of labels.csv": ", ".join(labels)}
    names = [name for name in labels if name != "file"]
    if not names:
        fault = f"{folder / 'labels.csv'}: has no column of labels; write the columns file and label"
        return Profile(path, "sequences", what, facts, [], [fault], why_not=BROKEN)
    config, _, faults = first_that_builds([folder_config(path, files, names[0])], folder)
    return Profile(path, "sequences", what, facts, [], faults, [], config, None if config else BROKEN)


def _text(path: str, folder: Path) -> Profile:
    """A text in three files."""
    files = {split: split_file(folder, split) for split in ("train", "valid", "test")}
    measured = {split: measure(file) for split, file in files.items() if file.exists()}
    facts = {f"{split} {name}": value for split, own in measured.items() for name, value in own.facts().items()}
    faults = [f"{files[split]}: no such file; a folder of a text has three" for split in files if split not in measured]
    unit = unit_of(measured["train"])
    config = text_config(path, unit, measured["train"].tokens(unit))
    config.reasons["task.path"] = "a folder with train, valid and test"
    built, _, refused = first_that_builds([config], files["train"])
    faults += [] if faults else refused
    why_not = None if built else BROKEN
    return Profile(path, "text", "a text in three files", facts, [], faults, [], built, why_not)
