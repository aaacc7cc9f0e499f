"""What a program must do beside the layers of another library, which have no place for it."""

from collections.abc import Iterator
from typing import NamedTuple

from seqtrain.cells import CoupledCell, RNNCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.samples import inputs_of
from seqtrain.models import OneHot


class Code(NamedTuple):
    """How a program in another library does what its layers do not do by themselves.

    one_hot : makes vectors of symbols; `{size}` is the number of symbols, and `{added}` adds the vectors of a step.
    embedded : looks up the vectors of symbols.
    relu : makes a plain RNN with this nonlinearity; None if the layers already have it.
    directions_added : makes layers that read both ways and add their outputs; None if the library has none.
    """

    one_hot: str
    embedded: str
    relu: str | None = None
    directions_added: str | None = None


def remarks_on(trained: Trained, code: Code) -> Iterator[str]:
    """What the program must do for this model, each with its code."""
    encoder, together = trained.model.encoder, inputs_of(trained).together is not None
    stack = trained.model.stack
    cell = stack.cells()[0][0]
    if isinstance(cell, CoupledCell):
        yield "an LSTM has two gates where cell coupled has one; they stay coupled unless it is trained further"
    if isinstance(encoder, OneHot):
        yield f"the inputs are one-hot: {code.one_hot.format(size=encoder.symbols, added='.sum(2)' * together)}"
    elif together:
        yield f"the vectors of the symbols of a step are added: {code.embedded}.sum(2)"
    if code.relu and isinstance(cell, RNNCell) and cell.nonlinearity == "relu":
        yield f"the nonlinearity is relu: {code.relu}"
    if code.directions_added and len(stack.reversed) == 2 and stack.merge == "sum":
        yield f"the directions are added: {code.directions_added}"
