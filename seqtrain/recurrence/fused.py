"""The loop over time in one call of the native engine, for the built-in cells in float32 on the CPU.

What does not depend on the step before is a big matrix product of torch: the input projection ahead of the engine, the
gradients of the weights and of the input behind it.
"""

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.cells import Cell, CoupledCell, GRUCell, LSTMCell, PeepholeCell, RNNCell
from seqtrain.cells.base import GateCell
from seqtrain.recurrence.memory import empty
from seqtrain.recurrence.native import library
from seqtrain.recurrence.unroll import unroll

KERNELS = ("lstm", "peephole", "coupled", "coupled_peepholes", "gru_after", "gru_before", "rnn_tanh", "rnn_relu")
"""In the order of `kRuns` in native/engine.cpp."""


class _Call(ctypes.Structure):
    """The arguments of one call; `Call` in native/engine.cpp says what they are."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "batch", "hidden")),
        ("lengths", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("reverse", "saving", "threads")),
        *((name, ctypes.c_void_p) for name in ("w_h", "p", "gates", "outputs", "cells", "aside")),
        *((name, ctypes.c_void_p) for name in ("h_first", "c_first", "h_last", "c_last")),
        *((name, ctypes.c_void_p) for name in ("d_outputs", "d_gates", "dh", "dc", "db", "dp")),
    )


class _Plan(NamedTuple):
    """What a call of the engine needs beside tensors that may have a gradient."""

    kernel: str
    lengths: Tensor | None
    reverse: bool
    starts_at_zero: bool


def is_built_in(cell: Cell) -> bool:
    """Whether the engine has a kernel for the cell; one derived from a built-in cell may do something else."""
    own = {"step", "project", "initial_state"} & vars(cell).keys()
    return type(cell) in (LSTMCell, PeepholeCell, CoupledCell, GRUCell, RNNCell) and not own


def why_not_fused(cell: Cell) -> str | None:
    """The reason why the engine does not serve a cell; None if it does."""
    if not is_built_in(cell):
        return f"{type(cell).__name__} is not a built-in cell"
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
    plan = _Plan(_kernel_of(cell), lengths, reverse, starts_at_zero)
    tensors = (x.resolve_neg(), cell.w_x, cell.w_h, cell.b, _vectors_of(cell), *state)
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        outputs, *last = _Unroll.apply(plan, *tensors)  # type: ignore[no-untyped-call]
    else:
        outputs, last, _ = _forward(plan, *tensors, saving=False)
    return outputs, type(state)(*last)


def _vectors_of(cell: Cell) -> Any:
    """The parameters that act unit by unit, or None: peepholes, or b_hn of a GRU."""
    vectors: Any = cell.p if hasattr(cell, "p") else getattr(cell, "b_hn", None)
    return vectors


def _check(cell: Cell, x: Tensor, state: Any, lengths: Tensor | None) -> None:
    """What the engine is handed are bare addresses: nothing may be otherwise than it believes."""
    if (reason := why_not_fused(cell)) is not None:
        raise ValueError(reason)
    assert isinstance(cell, GateCell)
    (T, B), H, rows = x.shape[:2], cell.hidden_size, len(cell.gates) * cell.hidden_size
    if getattr(state, "_fields", None) != cell.state_type._fields:
        raise ValueError(
            f"state is a {type(state).__name__}; a {type(cell).__name__} needs a {cell.state_type.__name__}"
        )
    wanted = {"x": (x, (T, B, cell.input_size)), "w_x": (cell.w_x, (rows, cell.input_size))}
    wanted |= {"w_h": (cell.w_h, (rows, H)), "b": (cell.b, (rows,))}
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


def _kernel_of(cell: Cell) -> str:
    if isinstance(cell, GRUCell):
        return "gru_before" if cell.b_hn is None else "gru_after"
    if isinstance(cell, RNNCell):
        return f"rnn_{cell.nonlinearity}"
    if isinstance(cell, CoupledCell):
        return "coupled" if cell.p is None else "coupled_peepholes"
    return "peephole" if isinstance(cell, PeepholeCell) else "lstm"


def _run(plan: _Plan, *, backward: bool, saving: bool, shape: torch.Size, **tensors: Tensor | None) -> None:
    """Call the engine. The tensors are without gaps, and alive until it returns."""
    steps, batch, hidden = shape
    call = _Call(
        steps=steps,
        batch=batch,
        hidden=hidden,
        lengths=None if plan.lengths is None else plan.lengths.data_ptr(),
        reverse=plan.reverse,
        saving=saving,
        threads=torch.get_num_threads(),
        **{name: tensor.data_ptr() for name, tensor in tensors.items() if tensor is not None},
    )
    engine = library()
    assert not isinstance(engine, str), engine
    if engine.seqtrain_run(KERNELS.index(plan.kernel), int(backward), ctypes.byref(call)):
        raise MemoryError("the recurrent engine found no memory")


class _Matrix(ctypes.Structure):
    """Any layout of two dimensions; `Matrix` in native/panels.h."""

    _fields_ = (("data", ctypes.c_void_p), ("row_step", ctypes.c_int64), ("column_step", ctypes.c_int64))


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """`a @ b (+ bias)`: the engine is ahead of torch on the tall, thin matrices of a sequence."""
    out = a.new_empty(a.shape[0], b.shape[1]) if out is None else out
    _multiply(a, b, bias, out)
    return out


def _gradient_of_weights(inputs: Tensor, d_outputs: Tensor) -> Tensor:
    """`d_outputs.T @ inputs`, `[N, O]` and `[N, I]` to `[O, I]`, computed the other way round, which is faster."""
    out = empty(d_outputs.shape[1], inputs.shape[1])
    _multiply(inputs.t(), d_outputs, None, empty(inputs.shape[1], d_outputs.shape[1]), turned=out)
    return out


def _multiply(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor, turned: Tensor | None = None) -> None:
    if not a.shape[1]:
        (out if turned is None else turned).zero_()
        return
    engine = library()
    assert not isinstance(engine, str), engine
    failed = engine.seqtrain_product(
        *map(ctypes.c_int64, (*a.shape, b.shape[1])),
        *(ctypes.byref(_Matrix(matrix.data_ptr(), *matrix.stride())) for matrix in (a, b)),
        *(ctypes.c_void_p(None if tensor is None else tensor.data_ptr()) for tensor in (bias, out, turned)),
        torch.get_num_threads(),
    )
    if failed:
        raise MemoryError("the recurrent engine found no memory")


class _Kept(NamedTuple):
    """What the forward pass leaves for the backward pass; without `saving` of no further use."""

    x: Tensor  # [T*B, I]
    gates: Tensor  # [T, B, G*H] activations; rnn: the outputs themselves
    cells: Tensor | None  # [T, B, H]
    aside: Tensor | None  # [T, B, H] gru: W_hn h + b_hn (reset: after) or r * h (before)


def _forward(
    plan: _Plan, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, vectors: Tensor | None, *state: Tensor, saving: bool
) -> tuple[Tensor, list[Tensor], _Kept]:
    """Outputs, last state and what backward needs."""
    T, B, H = *x.shape[:2], w_h.shape[1]
    x = x.reshape(T * B, x.shape[-1])
    gates = empty(T, B, len(b))
    _product(x, w_x.t(), b.contiguous(), out=gates)
    outputs = gates if plan.kernel.startswith("rnn") else empty(T, B, H)
    first = [part.contiguous() for part in state]
    last = [torch.empty_like(part) for part in first]
    cells = aside = None
    if len(state) == 2:
        cells = empty(T, B, H) if saving else last[1]
    if plan.kernel == "gru_before" or (plan.kernel == "gru_after" and saving):
        aside = empty(T if saving else 1, B, H)
    _run(
        plan,
        backward=False,
        saving=saving,
        shape=outputs.shape,
        w_h=w_h.contiguous(),
        p=None if vectors is None else vectors.contiguous(),
        gates=gates,
        outputs=outputs,
        cells=cells,
        aside=aside,
        **_named("{}_first", [] if plan.starts_at_zero else first),
        **_named("{}_last", last),
    )
    return outputs, last, _Kept(x, gates, cells, aside)


def _named(pattern: str, state: list[Tensor]) -> dict[str, Tensor]:
    """The parts of a state by the engine's names."""
    return {pattern.format(letter): part for letter, part in zip("hc", state, strict=False)}


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: _Plan,
        x: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        b: Tensor,
        vectors: Tensor | None,
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        outputs, last, kept = _forward(plan, x, w_x, w_h, b, vectors, *state, saving=True)
        ctx.plan, ctx.x_shape = plan, x.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(outputs, *kept, w_x, w_h, vectors, *state)
        return outputs, *last

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor | None, *d_last: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # as with create_graph=True
            raise RuntimeError("the fused engine has no gradients of gradients; use the plain loop, engine: reference")
        plan: _Plan = ctx.plan
        outputs, x, gates, cells, aside, w_x, w_h, vectors, *state = map(_as_saved, ctx.saved_tensors)
        H = w_h.shape[1]
        blocks = 4 if plan.kernel == "gru_after" else w_h.shape[0] // H
        d_gates = empty(*outputs.shape[:2], blocks * H)
        d_state = [_copy_or_zeros(d, part) for d, part in zip(d_last, state, strict=True)]
        db = x.new_zeros(blocks * H)
        d_vectors = None if vectors is None else torch.zeros_like(vectors, memory_format=torch.contiguous_format)
        first = [part.contiguous() for part in state]
        _run(
            plan,
            backward=True,
            saving=True,
            shape=outputs.shape,
            w_h=w_h.contiguous(),
            p=None if vectors is None else vectors.contiguous(),
            gates=gates,
            outputs=outputs,
            cells=cells,
            aside=aside,
            **_named("{}_first", [] if plan.starts_at_zero else first),
            d_outputs=None if d_outputs is None else d_outputs.contiguous(),
            d_gates=d_gates,
            **_named("d{}", d_state),
            db=db,
            dp=d_vectors,
        )
        _, needs_x, needs_w_x, needs_w_h, _, _, needs_h, *_ = ctx.needs_input_grad
        through_x = slice(0, w_h.shape[0])
        through_h = {"gru_after": slice(H, 4 * H), "gru_before": slice(0, 2 * H)}.get(plan.kernel, through_x)
        if plan.kernel == "gru_after":  # its blocks are n, r, z, r * n; see native/cells.h
            w_x = w_x.roll(H, 0)
            d_vectors, db = db[3 * H :], db[: 3 * H].roll(-H)
        d_input = d_gates[..., through_x].flatten(0, 1)
        d_hidden = d_gates[..., through_h]  # what reaches h of the step before in a product with w_h

        dx = None
        if needs_x:
            dx = empty(*ctx.x_shape)
            _product(d_input, w_x, out=dx)
        dw_x = dw_h = None
        if needs_w_x:
            dw_x = _gradient_of_weights(x, d_input)
            if plan.kernel == "gru_after":
                dw_x = dw_x.roll(-H, 0)
        if needs_w_h:
            dw_h = _d_w_h(plan, d_hidden, outputs, first[0])
            if plan.kernel == "gru_before":
                d_candidate = d_gates[..., 2 * H :].flatten(0, 1)
                dw_h = torch.cat([dw_h, _gradient_of_weights(aside.flatten(0, 1), d_candidate)])
        if needs_h:
            d_state[0].addmm_(_at_first_step(plan, d_hidden), w_h[: d_hidden.shape[-1]])
        return None, dx, dw_x, dw_h, db, d_vectors, *d_state


def _as_saved(tensor: Any) -> Any:
    """What forward saved; a hook of the user's may have packed it otherwise."""
    if tensor is None:
        return None
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise RuntimeError(f"a saved tensor came back as {tensor.dtype} on {tensor.device}; it was float32 on cpu")
    return tensor.contiguous()


def _copy_or_zeros(d: Tensor | None, like: Tensor) -> Tensor:
    """A gradient that the engine may write over."""
    if d is None:
        return torch.zeros_like(like, memory_format=torch.contiguous_format)
    return d.clone(memory_format=torch.contiguous_format)


def _d_w_h(plan: _Plan, d_hidden: Tensor, outputs: Tensor, h_first: Tensor) -> Tensor:
    """Gradient of the rows of `w_h` that multiply h of the step before; outputs and gradients are zero on padding."""
    if plan.reverse:
        d, h = d_hidden[:-1], outputs[1:]
    else:
        d, h = d_hidden[1:], outputs[:-1]
    dw_h = _gradient_of_weights(h.flatten(0, 1), d.flatten(0, 1))
    return dw_h if plan.starts_at_zero else dw_h.addmm_(_at_first_step(plan, d_hidden).t(), h_first)


def _at_first_step(plan: _Plan, d_hidden: Tensor) -> Tensor:
    """The rows of each sequence's first step in walking order: `[B, ...]`."""
    if not plan.reverse:
        return d_hidden[0]
    if plan.lengths is None:
        return d_hidden[-1]
    return d_hidden[(plan.lengths - 1).clamp(min=0), torch.arange(len(plan.lengths))]
