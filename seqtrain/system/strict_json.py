"""JSON that every parser reads: a number that is not finite is written as `null`, and refused where it is read."""

import json
import math
from pathlib import Path
from typing import Any

from seqtrain.system.files import UnreadableError, read_whole

DEEPEST, LARGEST = 50, 1 << 26
"""Values within values, and bytes of a file: what seqtrain writes has a small part of both."""


def dumps(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON text, without NaN and Infinity."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def loads(text: bytes) -> Any:
    """The value of a JSON text from anywhere.

    Raises
    ------
    ValueError : it is none, or other parsers would not read it alike.
    """
    try:
        value = json.loads(text.decode())
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    _check(value)
    return value


def read(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises
    ------
    UnreadableError : the file cannot be read, or holds something else.
    """
    try:
        value = loads(read_whole(path, LARGEST))
    except ValueError as error:
        raise UnreadableError(path, f"is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise UnreadableError(path, "holds no JSON object")
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _check(value: Any, depth: int = 0) -> None:
    """Raise a ValueError for what Python's parser takes and others do not."""
    if depth > DEEPEST:
        raise ValueError(f"nested more than {DEEPEST} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, str):
        if not value.isascii():
            value.encode()  # half of a pair of surrogates is no text
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number that is not finite")
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ValueError("a whole number of more than 64 bits")
