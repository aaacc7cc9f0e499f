"""Turn recurrent weights of `torch.nn` into those of a cell that computes the same.

    nn.LSTM   lstm        b = bias_ih, b_h = bias_hh (`biases: 2`)
              peephole    b = bias_ih + bias_hh, p = 0
              odyssey     likewise, with `ablation: none` or `no_peepholes`
    nn.GRU    gru         `reset: after`; b of r and z = bias_ih + bias_hh, of n = bias_ih; b_hn = bias_hh of n
    nn.RNN    rnn         b = bias_ih, b_h = bias_hh (`biases: 2`); the nonlinearity is in no file

The gates are in the same order. What a file lacks is zero.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seqtrain.interchange.torch_recurrent import NAMES, CellWeights
from seqtrain.system.settings import Named

CELLS_OF_KIND = {"lstm": ("lstm", "peephole", "odyssey"), "gru": ("gru",), "rnn": ("rnn",)}
"""The cells that hold the weights of a kind."""


def why_not(cell: Named, kind: str) -> str | None:
    """Why a cell cannot compute what the weights of a kind do, with the cure; None if it can."""
    usable = CELLS_OF_KIND[kind]
    if cell.name not in usable:
        cure = " or ".join(f"model.cell={name}" for name in usable[:2])
        return f"model.cell is {cell.name!r}, but the weights are those of {NAMES[kind]}; use {cure}"
    if cell.name == "gru" and cell.options()["reset"] != "after":
        return "model.cell.reset is 'before', but the GRU of PyTorch applies its reset gate after; use reset=after"
    ablation = cell.options().get("ablation", "none")
    if ablation not in ("none", "no_peepholes"):
        return f"model.cell.ablation is {ablation!r}, which {NAMES[kind]} has not; use none or no_peepholes"
    return None


def settings_of(cell: Named, *, has_biases: bool) -> dict[str, Any]:
    """Settings of a cell that follow from its weights."""
    return {"biases": 2} if cell.name in ("lstm", "rnn") and has_biases else {}


def _two_biases(weights: CellWeights) -> dict[str, Tensor]:
    return {} if weights.b_ih is None or weights.b_hh is None else {"b": weights.b_ih, "b_h": weights.b_hh}


def _one_bias(weights: CellWeights) -> dict[str, Tensor]:
    return {} if weights.b_ih is None or weights.b_hh is None else {"b": weights.b_ih + weights.b_hh}


def _gru_biases(weights: CellWeights) -> dict[str, Tensor]:
    if weights.b_ih is None or weights.b_hh is None:
        return {}
    rz = 2 * weights.w_hh.shape[1]
    b = torch.cat([weights.b_ih[:rz] + weights.b_hh[:rz], weights.b_ih[rz:]])
    return {"b": b, "b_hn": weights.b_hh[rz:]}


_BIASES: Mapping[str, Callable[[CellWeights], dict[str, Tensor]]] = {
    "lstm": _two_biases,
    "rnn": _two_biases,
    "peephole": _one_bias,
    "odyssey": _one_bias,
    "gru": _gru_biases,
}


def weights_of_cell(cell: str, weights: CellWeights) -> dict[str, Tensor]:
    """The parameters of a cell by name; the others are zero."""
    return {"w_x": weights.w_ih, "w_h": weights.w_hh} | _BIASES[cell](weights)
