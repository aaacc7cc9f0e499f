"""In which settings two configs differ."""

from collections.abc import Mapping
from typing import Any

Change = tuple[Any, Any]
"""The old and the new value of a setting."""


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def differences(old: Any, new: Any, key: str = "") -> dict[str, Change]:
    """The settings in which two configs differ, by dotted key."""
    if isinstance(old, dict) and isinstance(new, dict):
        changes: dict[str, Change] = {}
        for name in dict.fromkeys((*old, *new)):
            changes |= differences(old.get(name), new.get(name), f"{key}.{name}".lstrip("."))
        return changes
    return {} if old == new else {key: (old, new)}
