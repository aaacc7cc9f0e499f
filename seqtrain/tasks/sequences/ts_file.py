"""Sequences in a `.ts` file, the format of the collections of aeon and sktime.

@problemName Vowels
@dimensions 2
@classLabel true a o              or: @targetLabel true, for numbers
@data
1.5,1.2,0.9:0.1,0.3,0.2:a         the values of dimension 1, of dimension 2, and the label
"""

from pathlib import Path

import numpy as np

from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import DataError
from seqtrain.tasks.sequences.collection import Collection, Numbers, Wanted, refuse

LABELS = ("classlabel", "targetlabel")

UNKNOWN = ("?", "")
"""What stands for a missing value, and for a label that is not known."""


def read_ts_file(path: Path, wanted: Wanted) -> Collection:
    """The sequences of a file.

    Steps at the end of a sequence at which no dimension has a value are padding; they are left out and counted.

    Raises
    ------
    DataError : a line does not follow the format, with its number.
    """
    header, lines = _lines(path)
    if header.get("timestamps", "false").lower().startswith("true"):
        raise DataError(f"{path}: has time stamps (@timeStamps true), which are not read; write the values alone")
    has_label = any(header.get(name, "false").lower().startswith("true") for name in LABELS)
    if wanted.kind and wanted.labelled and not has_label:
        raise DataError(f"{path}: has no labels (no line '@classLabel true ...'); give a file with labels")
    sequences, labels, numbers, faults, padding = [], [], [], [], 0
    dimensions = int(header["dimensions"]) if header.get("dimensions", "").isdecimal() else None
    for number, line in lines:
        *parts, last = line.split(":")
        if not has_label:
            parts, last = [*parts, last], ""
        dimensions = dimensions or len(parts)
        try:
            if not parts:
                raise ValueError("has no label, as there is no colon")
            sequence, cut = _sequence(parts, dimensions)
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
            continue
        padding += cut
        sequences.append(sequence)
        labels.append(None if last.strip() in UNKNOWN else last.strip())
        numbers.append(number)
    refuse(faults, "write each line as values,of,dimension,1:values,of,dimension,2:label")
    if not sequences:
        raise DataError(f"{path}: has no sequence below @data; give a file with data")
    columns = [f"dimension{d + 1}" for d in range(sequences[0].shape[1])]
    texts = np.array([*labels, None], object)[:-1] if has_label and wanted.kind else None
    if wanted.kind == "number" and texts is not None:
        texts = _as_numbers(texts, numbers, path)
    return Collection(
        [f"line {number}" for number in numbers],
        columns,
        np.concatenate(sequences),
        np.array([len(one) for one in sequences], np.int64),
        lambda sequence, step: f"{path}:{numbers[sequence]}" + ("" if step is None else f": step {step + 1}"),
        texts,
        left_out={"padding_steps": padding},
    )


def _lines(path: Path) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """The entries of the header, and the lines of data with their numbers."""
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {not_utf8(error)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); set another task.path") from None
    header: dict[str, str] = {}
    lines, is_data = [], False
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith(("#", "%")):
            continue
        if is_data:
            lines.append((number, content))
        elif content.lower() == "@data":
            is_data = True
        elif content.startswith("@"):
            name, value = [*content[1:].split(None, 1), "", ""][:2]
            header[name.lower()] = value
    if not is_data:
        raise DataError(f"{path}: has no line @data; give a file in the format .ts of aeon and sktime")
    return header, lines


def _sequence(parts: list[str], dimensions: int) -> tuple[Numbers, int]:
    """The values `[T, D]` without padding, and the steps of padding; raises a ValueError with what is wrong."""
    if len(parts) != dimensions:
        raise ValueError(f"has {len(parts)} dimensions, not {dimensions}")
    values = []
    for d, part in enumerate(parts):
        cells = part.split(",")
        try:
            values.append(np.array([np.nan if cell.strip() in UNKNOWN else float(cell) for cell in cells]))
        except ValueError:
            bad = next(cell for cell in cells if not _is_number(cell))
            raise ValueError(f"dimension {d + 1} has {bad.strip()[:40]!r}, which is no number") from None
    T = max(map(len, values))
    if len(short := {len(one) for one in values}) > 1:
        raise ValueError(f"has dimensions of different lengths, {min(short)} to {T} steps")
    found = np.stack(values, 1)
    if np.isinf(found).any():
        raise ValueError("has an infinite value")
    known = np.flatnonzero(~np.isnan(found).all(1))
    if not known.size:
        raise ValueError("has no value")
    return found[: known[-1] + 1], T - 1 - int(known[-1])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip() in UNKNOWN
    return True


def _as_numbers(texts: Numbers, numbers: list[int], path: Path) -> Numbers:
    """Labels as numbers, `[N, 1]`."""
    faults = [
        f"{path}:{numbers[n]}: has label {text!r}, which is no number"
        for n, text in enumerate(texts)
        if text is not None and (not _is_number(text) or not np.isfinite(float(text)))
    ]
    refuse(faults, "write numbers, or set task.predict=class")
    return np.array([[np.nan if text is None else float(text)] for text in texts])
