"""The LSTM whose input and forget gates are one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqtrain.cells.base import LSTMState, MemoryCell


@dataclass(eq=False, repr=False, kw_only=True)
class CoupledCell(MemoryCell):
    r"""LSTM with coupled input and forget gates (CIFG; Greff et al. 2017).

        f  = sigmoid(W_xf x + W_hf h [+ p_f * c ] + b_f)        forget gate; the input gate is 1 - f
        g  = tanh(W_xg x + W_hg h + b_g)                        candidate
        c' = f * c + (1 - f) * g                                cell
        o  = sigmoid(W_xo x + W_ho h [+ p_o * c'] + b_o)        output gate: sees the NEW cell
        h' = o * tanh(c')                                       hidden

    Parameters
    ----------
    w_x [3H, I], w_h [3H, H], b [3H]; blocks f, g, o. With peepholes, p [2, H]; rows f, o.

    Initialisation
    --------------
    As the LSTM, without the input gate; p zero.

    Differs from the paper: the forget gate has the weights and the input gate is 1 - f; Greff et al. keep the input
    gate and forget with 1 - i, which is the same with the signs of the weights turned. Peepholes are optional and off
    by default.
    """

    gates = ("f", "g", "o")
    state_type = LSTMState

    peepholes: bool = False
    """Let the gates see the cell."""

    def __post_init__(self) -> None:
        """Make the parameters and draw them."""
        super().__post_init__()
        self.p = nn.Parameter(torch.zeros(2, self.hidden_size)) if self.peepholes else None
        self.init_memory()

    def step(self, x_gates: Tensor, state: LSTMState) -> LSTMState:
        """One step: `[B, 3H]` and the old state to the new state."""
        f, g, o = torch.addmm(x_gates, state.hidden, self.w_h.t()).chunk(3, -1)  # [B, H] each
        if self.p is not None:
            f = f + self.p[0] * state.cell
        f, g = self.observe(f=torch.sigmoid(f), g=torch.tanh(g))
        cell = self.observe(cell=torch.lerp(g, state.cell, f))
        if self.p is not None:
            o = o + self.p[1] * cell
        o = self.observe(o=torch.sigmoid(o))
        return LSTMState(o * torch.tanh(cell), cell)
