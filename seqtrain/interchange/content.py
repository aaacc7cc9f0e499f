"""What each format makes of a trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seqtrain.system.errors import ConfigError


class Options(NamedTuple):
    """The options of all formats, with the ending of the file; what belongs to another format has its default.

    license : for the model card.
    """

    ending: str
    license: str | None = None


class Check(NamedTuple):
    """How far the exported model is from the model itself.

    program : which ran it, with its version.
    difference : the largest one between two outputs, divided by the largest output where that is above 1.
    """

    program: str
    difference: float


@dataclass(frozen=True)
class Content:
    """The files of an export, not written yet.

    files : by name; a single one has the name that the user gave.
    check : None if the exported model was not run.
    remarks : what a user should know.
    """

    files: Mapping[str, bytes]
    check: Check | None = None
    remarks: Sequence[str] = ()


def refuse(name: str, reasons: Sequence[str], nearest: str) -> None:
    """Raise a ConfigError if there are reasons why a format cannot hold a model.

    name : of the format.
    nearest : what can hold it.
    """
    if reasons:
        raise ConfigError([f"--to {name}: {reason}; {nearest}" for reason in reasons])
