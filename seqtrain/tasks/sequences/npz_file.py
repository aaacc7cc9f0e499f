"""Sequences in a NumPy file `.npz`.

    inputs   [N, T, C] with padding, or [S, C] one after the other; S is the sum of the lengths
    lengths  [N], steps of each sequence; may be left out of padded sequences that have no padding
    labels   [N] or [N, K], or by step [N, T], [N, T, K], [S] or [S, K]; `task.targets` names another array
    columns  [C], names of the numbers in a step; may be left out

`task.id`, `task.group` and `task.part` name arrays [N], as they name columns of a table.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.tasks.sequences.collection import Collection, Wanted, Whole

LABELS = "labels"


def read_npz_file(path: Path, wanted: Wanted) -> Collection:
    """The sequences of a file.

    Raises
    ------
    DataError : it is no such file, or its arrays do not fit each other.
    """
    if len(wanted.targets) > 1:
        raise DataError(f"{path}: labels are one array, [N, K] for K numbers, but task.targets names more; name one")
    label = wanted.targets[0] if wanted.targets else LABELS
    arrays, others = _arrays(path, ["inputs", "lengths", "columns", label, wanted.id, wanted.group, wanted.part])
    inputs, lengths, places = _laid_out(path, arrays)
    values = inputs.reshape(-1, inputs.shape[-1])[places].astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"{path}: inputs hold infinite values; replace them")
    N, C = len(lengths), values.shape[1]
    labels = _labels(path, arrays.get(label), wanted, N, places, inputs.shape[:-1])
    names, groups, parts = (
        None if name is None else _texts(path, arrays, name, N) for name in (wanted.id, wanted.group, wanted.part)
    )
    columns = _texts(path, arrays, "columns", C) if "columns" in arrays else [f"input{c + 1}" for c in range(C)]
    for what, own in ((wanted.id, names), ("columns", columns)):
        if twice := [name for name, count in Counter(own or []).items() if count > 1]:
            raise DataError(f"{path}: {what} has {twice[0]!r} more than once; give each a name of its own")
    return Collection(
        names or [str(n) for n in range(N)],
        columns,
        values,
        lengths,
        lambda sequence, step: f"{path}: sequence {sequence}" + ("" if step is None else f", step {step}"),
        labels,
        groups,
        parts,
        left_out={"padding_steps": inputs[..., 0].size - len(places), "arrays_not_read": others},
    )


def _arrays(path: Path, wanted: list[str | None]) -> tuple[dict[str, NDArray[Any]], int]:
    """The arrays of a file that are wanted, by name, and how many others it has."""
    cure = "save it with numpy.savez(path, inputs=..., lengths=..., labels=...)"
    try:
        with path.open("rb") as opened:  # NumPy leaves a torn file open
            file = np.load(opened, allow_pickle=False)
            if not hasattr(file, "files"):
                raise DataError(f"{path}: holds one array and no names; {cure}")
            found = {name: file[name] for name in file.files if name in wanted}
            others = [name for name in file.files if name not in wanted]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; set task.path to a file with sequences") from None
    except DataError:
        raise
    except Exception as error:  # of a damaged file nearly any
        if "allow_pickle" in str(error):
            padded = "save sequences of different lengths padded, with their lengths"
            raise DataError(f"{path}: holds Python objects, which are not read; {padded}") from None
        raise DataError(f"{path}: cannot be read ({str(error).strip() or type(error).__name__}); {cure}") from None
    if "inputs" not in found:
        raise DataError(f"{path}: has no array 'inputs' (it has {', '.join(others) or 'none'}); {cure}")
    if found["inputs"].dtype.kind not in "biuf":
        raise DataError(f"{path}: inputs are {found['inputs'].dtype}; make them numbers")
    return found, len(others)


def _laid_out(path: Path, arrays: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], Whole, Whole]:
    """The inputs, the length of each sequence, and the places of all steps among those of the inputs."""
    inputs, given = arrays["inputs"], arrays.get("lengths")
    if given is not None and (given.ndim != 1 or given.dtype.kind not in "iu" or not given.size or given.min() < 1):
        raise DataError(f"{path}: lengths must be [N] whole numbers from 1, but are {given.dtype} {given.shape}")
    if given is not None and given.max() > inputs.size:  # before they become signed numbers
        raise DataError(f"{path}: lengths are up to {given.max()}, but inputs are {inputs.shape}; give those of inputs")
    if inputs.ndim == 3:
        N, T, _ = inputs.shape
        lengths = np.full(N, T, np.int64) if given is None else given.astype(np.int64)
        if not inputs.size or len(lengths) != N or lengths.max() > T:
            raise DataError(f"{path}: inputs are {inputs.shape}, but there are {len(lengths)} lengths up to "
                            f"{lengths.max(initial=0)}; give N lengths up to T")  # fmt: skip
        return inputs, lengths, np.flatnonzero((np.arange(T) < lengths[:, None]).ravel())
    if inputs.ndim != 2 or given is None or given.sum() != len(inputs):
        raise DataError(
            f"{path}: inputs are {inputs.shape}; make them [N, T, C], or [S, C] with lengths [N] that add up to S"
        )
    return inputs, given.astype(np.int64), np.arange(len(inputs))


def _labels(
    path: Path, own: NDArray[Any] | None, wanted: Wanted, N: int, places: Whole, steps: tuple[int, ...]
) -> NDArray[Any] | None:
    """The labels of the sequences, or of all steps."""
    if wanted.kind is None:
        return None
    if own is None:
        if wanted.labelled:
            raise DataError(f"{path}: has no array of labels; add it, and name it {LABELS!r} or set task.targets")
        return None
    wished = steps if wanted.by_step else (N,)
    if own.shape[: len(wished)] != wished or own.ndim > len(wished) + (wanted.kind == "number"):
        raise DataError(
            f"{path}: labels are {own.shape}; with predict {wanted.kind!r} {'by step ' if wanted.by_step else ''}they "
            f"must begin with {wished}"
        )
    if wanted.by_step:
        own = own.reshape(-1, *own.shape[len(wished) :])[places]
    if wanted.kind == "class":
        return np.array([*(text or None for text in _as_texts(own)), None], object)[:-1]
    if own.dtype.kind not in "biuf":
        raise DataError(f"{path}: labels are {own.dtype}; make them numbers, or set task.predict=class")
    numbers = own.reshape(len(own), -1).astype(np.float64)
    if np.isinf(numbers).any():
        raise DataError(f"{path}: labels hold infinite values; replace them")
    return numbers


def _texts(path: Path, arrays: dict[str, NDArray[Any]], name: str, size: int) -> list[str]:
    """An array of names."""
    if name not in arrays:
        raise DataError(f"{path}: has no array {name!r}; it has {', '.join(arrays)}")
    if arrays[name].shape != (size,):
        raise DataError(f"{path}: {name} is {arrays[name].shape}; it must have a name for each of {size}")
    found = _as_texts(arrays[name])
    if "" in found:
        raise DataError(f"{path}: {name} is empty at {found.index('')}; give each of {size} a name")
    return found


def _as_texts(own: NDArray[Any]) -> list[str]:
    """Texts as other formats have them: bytes are UTF-8, whole numbers have no `.0`, and NaN is empty."""
    if own.dtype.kind == "S":
        return [one.decode("utf-8", "replace").strip() for one in own.tolist()]
    if own.dtype.kind == "f":
        return ["" if one != one else str(one).removesuffix(".0") for one in own.tolist()]
    return [str(one).strip() for one in own.tolist()]
