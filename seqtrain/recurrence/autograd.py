"""A whole sequence as one differentiable function of its inputs, weights and initial state.

The engine computes the recurrence, step by step. Everything else is one matrix product over all steps: the input
projection before the recurrence, and the gradients of the weights and of the input after it.
"""

import ctypes
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.native.arrays import as_saved, plain
from seqtrain.native.buffer_pool import empty
from seqtrain.native.gemm import Sources, gradients_of_weights, product
from seqtrain.native.library import call
from seqtrain.native.recording import NOT_RECORDED, is_recorded
from seqtrain.native.storage import Storage
from seqtrain.recurrence.kernels import KERNELS, Blocks


class Plan(NamedTuple):
    """The arguments of a pass that have no gradient."""

    kernel: str
    lengths: Tensor | None
    reverse: bool
    starts_at_zero: bool
    storage: Storage


class _Call(ctypes.Structure):
    """The arguments of one call; `Call` in csrc/engine.cpp says what they are."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "batch", "hidden")),
        ("lengths", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("reverse", "saving", "threads", "storage")),
        *((name, ctypes.c_void_p) for name in ("w_h", "p", "gates", "outputs", "cells", "aside")),
        *((name, ctypes.c_void_p) for name in ("h_first", "c_first", "h_last", "c_last")),
        *((name, ctypes.c_void_p) for name in ("d_outputs", "d_gates", "dh", "dc", "db", "dp")),
    )


class _Kept(NamedTuple):
    """What the forward pass saves for the backward pass; invalid without `saving`."""

    x: Tensor  # [T*B, I]
    gates: Tensor  # [T, B, G*H] activations; rnn: the outputs themselves
    cells: Tensor | None  # [T, B, H]
    aside: Tensor | None  # [T, B, H] gru: W_hn h + b_hn (reset: after) or r * h (before)


def run(plan: Plan, *tensors: Any) -> tuple[Tensor, list[Tensor]]:
    """Outputs and last state from x, w_x, w_h, b, the vectors (peepholes, `b_hn`; or None) and the initial state."""
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        outputs, *last = _Walk.apply(plan, *tensors)  # type: ignore[no-untyped-call]
    else:
        outputs, last, _ = _forward(plan, *tensors, saving=False)
    return outputs, last


def _forward(
    plan: Plan, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, vectors: Tensor | None, *state: Tensor, saving: bool
) -> tuple[Tensor, list[Tensor], _Kept]:
    """Outputs, last state, and what the backward pass needs (valid only if `saving`)."""
    T, B, H = *x.shape[:2], w_h.shape[1]
    x = x.resolve_neg().reshape(T * B, x.shape[-1])
    gates = empty(T, B, len(b))
    product(x, w_x.resolve_neg().t(), plain(b), storage=plan.storage, out=gates)
    outputs = gates if plan.kernel.startswith("rnn") else empty(T, B, H)
    last = [torch.empty_like(part, memory_format=torch.contiguous_format) for part in state]
    cells = aside = None
    if len(state) == 2:
        cells = empty(T, B, H) if saving else last[1]
    if plan.kernel == "gru_before" or (plan.kernel == "gru_after" and saving):
        aside = empty(T if saving else 1, B, H)
    kept = _Kept(x, gates, cells, aside)
    _walk(plan, outputs, kept, w_h, vectors, state, _named("{}_last", last), saving=saving)
    return outputs, last, kept


class _Walk(torch.autograd.Function):
    """`_forward` with first derivatives only."""

    @staticmethod
    def forward(
        ctx: Any, plan: Plan, x: Tensor, w_x: Tensor, w_h: Tensor, b: Tensor, vectors: Tensor | None, *state: Tensor
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
        if is_recorded(*(d for d in (d_outputs, *d_last) if d is not None)):
            raise RuntimeError(NOT_RECORDED)
        plan, blocks = ctx.plan, KERNELS[ctx.plan.kernel].blocks
        outputs, x, gates, cells, aside, w_x, w_h, vectors, *state = map(as_saved, ctx.saved_tensors)
        (T, B, H), kept = outputs.shape, _Kept(x, gates, cells, aside)
        d_gates, db = empty(T, B, blocks.total * H), x.new_zeros(blocks.total * H)
        d_vectors = None if vectors is None else torch.zeros_like(vectors, memory_format=torch.contiguous_format)
        gradients = [torch.zeros_like(part) if d is None else d for d, part in zip(d_last, state, strict=True)]
        d_state = [d.clone(memory_format=torch.contiguous_format) for d in gradients]  # the engine overwrites them
        d_arrays = {"d_outputs": None if d_outputs is None else plain(d_outputs), "d_gates": d_gates}
        d_arrays |= {"db": db, "dp": d_vectors, **_named("d{}", d_state)}
        _walk(plan, outputs, kept, w_h, vectors, state, d_arrays, backward=True)
        d_input, d_hidden = blocks.split(d_gates)
        _, needs_x, needs_w_x, needs_w_h, _, _, needs_h, *_ = ctx.needs_input_grad
        dx = dw_x = dw_h = None
        if needs_w_x or needs_w_h:
            dw_x, dw_h = _weight_gradients(plan, blocks, d_input.flatten(0, 1), d_hidden, kept, outputs, state[0])
        if needs_x:  # last, since the gradients of the weights need temporary memory
            dx = empty(*ctx.x_shape)
            product(d_input.flatten(0, 1), blocks.turn(w_x), storage=plan.storage, out=dx)
        if needs_h:
            d_first = _at_first_step(plan, d_hidden)
            d_state[0] += product(d_first, w_h[: d_first.shape[-1]], storage=plan.storage)
        if plan.kernel == "gru_after":
            d_vectors = db[3 * H :]  # b_hn is added to what w_h gives
        return None, dx, dw_x, dw_h, blocks.turn_back(db[: w_x.shape[0]]), d_vectors, *d_state


def _walk(
    plan: Plan,
    outputs: Tensor,
    kept: _Kept,
    w_h: Tensor,
    vectors: Tensor | None,
    state: Sequence[Tensor],
    arrays: Mapping[str, Tensor | None],
    *,
    backward: bool = False,
    saving: bool = True,
) -> None:
    """Call the engine; `arrays` are the contiguous arrays of the forward or the backward pass, by name in `_Call`."""
    first = [] if plan.starts_at_zero else [plain(part) for part in state]
    arrays = {
        **arrays,
        "lengths": plan.lengths,
        "w_h": plain(w_h),
        "p": None if vectors is None else plain(vectors),
        "gates": kept.gates,
        "outputs": outputs,
        "cells": kept.cells,
        "aside": kept.aside,
        **_named("{}_first", first),
    }
    steps, batch, hidden = outputs.shape
    arguments = _Call(
        steps=steps,
        batch=batch,
        hidden=hidden,
        reverse=plan.reverse,
        saving=saving,
        threads=torch.get_num_threads(),
        storage=plan.storage,
        **{name: array.data_ptr() for name, array in arrays.items() if array is not None},
    )
    call("seqtrain_run", tuple(KERNELS).index(plan.kernel), int(backward), ctypes.byref(arguments))


def _named(pattern: str, state: Sequence[Tensor]) -> dict[str, Tensor | None]:
    """The parts of a state by their names in `_Call`."""
    return {pattern.format(letter): part for letter, part in zip("hc", state, strict=False)}


def _weight_gradients(
    plan: Plan, blocks: Blocks, d_input: Tensor, d_hidden: Tensor, kept: _Kept, outputs: Tensor, h_first: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of `w_x` and `w_h`; outputs and gradients are zero on padding."""
    of_weights = partial(gradients_of_weights, storage=plan.storage)
    x, begin = Sources(kept.x, 0), 0 if plan.reverse else len(h_first)
    before = Sources((outputs[1:] if plan.reverse else outputs[:-1]).flatten(0, 1), begin)
    if blocks.x == blocks.h:
        dw_x, dw_h = of_weights([x, before], d_input)
    else:
        (dw_x,) = of_weights([x], d_input)
        (dw_h,) = of_weights([before], d_hidden.flatten(0, 1))
    if not plan.starts_at_zero:
        dw_h += product(_at_first_step(plan, d_hidden).t(), h_first, storage=plan.storage)
    if plan.kernel == "gru_before":
        assert kept.aside is not None
        (dw_hn,) = of_weights([Sources(kept.aside.flatten(0, 1), 0)], d_input[:, len(dw_h) :])
        dw_h = torch.cat([dw_h, dw_hn])
    return blocks.turn_back(dw_x), dw_h


def _at_first_step(plan: Plan, d_hidden: Tensor) -> Tensor:
    """The gradients at the first step that is computed of each sequence: `[B, ...]`."""
    if not plan.reverse:
        return d_hidden[0]
    if plan.lengths is None:
        return d_hidden[-1]
    return d_hidden[(plan.lengths - 1).clamp(min=0), torch.arange(len(plan.lengths))]
