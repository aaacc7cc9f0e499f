"""The LSTM with forget gate."""

from dataclasses import dataclass

import torch
from torch import Tensor

from seqtrain.cells.base import LSTMState, MemoryCell, TwoBiasCell


@dataclass(eq=False, repr=False, kw_only=True)
class LSTMCell(TwoBiasCell, MemoryCell):
    r"""LSTM (Hochreiter & Schmidhuber 1997) with forget gate (Gers, Schmidhuber & Cummins 2000).

        i  = sigmoid(W_xi x + W_hi h + b_i)                     input gate
        f  = sigmoid(W_xf x + W_hf h + b_f)                     forget gate
        g  = tanh(W_xg x + W_hg h + b_g)                        candidate
        o  = sigmoid(W_xo x + W_ho h + b_o)                     output gate
        c' = f * c + i * g                                      cell
        h' = o * tanh(c')                                       hidden

    Parameters
    ----------
    w_x [4H, I], w_h [4H, H], b [4H]; blocks i, f, g, o. With `biases: 2` also b_h [4H], b + b_h for b above.

    Initialisation
    --------------
    w_x Glorot uniform, w_h orthogonal or uniform, b zero but for b_f = forget_bias; with chrono T,
    b_f ~ log U[1, T-1] and b_i = -b_f.

    Differs from the papers: tanh for both squashings; full gradient.
    """

    gates = ("i", "f", "g", "o")
    state_type = LSTMState

    def __post_init__(self) -> None:
        """Make the parameters and draw them."""
        super().__post_init__()
        self.init_memory("i")

    def step(self, x_gates: Tensor, state: LSTMState) -> LSTMState:
        """One step: `[B, 4H]` and the old state to the new state."""
        i, f, g, o = torch.addmm(x_gates, state.hidden, self.w_h.t()).chunk(4, -1)  # [B, H] each
        i, f, g, o = self.observe(i=torch.sigmoid(i), f=torch.sigmoid(f), g=torch.tanh(g), o=torch.sigmoid(o))
        cell = self.observe(cell=f * state.cell + i * g)
        return LSTMState(o * torch.tanh(cell), cell)
