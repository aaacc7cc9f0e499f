"""The weights in the layout of `flax.linen`: for each gate a kernel for the inputs and one for the old output.

LSTMCell, OptimizedLSTMCell    ii if ig io: kernel [I, H]            hi hf hg ho: kernel [H, H], bias [H]
GRUCell                        ir iz in: kernel [I, H], bias [H]     hr hz: kernel; hn: kernel, bias
SimpleCell                     i: kernel, bias                       h: kernel
"""

from torch import Tensor

from seqtrain.inference.load import Trained
from seqtrain.interchange.content import Content, Options
from seqtrain.interchange.gate_order import TORCH
from seqtrain.interchange.layer_arrays import arrays_of, written
from seqtrain.interchange.plain_cell import PlainCell
from seqtrain.interchange.remarks import Code, remarks_on

CODE = Code(
    "jax.nn.one_hot(x, {size}){added}",
    "embedding[x]",
    "SimpleCell(..., activation_fn=jax.nn.relu)",
    "Bidirectional(..., merge_fn=jnp.add)",
)


def write(trained: Trained, _: Options) -> Content:
    """The file of a trained model.

    Raises
    ------
    ConfigError : Flax has no such cell or head.
    """
    arrays = arrays_of(trained, "flax", layer, "embedding")
    return written("flax.npz", trained, arrays, remarks_on(trained, CODE))


def layer(cell: PlainCell) -> dict[str, Tensor]:
    """The arrays of one direction of a layer."""
    gates = ("",) if cell.kind == "rnn" else TORCH[cell.kind]
    blocks = zip(gates, *(rows.chunk(len(gates)) for rows in (cell.w_x, cell.w_h, cell.b)), strict=True)
    arrays: dict[str, Tensor] = {}
    for gate, w_x, w_h, b in blocks:
        side = "h" if cell.kind == "lstm" else "i"  # where Flax keeps the bias
        arrays |= {f"i{gate}/kernel": w_x.t(), f"h{gate}/kernel": w_h.t(), f"{side}{gate}/bias": b}
    return arrays if cell.b_hn is None else arrays | {"hn/bias": cell.b_hn}
