"""Strict JSON, which every parser reads: a number that is not finite is written as `null`, and NaN is not read."""

import json
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_jsonable_python

from seqtrain.system.files import UnreadableError, read_whole, write_whole

LARGEST = 1 << 26
"""Bytes of the largest file that is read: those of seqtrain are far smaller."""


def finite(value: Any) -> Any:
    """The value as JSON data, with None for numbers that are not finite."""
    return to_jsonable_python(value, inf_nan_mode="null")


def dumps(value: Any, *, indent: int | None = None, ascii_only: bool = False) -> str:
    """The value as JSON text."""
    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=ascii_only)


def write(path: Path, value: Any) -> None:
    """Write a JSON file; see `write_whole`."""
    write_whole(path, (dumps(value, indent=2) + "\n").encode())


def read(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises
    ------
    UnreadableError : the file cannot be read, or holds something else.
    """
    try:
        value = from_json(read_whole(path, LARGEST), allow_inf_nan=False)
    except ValueError as error:  # also for deep nesting, and for half of a pair of surrogates
        raise UnreadableError(path, f"is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UnreadableError(path, "holds no JSON object")
    return value
