"""The loop over time in one call of the native engine, for the cells that it has kernels for, in float32 on the CPU."""

from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell, CoupledCell, GRUCell, LSTMCell, PeepholeCell, RNNCell
from seqtrain.cells.base import GateCell
from seqtrain.recurrence import autograd as sequence
from seqtrain.recurrence.library import library
from seqtrain.recurrence.reference import unroll_reference as unroll


def has_kernel(cell: Cell) -> bool:
    """Whether the engine has a kernel for the cell; one derived from a cell that it knows may do something else."""
    own = {"step", "project", "initial_state"} & vars(cell).keys()
    return type(cell) in (LSTMCell, PeepholeCell, CoupledCell, GRUCell, RNNCell) and not own


def why_not_fused(cell: Cell) -> str | None:
    """The reason why the engine does not serve a cell; None if it does."""
    if not has_kernel(cell):
        return f"the engine has no kernel for {type(cell).__name__}"
    for parameter in cell.parameters():
        if parameter.device.type != "cpu":
            return f"the engine runs on the CPU, not on {parameter.device.type}"
        if parameter.dtype != torch.float32:
            return f"the engine computes in float32, not in {str(parameter.dtype).removeprefix('torch.')}"
    found = library()
    return found if isinstance(found, str) else None


def unroll_fused(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences: `unroll` for what `why_not_fused` has no word against.

    Gradients of gradients raise a RuntimeError; forward-mode derivatives are not seen.

    Raises
    ------
    ValueError : the engine does not serve the cell, or a tensor has another shape, type or place than it needs.
    """
    if 0 in x.shape:
        return unroll(cell, x, state, lengths=lengths, reverse=reverse)
    T, B = x.shape[:2]
    starts_at_zero = state is None and not cell.learn_initial_state
    state = cell.initial_state(B) if state is None else state
    _check(cell, x, state, lengths)
    if lengths is not None:
        lengths = lengths.to(torch.int64, copy=True).contiguous()  # backward needs what they are now
        inside = torch.arange(T, device="cpu")[:, None, None] < lengths[:, None]  # [T, B, 1]
        x = x.where(inside, 0.0)  # a NaN in the padding would reach the gradient of w_x through a product with zero
    assert isinstance(cell, GateCell)
    plan = sequence.Plan(_kernel_of(cell), lengths, reverse, starts_at_zero)
    outputs, last = sequence.run(plan, x, cell.w_x, cell.w_h, cell.bias(), _vectors_of(cell), *state)
    return outputs, type(state)(*last)


def backward_width(cell: Cell) -> int:
    """Numbers that the backward pass fills for each step of a sequence, before those of the input's gradient."""
    return sequence.KERNELS[_kernel_of(cell)].total * cell.hidden_size


def packed_bytes(cell: Cell) -> int:
    """Bytes of `w_h` as the engine packs it for a walk, in either direction; the room is kept for the next one."""
    return 4 * len(cell.get_parameter("w_h")) * -(-cell.hidden_size // LANES) * LANES


LANES = 16
"""Floats in the widest vector of an engine; the last vector of a row is filled up."""


def _kernel_of(cell: Cell) -> str:
    if isinstance(cell, GRUCell):
        return "gru_before" if cell.b_hn is None else "gru_after"
    if isinstance(cell, RNNCell):
        return f"rnn_{cell.nonlinearity}"
    if isinstance(cell, CoupledCell):
        return "coupled" if cell.p is None else "coupled_peepholes"
    return "peephole" if isinstance(cell, PeepholeCell) else "lstm"


def _vectors_of(cell: Cell) -> Any:
    """The parameters that act unit by unit, or None: peepholes, or b_hn of a GRU."""
    vectors: Any = cell.p if hasattr(cell, "p") else getattr(cell, "b_hn", None)
    return vectors


def _check(cell: Cell, x: Tensor, state: Any, lengths: Tensor | None) -> None:
    """What the engine is handed are bare addresses: nothing may be otherwise than it believes."""
    if not has_kernel(cell) or isinstance(library(), str):
        raise ValueError(why_not_fused(cell))
    assert isinstance(cell, GateCell)
    (T, B), H, rows = x.shape[:2], cell.hidden_size, len(cell.gates) * cell.hidden_size
    if getattr(state, "_fields", None) != cell.state_type._fields:
        raise ValueError(
            f"state is a {type(state).__name__}; a {type(cell).__name__} needs a {cell.state_type.__name__}"
        )
    wanted = {"x": (x, (T, B, cell.input_size)), "w_x": (cell.w_x, (rows, cell.input_size))}
    wanted |= {"w_h": (cell.w_h, (rows, H)), "b": (cell.bias(), (rows,))}
    wanted |= {name: (part, (B, H)) for name, part in state._asdict().items()}
    if (vectors := _vectors_of(cell)) is not None:
        wanted["p or b_hn"] = (vectors, {"peephole": (3, H), "gru_after": (H,)}.get(_kernel_of(cell), (2, H)))
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"{name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}; the engine needs torch.float32 "
                f"{list(shape)} on cpu"
            )
    if lengths is None:
        return
    whole = not lengths.is_floating_point() and lengths.device.type == "cpu"
    if not whole or lengths.shape != (B,) or bool(((lengths < 0) | (lengths > T)).any()):
        raise ValueError(f"lengths must be {B} whole numbers from 0 to {T}; got {lengths.tolist()}")
