"""What each format makes of a trained model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from seqtrain.system.errors import ConfigError

Form = Literal["op", "scan"]

Figures = Mapping[str, Mapping[str, float | None]]
"""Measured figures by name, of several models by name."""


class Options(NamedTuple):
    """The options of all formats, with the ending of the file; what belongs to another format has its default.

    form : of a layer in ONNX: an operator of its own, or its equations in a Scan; None for what is right in every
        runtime.
    lengths : of a model in ONNX or for torch.export: it takes the length of each sequence.
    states : likewise: it takes the states and returns them. None for ONNX: if all its layers read forward; for
        torch.export: no.
    license : for the model card.
    int8 : round the matrices to eight bits.
    """

    ending: str = ""
    form: Form | None = None
    lengths: bool = False
    states: bool | None = None
    license: str | None = None
    int8: bool = False


class Check(NamedTuple):
    """How far the exported model is from the model itself.

    program : which ran it, with its version.
    difference : the largest one between two outputs, divided by the largest output where that is above 1.
    rounding : likewise how far the model in float32 is from itself in float64; a right program in float32 is
        about as far.
    """

    program: str
    difference: float
    rounding: float


@dataclass(frozen=True)
class Content:
    """The files of an export, not written yet.

    files : by name; a single one has the name that the user gave.
    check : None if the exported model was not run.
    remarks : what a user should know.
    facts : about the file, in words.
    figures : of the model on the test set, by the kind of its weights; None for one that was not measured.
    """

    files: Mapping[str, bytes]
    check: Check | None = None
    remarks: Sequence[str] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)


def refuse(name: str, reasons: Sequence[str], nearest: str) -> None:
    """Raise a ConfigError if there are reasons why a format cannot hold a model.

    name : of the format.
    nearest : what can hold it.
    """
    if reasons:
        raise ConfigError([f"--to {name}: {reason}; {nearest}" for reason in reasons])
