"""The loop over time in one call of the compiled engine, for the cells that have a kernel, in float32 on the CPU."""

from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.cells.base import GateCell
from seqtrain.native.library import library
from seqtrain.native.storage import storage
from seqtrain.recurrence import autograd
from seqtrain.recurrence.checks import padded, why_step_by_step
from seqtrain.recurrence.kernels import KERNELS, kernel_of
from seqtrain.recurrence.reference import check_lengths, unroll_reference


def why_not_fused(cell: Cell, x: Tensor | None = None, state: Any = None, lengths: Tensor | None = None) -> str | None:
    """Why the engine cannot run a cell, on these inputs if they are given; None if it can."""
    if kernel_of(cell) is None:
        return f"the engine has no kernel for {type(cell).__name__}"
    if (reason := why_step_by_step(cell, x, state, lengths)) is not None:
        return reason
    for parameter in cell.parameters():
        if parameter.device.type != "cpu":
            return f"the engine runs on the CPU, not on {parameter.device.type}"
        if parameter.dtype != torch.float32:
            return f"the engine computes in float32, not in {str(parameter.dtype).removeprefix('torch.')}"
    engine = library()
    return engine if isinstance(engine, str) else None


def unroll_fused(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences, as `unroll_reference` does.

    Gradients of gradients raise a RuntimeError.

    Raises
    ------
    ValueError : the engine cannot run the cell, or a tensor has another shape, type or device than it needs.
    """
    if 0 in x.shape:
        return unroll_reference(cell, x, state, lengths=lengths, reverse=reverse)
    if (reason := why_not_fused(cell, x, state, lengths)) is not None:
        raise ValueError(reason)
    assert isinstance(cell, GateCell)
    T, B = x.shape[:2]
    starts_at_zero = state is None and not cell.learn_initial_state
    state = cell.initial_state(B) if state is None else state
    vectors = _check(cell, kernel := kernel_of(cell) or "", x, state, lengths)
    if (own := padded(lengths, T)) is not None:
        lengths, x = own.lengths, own.clear(x)
    plan = autograd.Plan(kernel, lengths, reverse, starts_at_zero, storage())
    outputs, last = autograd.run(plan, x, cell.w_x, cell.w_h, cell.bias(), vectors, *state)
    return outputs, type(state)(*last)


def _check(cell: GateCell, kernel: str, x: Tensor, state: Any, lengths: Tensor | None) -> Tensor | None:
    """Check all tensors, as the engine trusts their addresses; returns `Kernel.vectors` of the cell, or None."""
    (T, B), H, rows = x.shape[:2], cell.hidden_size, len(cell.gates) * cell.hidden_size
    if getattr(state, "_fields", None) != cell.state_type._fields:
        raise ValueError(
            f"state is a {type(state).__name__}; a {type(cell).__name__} needs a {cell.state_type.__name__}"
        )
    wanted = {"x": (x, (T, B, cell.input_size)), "w_x": (cell.w_x, (rows, cell.input_size))}
    wanted |= {"w_h": (cell.w_h, (rows, H)), "b": (cell.bias(), (rows,))}
    wanted |= {name: (part, (B, H)) for name, part in state._asdict().items()}
    vectors = None
    if (named := KERNELS[kernel].vectors) is not None:
        vectors = getattr(cell, named[0])
        wanted[named[0]] = (vectors, (*named[1], H))
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape or tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise ValueError(
                f"{name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}; the engine needs torch.float32 "
                f"{list(shape)} on cpu"
            )
    if lengths is not None:
        check_lengths(lengths, x)
    return vectors
