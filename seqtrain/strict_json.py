"""JSON that every parser reads: a number that is not finite becomes `null`."""

import json
import math
from typing import Any


def dumps(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON text, without NaN and Infinity."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
