"""The cells that `torch.nn` has too, in torch's own functions on our weights. On a GPU that is cuDNN.

The same functions run on the CPU, where the tests compare them with the plain loop.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.cells.base import GateCell, TwoBiasCell
from seqtrain.recurrence.checks import autocast_type, check_tensors, why_step_by_step
from seqtrain.recurrence.kernels import kernel_of
from seqtrain.recurrence.reference import unroll_reference

_FUNCTIONS: dict[str | None, Any] = {
    "lstm": torch.lstm,
    "gru_after": torch.gru,
    "rnn_tanh": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
}
"""By the names of the kernels of the compiled engine; the blocks of all gates stand in the same order."""


def why_not_cudnn(cell: Cell, x: Tensor | None = None, state: Any = None, lengths: Tensor | None = None) -> str | None:
    """Why torch has no function for a cell, on these inputs if they are given; None if it has one."""
    if kernel_of(cell) not in _FUNCTIONS:
        return f"cuDNN has no function for {type(cell).__name__}"
    return why_step_by_step(cell, x, state, lengths)


def unroll_cudnn(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences, as `unroll_reference` does.

    Under autocast the products and what is kept between two steps have the type of autocast; outputs, state and the
    gradients of the weights have that of the weights. torch's own autocast of these functions would compute in float16
    whatever type is asked for, so it is off here.

    Raises
    ------
    ValueError : torch has no function for the cell, or a tensor has another shape, type or device than it needs.
    """
    if 0 in x.shape or (lengths is not None and not lengths.any()):
        return unroll_reference(cell, x, state, lengths=lengths, reverse=reverse)
    if (reason := why_not_cudnn(cell, x, state, lengths)) is not None:
        raise ValueError(reason)
    assert isinstance(cell, GateCell)
    state = cell.initial_state(x.shape[1]) if state is None else state
    check_tensors(cell, x, state, lengths)
    dtype = autocast_type(x) or x.dtype
    with torch.autocast(x.device.type, enabled=False):
        if lengths is None:
            outputs, last = _run(cell, x.flip(0) if reverse else x, state, dtype)
            return outputs.flip(0) if reverse else outputs, type(state)(*last)
        return _run_packed(cell, x, state, dtype, _packed(lengths, reverse))


class _Packed(NamedTuple):
    """Where the steps of sequences of different lengths are in packed data.

    order : `[N]` the sequences that have a step, from the longest to the shortest.
    rows : for each row of the packed data, the row of `[T*B, ...]`.
    batch_sizes : how many sequences have a first step, a second step, and so on; on the CPU.
    """

    order: Tensor
    rows: Tensor
    batch_sizes: Tensor


def _packed(lengths: Tensor, reverse: bool) -> _Packed:
    """Each sequence from its first step to its last, or from its last to its first."""
    at, lengths = lengths.device, lengths.cpu()
    order = lengths.argsort(descending=True, stable=True)[: int((lengths > 0).sum())]
    ends = lengths[order]
    steps, columns = (torch.arange(int(ends[0]), device="cpu")[:, None] < ends).nonzero(as_tuple=True)
    times = ends[columns] - 1 - steps if reverse else steps
    return _Packed(order.to(at), (times * len(lengths) + order[columns]).to(at), torch.bincount(steps))


def _run_packed(cell: GateCell, x: Tensor, state: Any, dtype: torch.dtype, packed: _Packed) -> tuple[Tensor, Any]:
    """Run the steps that are no padding; all others are zero, and a sequence without a step keeps its state."""
    T, B = x.shape[:2]
    first = [part.index_select(0, packed.order) for part in state]
    data = x.flatten(0, 1).index_select(0, packed.rows)
    values, last = _run(cell, data, first, dtype, packed.batch_sizes)
    outputs = values.new_zeros(T * B, values.shape[-1]).index_copy(0, packed.rows, values)
    whole = (old.index_copy(0, packed.order, new) for old, new in zip(state, last, strict=True))
    return outputs.view(T, B, -1), type(state)(*whole)


def _run(
    cell: GateCell, x: Tensor, state: Any, dtype: torch.dtype, batch_sizes: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """One layer forward: `[T, B, I]`, or packed data `[N, I]`, to the outputs and the last state."""
    first = [part.to(dtype).unsqueeze(0).contiguous() for part in state]
    hx = first if len(first) > 1 else first[0]
    options = (True, 1, 0.0, torch.is_grad_enabled(), False)  # biases, layers, dropout, training, bidirectional
    function = _FUNCTIONS[kernel_of(cell)]
    if batch_sizes is None:
        outputs, *last = function(x.to(dtype), hx, _weights(cell, dtype), *options, False)
    else:
        outputs, *last = function(x.to(dtype), batch_sizes, hx, _weights(cell, dtype), *options)
    own = cell.w_h.dtype
    return outputs.to(own), [part.squeeze(0).to(own) for part in last]


def _weights(cell: GateCell, dtype: torch.dtype) -> list[Tensor]:
    """`w_x`, `w_h` and the two biases of torch, one after another in a single array, as cuDNN wants them.

    Where they are not, torch copies each of them at every call, with a warning.
    """
    if getattr(cell, "b_hn", None) is not None:
        b_h = torch.cat([cell.b.new_zeros(2 * cell.hidden_size), cell.get_parameter("b_hn")])
    else:
        b_h = cell.b_h if isinstance(cell, TwoBiasCell) and cell.b_h is not None else torch.zeros_like(cell.b)
    parts = [cell.w_x, cell.w_h, cell.b, b_h]
    flat = torch.cat([part.flatten() for part in parts]).to(dtype)
    pieces = torch.split(flat, [part.numel() for part in parts])
    return [piece.view_as(part) for piece, part in zip(pieces, parts, strict=True)]
