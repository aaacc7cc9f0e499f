"""Every error a user can cause, each with the exit code that scripts rely on.

The command line prints the message of a `SeqtrainError` and nothing else; any other exception is a bug of
ours and keeps its traceback. A message says where, what was wrong, what is allowed, and the cure.
"""

from collections.abc import Sequence
from typing import Any


class SeqtrainError(Exception):
    """Base of all errors that are not a bug of seqtrain."""

    exit_code = 2


class ConfigError(SeqtrainError):
    """The config, or an override of it, asks for something that cannot be. Holds every fault at once."""

    def __init__(self, faults: Sequence[str] | str) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class DataError(SeqtrainError):
    """A text file that is missing, empty, binary or too short."""


class CheckpointError(SeqtrainError):
    """A checkpoint or run directory that cannot be used as asked."""


class Diverged(SeqtrainError):
    """A loss or gradient became infinite or not a number.

    report : what the message says and more, as plain values; empty if nothing is known but the message.
    """

    exit_code = 3

    def __init__(self, message: str, report: dict[str, Any] | None = None) -> None:
        self.report = report or {}
        super().__init__(message)


class Differs(SeqtrainError):
    """Something that was made from a model computes something else than the model."""

    exit_code = 4


class LostProcess(SeqtrainError):
    """Another process that trains the same run has ended, so that this one cannot go on."""

    exit_code = 1


def short(value: Any, width: int = 40) -> str:
    """A value for a message, cut to a readable length."""
    try:
        text = "null" if value is None else repr(value)
    except ValueError:  # a number with thousands of digits
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else "a number of many digits"
    return text if len(text) <= width else text[: width - 3] + "..."


def plain(text: str, width: int = 80) -> str:
    """A user's own words for a message: as they are if they fit into a line, else quoted and cut."""
    return text if text.isprintable() and len(text) <= width else short(text, width)
