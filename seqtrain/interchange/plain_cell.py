"""The cells that other programs have too: the LSTM, the GRU and the plain RNN, and what is one of these."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.cells import CELLS, CoupledCell, GRUCell, LSTMCell, OdysseyCell, PeepholeCell, RNNCell
from seqtrain.system.settings import Named

Kind = Literal["lstm", "gru", "rnn"]


class PlainCell(NamedTuple):
    """The weights of an LSTM, a GRU or a plain RNN.

    w_x, w_h, b : `[G*H, I]`, `[G*H, H]` and `[G*H]`; blocks in the order of `gate_order.TORCH`.
    b_hn : `[H]`, of a GRU that resets after the recurrent product; None of any other.
    p : `[3, H]`, the peepholes of the gates i, f and o; None if there are none.
    """

    kind: Kind
    w_x: Tensor
    w_h: Tensor
    b: Tensor
    b_hn: Tensor | None = None
    p: Tensor | None = None


def described(cell: Named) -> str:
    """A cell with the options for which other programs may not have it: `cell odyssey with ablation coupled`."""
    options = cell.options()
    ablation = f" with ablation {options['ablation']}" if "ablation" in options else ""
    return f"cell {cell.name}{ablation}" + " with peepholes" * bool(options.get("peepholes"))


def plain_cell(cell: nn.Module) -> PlainCell | None:
    """The cell as one of these; None if it is none. The step of a user's own is Python, whatever it derives from."""
    if type(cell) not in CELLS.values():
        return None
    if isinstance(cell, GRUCell):
        b_hn = None if cell.b_hn is None else cell.b_hn.detach()
        return PlainCell("gru", cell.w_x.detach(), cell.w_h.detach(), cell.bias().detach(), b_hn)
    if isinstance(cell, RNNCell):
        return PlainCell("rnn", cell.w_x.detach(), cell.w_h.detach(), cell.bias().detach())
    is_lstm = isinstance(cell, LSTMCell | PeepholeCell | CoupledCell)
    if is_lstm or (isinstance(cell, OdysseyCell) and cell.ablation in ("none", "no_peepholes", "coupled")):
        return _lstm(cell)  # type: ignore[arg-type]  # mypy forgets the classes
    return None


def _lstm(cell: CoupledCell | LSTMCell | OdysseyCell | PeepholeCell) -> PlainCell:
    """An LSTM. If its gates are coupled, its input gate has the weights of the forget gate with the other sign.

    That is right since 1 - sigmoid(x) = sigmoid(-x).
    """
    weights, p, H = [cell.w_x, cell.w_h, cell.bias()], getattr(cell, "p", None), cell.hidden_size
    if cell.gates == ("f", "g", "o"):
        weights = [torch.cat([-rows[:H], rows]) for rows in weights]
        p = None if p is None else torch.cat([-p[:1], p])
    w_x, w_h, b = (rows.detach() for rows in weights)
    return PlainCell("lstm", w_x, w_h, b, p=None if p is None else p.detach())
