"""The weights in the layout of Keras 3.

kernel [I, G*H], recurrent_kernel [H, G*H], bias [G*H]; gates i, f, c, o of an LSTM and z, r, h of a GRU
bias [2, 3H] of a GRU with reset_after: that of the inputs, then that of the recurrent product
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from seqtrain.cells import GRUCell
from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Content, Options
from seqtrain.interchange.gate_order import KERAS, TORCH, reordered
from seqtrain.interchange.layer_arrays import arrays_of, written
from seqtrain.interchange.plain_cell import PlainCell
from seqtrain.interchange.remarks import Code, remarks_on

CODE = Code(
    "keras.ops.one_hot(x, {size}){added}",
    "Embedding(...)(x)",
    "SimpleRNN(..., activation='relu')",
    "Bidirectional(..., merge_mode='sum')",
)


def write(trained: Trained, _: Options) -> Content:
    """The file of a trained model.

    Raises
    ------
    ConfigError : Keras has no such cell or head.
    """
    arrays = arrays_of(trained, "keras", layer, "embeddings")
    return written("keras.npz", trained, arrays, _remarks(trained))


def _remarks(trained: Trained) -> Iterator[str]:
    yield from remarks_on(trained, CODE)
    cell = trained.model.stack.cells()[0][0]
    if isinstance(cell, GRUCell) and cell.reset == "before":
        yield "the reset gate acts before the product: GRU(..., reset_after=False)"


def layer(cell: PlainCell) -> dict[str, Tensor]:
    """The arrays of one direction of a layer."""
    w_x, w_h, bias = (reordered(rows, TORCH[cell.kind], KERAS[cell.kind]) for rows in (cell.w_x, cell.w_h, cell.b))
    if cell.b_hn is not None:
        recurrent = torch.zeros_like(bias)
        recurrent[-len(cell.b_hn) :] = cell.b_hn
        bias = torch.stack([bias, recurrent])
    return {"kernel": w_x.t(), "recurrent_kernel": w_h.t(), "bias": bias}
