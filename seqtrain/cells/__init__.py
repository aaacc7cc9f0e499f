"""The recurrent cells. `CELLS` is the registry: the name in a config, and the class."""

from seqtrain.cells.base import Cell, HiddenState, LSTMState
from seqtrain.cells.coupled import CoupledCell
from seqtrain.cells.gru import GRUCell
from seqtrain.cells.lstm import LSTMCell
from seqtrain.cells.odyssey import GatesState, OdysseyCell
from seqtrain.cells.peephole import PeepholeCell
from seqtrain.cells.rnn import RNNCell

CELLS: dict[str, type[Cell]] = {
    "rnn": RNNCell,
    "lstm": LSTMCell,
    "peephole": PeepholeCell,
    "coupled": CoupledCell,
    "gru": GRUCell,
    "odyssey": OdysseyCell,
}

__all__ = [
    "CELLS",
    "Cell",
    "CoupledCell",
    "GRUCell",
    "GatesState",
    "HiddenState",
    "LSTMCell",
    "LSTMState",
    "OdysseyCell",
    "PeepholeCell",
    "RNNCell",
]
