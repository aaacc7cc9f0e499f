"""The cells that a GPU runs by the kernels in Triton: what they can run, and their place in autograd."""

import os
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell, GRUCell
from seqtrain.cells.base import GateCell
from seqtrain.cells.lstm_kind import LSTMS
from seqtrain.recurrence.checks import autocast_type, check_tensors, padded, why_step_by_step
from seqtrain.recurrence.graphs import acquire
from seqtrain.recurrence.kernels import is_changed
from seqtrain.recurrence.launches import Inputs, Kept, Pass, Results, kind_of, run_backward, run_forward
from seqtrain.recurrence.reference import unroll_reference


def why_not_triton(cell: Cell, x: Tensor | None = None, state: Any = None, lengths: Tensor | None = None) -> str | None:
    """Why there are no kernels for a cell, on these inputs if they are given; None if there are."""
    kind = type(cell)
    is_gru = kind is GRUCell and cell.b_hn is None
    if is_changed(cell) or not (is_gru or kind in LSTMS):
        return f"there is no kernel in Triton for {kind.__name__}"
    if (reason := why_step_by_step(cell, x, state, lengths)) is not None:
        return reason
    if find_spec("triton") is None:
        return "Triton is not installed; PyTorch's builds for CUDA on Linux bring it along"
    weight = next(cell.parameters())
    if weight.device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"the kernels in Triton run on a GPU, not on {weight.device.type}"
    if weight.dtype not in (torch.float32, torch.float64):
        return (
            f"the kernels in Triton compute in float32 and float64, not in {str(weight.dtype).removeprefix('torch.')}"
        )
    return None


def unroll_triton(
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
    ValueError : there are no kernels for the cell, or a tensor has another shape, type or device than it needs.
    """
    if 0 in x.shape:
        return unroll_reference(cell, x, state, lengths=lengths, reverse=reverse)
    if (reason := why_not_triton(cell, x, state, lengths)) is not None:
        raise ValueError(reason)
    assert isinstance(cell, GateCell)
    T, B = x.shape[:2]
    state = cell.initial_state(B) if state is None else state
    check_tensors(cell, x, state, lengths)
    if (own := padded(lengths, T)) is not None:
        lengths, x = own.lengths, own.clear(x)
    x_gates = cell.project(x).contiguous()
    pass_, inputs = Pass(kind_of(cell), autocast_type(x), lengths, reverse), (*_weights(cell), *_packed(state))
    is_learning = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in (x_gates, *inputs)
    )
    with torch.autocast(x.device.type, enabled=False), _device_of(x):
        outputs, *last = _Walk.apply(pass_, is_learning, x_gates, *inputs)  # type: ignore[no-untyped-call]
        if own is not None:
            outputs = own.clear(outputs)
        h, *others = last[0].split(cell.hidden_size, -1)
        return outputs, type(state)(h, *(part for part in last[1:] if part is not None), *others)


def _weights(cell: GateCell) -> tuple[Tensor, Tensor | None]:
    """The recurrent weights `[G*H, W*H]` and the peepholes, or None."""
    w_h: Tensor = cell.w_h
    w_gates = getattr(cell, "w_gates", None)
    if w_gates is not None:  # rows i, f, o; the candidate g does not see the gates
        i, f, o = w_gates.chunk(3)
        w_h = torch.cat([w_h, torch.cat([i, f, torch.zeros_like(i), o])], 1)
    p = getattr(cell, "p", None)
    return w_h.contiguous(), None if p is None else p.contiguous()


def _packed(state: Any) -> tuple[Tensor, Tensor | None]:
    """A state as `[B, W*H]`, which the recurrent weights multiply, and the cell `[B, H]`, or None."""
    h, *rest = state
    if not rest:
        return h.contiguous(), None
    cell, *others = rest
    return torch.cat([h, *others], -1), cell.contiguous()


class _Walk(torch.autograd.Function):
    """Of the arrays of `Inputs`, those of `Results`."""

    @staticmethod
    def forward(ctx: Any, pass_: Pass, is_learning: bool, *arrays: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = Inputs(*arrays)  # type: ignore[arg-type]  # those that are never None are given
        ctx.pass_, ctx.recorded = pass_, (recorded := acquire(pass_, inputs, is_learning))
        if recorded is not None:
            return recorded.forward(pass_, inputs)
        kept, results = run_forward(pass_, inputs)
        ctx.save_for_backward(inputs.w, *kept)
        return results

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor) -> tuple[Any, ...]:
        if torch.is_grad_enabled():  # as with create_graph=True
            raise RuntimeError("the kernels in Triton have no gradients of gradients; use engine: reference")
        if ctx.recorded is not None:
            return None, None, *ctx.recorded.backward(Results(*d_results))
        w, *kept = ctx.saved_tensors
        with torch.autocast(w.device.type, enabled=False), _device_of(w):
            return None, None, *run_backward(ctx.pass_, w, Kept(*kept), Results(*d_results))


def _device_of(tensor: Tensor) -> torch.cuda.device_of:
    """Triton launches on the current device, which need not be that of the tensors."""
    return torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
