"""Strict JSON, which every parser reads: a number that is not finite is written as `null` and refused by the reader."""

import json
import math
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_jsonable_python

from seqtrain.system.files import UnreadableError, read_whole

LARGEST = 1 << 26
"""Bytes of the largest file that is read: those of seqtrain are far smaller."""


def finite(value: Any) -> Any:
    """The value as JSON data, with None for numbers that are not finite."""
    return to_jsonable_python(value, inf_nan_mode="null")


def dumps(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON text."""
    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def loads(text: bytes) -> Any:
    """The value of a JSON text.

    Raises
    ------
    ValueError : it is not JSON, is nested deeply, or holds a number or character that other parsers do not read alike.
    """
    from_json(text)  # refuses deep nesting, and half of a pair of surrogates
    return json.loads(text, parse_constant=_number, parse_float=_number, parse_int=_whole_number)


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


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number


def _whole_number(text: str) -> int:
    if len(text) > 20 or int(text).bit_length() > 63:
        raise ValueError("a whole number of more than 64 bits")
    return int(text)
