"""The plain recurrent network."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqtrain.cells.base import HiddenState, TwoBiasCell


@dataclass(eq=False, repr=False, kw_only=True)
class RNNCell(TwoBiasCell):
    r"""Plain RNN (Elman 1990).

        h' = tanh(W_x x + W_h h + b)                            or relu

    Parameters
    ----------
    w_x [H, I], w_h [H, H], b [H]; with `biases: 2` also b_h [H], b + b_h for b above.

    Initialisation
    --------------
    w_x Glorot uniform, w_h orthogonal or uniform, b zero.

    Differs from the paper: one bias unless asked for two; Elman's context units were trained without back-propagation
    through time.
    """

    gates = ("h",)
    state_type = HiddenState

    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """The activation."""

    def step(self, x_gates: Tensor, state: HiddenState) -> HiddenState:
        """One step: `[B, H]` and the old state to the new state."""
        h = torch.addmm(x_gates, state.hidden, self.w_h.t())
        h = self.observe(h=torch.tanh(h) if self.nonlinearity == "tanh" else torch.relu(h))
        return HiddenState(h)
