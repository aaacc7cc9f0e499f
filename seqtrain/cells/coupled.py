"""The LSTM whose input and forget gates are one."""

import torch
from torch import Tensor, nn

from seqtrain.cells.base import GateCell, LSTMState, RecurrentInit, init_memory


class CoupledCell(GateCell):
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

    Differs from the paper: peepholes are optional and off by default.
    """

    gates = ("f", "g", "o")
    state_type = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        peepholes: bool = False,
        forget_bias: float | None = None,
        chrono: int | None = None,
        recurrent_init: RecurrentInit = "orthogonal",
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, recurrent_init=recurrent_init, learn_initial_state=learn_initial_state
        )
        self.p = nn.Parameter(torch.zeros(2, hidden_size)) if peepholes else None
        init_memory(self.block(self.b, "f"), None, forget_bias, chrono)

    def step(self, x_gates: Tensor, state: LSTMState) -> LSTMState:
        """One step: `[B, 3H]` and the old state to the new state."""
        f, g, o = torch.addmm(x_gates, state.hidden, self.w_h.t()).chunk(3, -1)  # [B, H] each
        if self.p is not None:
            f = f + self.p[0] * state.cell
        cell = torch.lerp(torch.tanh(g), state.cell, torch.sigmoid(f))
        if self.p is not None:
            o = o + self.p[1] * cell
        return LSTMState(torch.sigmoid(o) * torch.tanh(cell), cell)
