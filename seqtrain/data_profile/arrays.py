"""Files of arrays: `.npz` of NumPy, and `.ts` of aeon and sktime. Only their heads and sizes are read."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from seqtrain.data_profile.configs import arrays_config, ts_config
from seqtrain.data_profile.result import BROKEN, Profile
from seqtrain.data_profile.trial import first_that_builds
from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import DataError
from seqtrain.system.words import counted


def profile_npz(path: str, file: Path) -> Profile:
    """The names, the shapes and the types of the arrays; nothing in them is run."""
    arrays, faults = list[dict[str, Any]](), list[str]()
    try:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    shape, kind = _head(member)
                    arrays.append({"name": name.removesuffix(".npy"), "shape": list(shape), "type": str(kind)})
                    if kind.hasobject:
                        faults.append(
                            f"{file}: array {name.removesuffix('.npy')!r} holds Python objects, which are not read, as "
                            "they can run code; save arrays of numbers"
                        )
    except Exception as error:  # of a damaged file nearly any
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        faults.append(f"{file}: is no whole .npz file ({reason}); save it with numpy.savez")
    facts = {"arrays": len(arrays)}
    tries, why_not = ([], BROKEN) if faults else arrays_config(path, arrays)
    config = None
    if tries:
        config, _, faults = first_that_builds(tries, file)
        why_not = None if config else BROKEN
    return Profile(path, "arrays", counted(len(arrays), "array"), facts, arrays, faults, [], config, why_not)


def _head(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type of an array."""
    version = npy.read_magic(member)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read(member)
    return shape, kind


def profile_ts(path: str, file: Path) -> Profile:
    """The head of a `.ts` file, its cases, and how long they are."""
    head: dict[str, str] = {}
    sizes, labels, channels, begun = list[int](), dict[str, int](), set[int](), False
    has_label = False
    with file.open("rb") as opened:
        for number, raw in enumerate(opened, 1):
            line = _decoded(raw, file, number).strip()
            if not line or line.startswith(("#", "%")):
                continue
            if not begun and line.startswith("@"):
                key, value = [*line[1:].split(None, 1), "", ""][:2]
                begun = key.lower() == "data"
                head |= {} if begun else {key.lower(): value.strip()}
                has_label = any(head.get(key, "").lower().startswith("true") for key in ("classlabel", "targetlabel"))
                continue
            parts = line.split(":")
            if has_label:
                *parts, label = parts
                labels[label] = labels.get(label, 0) + 1
            channels.add(len(parts))
            sizes.append(_size(parts[0]) if parts else 0)
    if not sizes:
        fault = f"{file}: has no cases below @data; give a .ts file of aeon or sktime"
        return Profile(path, "sequences", "a .ts file without cases", dict(head), [], [fault], [], None, BROKEN)
    shortest, median, longest = (int(n) for n in np.quantile(sizes, [0, 0.5, 1], method="nearest"))
    facts: dict[str, Any] = {"problem": head.get("problemname", ""), "sequences": len(sizes)}
    facts |= {"columns": max(channels), "shortest": shortest, "median": median, "longest": longest}
    is_classes = head.get("classlabel", "").lower().startswith("true")
    facts |= {"classes": labels} if is_classes else {"distinct targets": len(labels)} if labels else {}
    faults = []
    if len(channels) > 1:
        faults.append(f"{file}: has cases of {min(channels)} to {max(channels)} columns; give each as many")
    config = None
    if not faults:
        config, _, faults = first_that_builds(ts_config(path, facts), file)
    why_not = None if config else BROKEN
    return Profile(
        path, "sequences", f"{counted(len(sizes), 'sequence')} of a .ts file", facts, [], faults, [], config, why_not
    )


def _size(channel: str) -> int:
    """Steps in a channel, without the missing values that pad its end."""
    values = channel.split(",")
    while values and values[-1].strip().lower() in ("?", "nan"):
        values.pop()
    return len(values)


def _decoded(raw: bytes, file: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}:{number}: {not_utf8(error)}") from None
