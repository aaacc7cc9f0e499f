"""The gated recurrent unit, in both of its published forms."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from seqtrain.cells.base import HiddenState, MemoryCell


@dataclass(eq=False, repr=False, kw_only=True)
class GRUCell(MemoryCell):
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
    keeps = "z"
    state_type = HiddenState

    reset: Literal["after", "before"] = "after"
    """Apply the reset gate after the recurrent product (PyTorch, cuDNN) or before it (Cho et al. 2014)."""

    def __post_init__(self) -> None:
        """Make the parameters and draw them."""
        super().__post_init__()
        self.b_hn = nn.Parameter(torch.zeros(self.hidden_size)) if self.reset == "after" else None
        self.init_memory()

    def step(self, x_gates: Tensor, state: HiddenState) -> HiddenState:
        """One step: `[B, 3H]` and the old state to the new state."""
        h, H = state.hidden, self.hidden_size
        x_rz, x_n = x_gates[:, : 2 * H], x_gates[:, 2 * H :]
        w_rz, w_n = self.w_h[: 2 * H].t(), self.w_h[2 * H :].t()
        r, z = torch.sigmoid(torch.addmm(x_rz, h, w_rz)).chunk(2, -1)  # [B, H] each
        r, z = self.observe(r=r, z=z)
        if self.b_hn is None:
            n = self.observe(n=torch.tanh(torch.addmm(x_n, r * h, w_n)))
        else:
            n = self.observe(n=torch.tanh(x_n + r * torch.addmm(self.b_hn, h, w_n)))
        return HiddenState(torch.lerp(n, h, z))
