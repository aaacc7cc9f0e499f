"""How the kinds of LSTM differ, for code that has the equations of all of them: kernels and exported models."""

from typing import NamedTuple

from seqtrain.cells.base import GateCell
from seqtrain.cells.coupled import CoupledCell
from seqtrain.cells.lstm import LSTMCell
from seqtrain.cells.odyssey import OdysseyCell
from seqtrain.cells.peephole import PeepholeCell

LSTMS = (LSTMCell, PeepholeCell, CoupledCell, OdysseyCell)
"""The cells that are kinds of LSTM."""


class LSTMKind(NamedTuple):
    """How an LSTM differs from the others. A gate that is not among the blocks, and not coupled, is 1.

    blocks : the gates that have weights, in order.
    peepholes : the gates that see the memory, in the order of the rows of `p`.
    is_coupled : the input gate is one minus the forget gate.
    squashes_input, squashes_output : tanh of the candidate, and of the memory.
    sees_gates : the gates see those of the step before.
    """

    blocks: tuple[str, ...]
    peepholes: tuple[str, ...] = ()
    is_coupled: bool = False
    squashes_input: bool = True
    squashes_output: bool = True
    sees_gates: bool = False


def lstm_kind(cell: GateCell) -> LSTMKind:
    """What kind of LSTM a cell is."""
    if isinstance(cell, LSTMCell):
        return LSTMKind(cell.gates)
    if isinstance(cell, PeepholeCell):
        return LSTMKind(cell.gates, ("i", "f", "o"))
    if isinstance(cell, CoupledCell):
        return LSTMKind(cell.gates, ("f", "o") if cell.peepholes else (), is_coupled=True)
    assert isinstance(cell, OdysseyCell)
    return LSTMKind(
        cell.gates,
        cell.peepholes,
        is_coupled=cell.ablation == "coupled",
        squashes_input=cell.ablation != "no_input_activation",
        squashes_output=cell.ablation != "no_output_activation",
        sees_gates=cell.w_gates is not None,
    )
