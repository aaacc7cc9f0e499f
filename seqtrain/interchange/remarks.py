"""What a program must do beside the layers of another library, which have no place for it."""

from collections.abc import Iterator

from seqtrain.cells import CoupledCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.samples import inputs_of
from seqtrain.models import OneHot


def remarks_on(trained: Trained, one_hot: str, embedded: str) -> Iterator[str]:
    """Remarks on symbols and on coupled gates.

    Parameters
    ----------
    one_hot, embedded : how the library makes the inputs of one symbol a step. `{size}` is the number of symbols, and
        `{added}` is there for several symbols in a step, whose vectors are added.
    """
    encoder, together = trained.model.encoder, inputs_of(trained).together is not None
    if isinstance(trained.model.stack.cells()[0][0], CoupledCell):
        yield "an LSTM has two gates where cell coupled has one; they stay coupled unless it is trained further"
    if isinstance(encoder, OneHot):
        yield f"the inputs are one-hot: {one_hot.format(size=encoder.symbols, added='.sum(2)' * together)}"
    elif together:
        yield f"the vectors of the symbols of a step are added: {embedded}.sum(2)"
