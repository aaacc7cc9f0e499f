"""The gated recurrent unit, in both of its published forms."""

from typing import Literal

import torch
from torch import Tensor, nn

from seqtrain.cells.base import GateCell, HiddenState, RecurrentInit, init_memory


class GRUCell(GateCell):
    r"""Gated recurrent unit (Cho et al. 2014).

        r  = sigmoid(W_xr x + W_hr h + b_r)                     reset gate
        z  = sigmoid(W_xz x + W_hz h + b_z)                     update gate: 1 keeps the OLD state
        n  = tanh(W_xn x + r * (W_hn h + b_hn) + b_n)           candidate, reset: after
        n  = tanh(W_xn x + W_hn (r * h) + b_n)                  candidate, reset: before
        h' = (1 - z) * n + z * h                                hidden

    Parameters
    ----------
    w_x [3H, I], w_h [3H, H], b [3H]; blocks r, z, n. With `reset: after` also b_hn [H].

    Initialisation
    --------------
    w_x Glorot uniform, w_h orthogonal or uniform, b and b_hn zero but for b_z = forget_bias, since z is the gate
    that multiplies the old state; with chrono T, b_z ~ log U[1, T-1].

    Differs from the paper: `reset: before` is the paper's, `reset: after` is that of cuDNN and PyTorch. Chung et
    al. (2014) and some libraries swap the roles of z and 1 - z.
    """

    gates = ("r", "z", "n")
    state_type = HiddenState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset: Literal["after", "before"] = "after",
        forget_bias: float | None = None,
        chrono: int | None = None,
        recurrent_init: RecurrentInit = "orthogonal",
        learn_initial_state: bool = False,
    ) -> None:
        super().__init__(
            input_size, hidden_size, recurrent_init=recurrent_init, learn_initial_state=learn_initial_state
        )
        self.b_hn = nn.Parameter(torch.zeros(hidden_size)) if reset == "after" else None
        init_memory(self.block(self.b, "z"), None, forget_bias, chrono)

    def step(self, x_gates: Tensor, state: HiddenState) -> HiddenState:
        """One step: `[B, 3H]` and the old state to the new state."""
        h, H = state.hidden, self.hidden_size
        x_rz, x_n = x_gates[:, : 2 * H], x_gates[:, 2 * H :]
        w_rz, w_n = self.w_h[: 2 * H].t(), self.w_h[2 * H :].t()
        r, z = torch.sigmoid(torch.addmm(x_rz, h, w_rz)).chunk(2, -1)  # [B, H] each
        if self.b_hn is None:
            n = torch.tanh(torch.addmm(x_n, r * h, w_n))
        else:
            n = torch.tanh(x_n + r * torch.addmm(self.b_hn, h, w_n))
        return HiddenState(torch.lerp(n, h, z))
