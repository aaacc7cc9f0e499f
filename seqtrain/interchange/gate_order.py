"""The order in which other programs keep the gates of a cell."""

from collections.abc import Sequence

import torch
from torch import Tensor

TORCH = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("h",)}
"""PyTorch and cuDNN, as seqtrain."""
KERAS = {"lstm": ("i", "f", "g", "o"), "gru": ("z", "r", "n"), "rnn": ("h",)}
ONNX = {"lstm": ("i", "o", "f", "g"), "gru": ("z", "r", "n"), "rnn": ("h",)}


def reordered(rows: Tensor, gates: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The blocks of a weight or a bias in another order: `[G*H, ...]` to `[len(wanted)*H, ...]`.

    Parameters
    ----------
    gates : the order of `rows`, G names.
    wanted : names of these, in the new order; one may come twice.
    """
    blocks = dict(zip(gates, rows.detach().chunk(len(gates)), strict=True))
    return torch.cat([blocks[gate] for gate in wanted])
