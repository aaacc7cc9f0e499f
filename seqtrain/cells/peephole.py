"""The LSTM with peephole connections."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqtrain.cells.base import LSTMState, MemoryCell


@dataclass(eq=False, repr=False, kw_only=True)
class PeepholeCell(MemoryCell):
    r"""LSTM whose gates also see the cell (Gers, Schraudolph & Schmidhuber 2002).

        i  = sigmoid(W_xi x + W_hi h + p_i * c  + b_i)          input gate
        f  = sigmoid(W_xf x + W_hf h + p_f * c  + b_f)          forget gate
        g  = tanh(W_xg x + W_hg h + b_g)                        candidate
        c' = f * c + i * g                                      cell
        o  = sigmoid(W_xo x + W_ho h + p_o * c' + b_o)          output gate: sees the NEW cell
        h' = o * tanh(c')                                       hidden

    Parameters
    ----------
    w_x [4H, I], w_h [4H, H], b [4H]; blocks i, f, g, o. Peepholes p [3, H]; rows i, f, o.

    Initialisation
    --------------
    As the LSTM; p zero, so that a new peephole LSTM computes what a new LSTM of the same seed computes.

    Differs from the paper: the gradient also flows through the peepholes, not only into their weights.
    """

    gates = ("i", "f", "g", "o")
    state_type = LSTMState

    def __post_init__(self) -> None:
        """Make the parameters and draw them."""
        super().__post_init__()
        self.p = nn.Parameter(torch.zeros(3, self.hidden_size))
        self.init_memory("i")

    def step(self, x_gates: Tensor, state: LSTMState) -> LSTMState:
        """One step: `[B, 4H]` and the old state to the new state."""
        i, f, g, o = torch.addmm(x_gates, state.hidden, self.w_h.t()).chunk(4, -1)  # [B, H] each
        p_i, p_f, p_o = self.p
        i = self.observe(i=torch.sigmoid(i + p_i * state.cell))
        f = self.observe(f=torch.sigmoid(f + p_f * state.cell))
        g = self.observe(g=torch.tanh(g))
        cell = self.observe(cell=f * state.cell + i * g)
        o = self.observe(o=torch.sigmoid(o + p_o * cell))
        return LSTMState(o * torch.tanh(cell), cell)
