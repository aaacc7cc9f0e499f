"""A pass over a whole sequence on a GPU, forward or backward, with two launches a step.

One launch is a product of torch, the other a kernel in Triton for all that follows it. The plain loop launches 14
operations a step of a peephole LSTM, and its backward pass 29. A GRU with `reset: before` has two products a step, and
takes four launches. One kernel for the product as well would save one launch more, but it would have to compete with
cuBLAS for every size; a kernel for the whole sequence would have to hold `w_h` on the chip, which only small sizes
allow. The gradients of all weights are products over all steps, after the loop.

The outputs, the states and all sums have the type of the weights. Under autocast the factors of products, and the
activations that are kept for the backward pass, have its type.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.cells import GRUCell
from seqtrain.cells.base import GateCell
from seqtrain.cells.lstm_kind import lstm_kind

BLOCK = 256
"""Units that one program of a kernel computes."""


class Kind(NamedTuple):
    """What a kernel is compiled for.

    hidden : H.
    flags : the constants of the kernels of an LSTM by name; None for a GRU.
    width : how many arrays `[B, H]` the recurrent weights multiply: h, or h, i, f, o.
    """

    hidden: int
    flags: dict[str, int] | None
    width: int = 1


def kind_of(cell: GateCell) -> Kind:
    """What the kernels of a cell are compiled for."""
    if isinstance(cell, GRUCell):
        return Kind(cell.hidden_size, None)
    kind = lstm_kind(cell)
    gates, rows, width = "".join(kind.blocks), "".join(kind.peepholes), 4 if kind.sees_gates else 1
    blocks = {"I": gates.find("i"), "F": gates.find("f"), "C": gates.find("g"), "O": gates.find("o")}
    flags = blocks | {"G": len(gates), "W": width, **{f"P_{gate.upper()}": rows.find(gate) for gate in "ifo"}}
    flags["COUPLED"] = kind.is_coupled
    flags |= {"SQUASH_INPUT": kind.squashes_input, "SQUASH_OUTPUT": kind.squashes_output}
    return Kind(cell.hidden_size, flags, width)


class Pass(NamedTuple):
    """What is known about a pass beside its arrays.

    low : the type of autocast; None without.
    lengths : `[B]`, or None.
    """

    kind: Kind
    low: torch.dtype | None
    lengths: Tensor | None
    reverse: bool

    def order(self, steps: int) -> list[int]:
        """The steps in walking order."""
        return [*reversed(range(steps))] if self.reverse else [*range(steps)]

    def before(self, states: Tensor) -> Tensor:
        """Of `[T+1, ...]`, the state before each step, `[T, ...]`."""
        return states[1:] if self.reverse else states[:-1]

    def after(self, states: Tensor) -> Tensor:
        """The state after each step, likewise."""
        return states[:-1] if self.reverse else states[1:]


class Inputs(NamedTuple):
    """The arrays that a pass starts from.

    x_gates : `[T, B, G*H]`, the input's part of the sums.
    w, p : the recurrent weights `[G*H, W*H]` and the peepholes, or None.
    state, cell : before the first step, `[B, W*H]` and `[B, H]`, or None.
    """

    x_gates: Tensor
    w: Tensor
    p: Tensor | None
    state: Tensor
    cell: Tensor | None


class Results(NamedTuple):
    """What a pass computes, or the gradients of it: the outputs `[T, B, H]`, and the state and cell after all steps."""

    outputs: Tensor
    state: Tensor
    cell: Tensor | None


class Kept(NamedTuple):
    """The arrays of the whole sequence, as `triton_kernels` names them."""

    gates: Tensor
    states: Tensor
    low: Tensor
    cells: Tensor | None
    aside: Tensor | None
    p: Tensor | None


def run_forward(pass_: Pass, inputs: Inputs) -> tuple[Kept, Results]:
    """All steps; also what the backward pass needs."""
    x_gates, w, p, first, first_cell = inputs
    steps, batch = x_gates.shape[:2]
    start, end = (steps, 0) if pass_.reverse else (0, steps)
    states = first.new_empty(steps + 1, *first.shape)
    states[start] = first
    low = states if pass_.low in (None, first.dtype) else states.new_empty(states.shape, dtype=pass_.low)
    low[start] = first
    cells = aside = None
    if first_cell is None:
        aside = low.new_empty(steps, batch, pass_.kind.hidden)
    else:
        cells = first.new_empty(steps + 1, *first_cell.shape)
        cells[start] = first_cell
    kept = Kept(x_gates.new_empty(x_gates.shape), states, low, cells, aside, p)
    step = (_gru_forward if cells is None else _lstm_forward)(pass_, kept, x_gates, w.to(low.dtype))
    for t in pass_.order(steps):
        step(t)
    outputs = pass_.after(states)[..., : pass_.kind.hidden].contiguous()
    return kept, Results(outputs, states[end].clone(), None if cells is None else cells[end].clone())


def run_backward(pass_: Pass, w: Tensor, kept: Kept, d_results: Results) -> Inputs:
    """The gradients of all inputs."""
    own = Gradients(
        d_results.outputs.contiguous(),
        d_results.state.clone(memory_format=torch.contiguous_format),
        None if d_results.cell is None else d_results.cell.clone(memory_format=torch.contiguous_format),
        torch.zeros_like(d_results.state, memory_format=torch.contiguous_format),
        torch.empty_like(kept.gates),
    )
    step = (_gru_backward if kept.cells is None else _lstm_backward)(pass_, kept, own, w.to(kept.low.dtype))
    for t in reversed(pass_.order(len(kept.gates))):
        step(t)
    dw = _weight_gradient(pass_, kept, own.d_gates, w.dtype)
    d_p = None if kept.p is None else _peephole_gradient(pass_, kept, own.d_gates)
    return Inputs(own.d_gates, dw, d_p, own.carry + own.d_product, own.d_cells)


class Gradients(NamedTuple):
    """Gradients that are known, and those of the present step, which the next one overwrites.

    carry, d_product : their sum is the gradient of the state; what comes from the product with `w_h` is apart.
    """

    d_outputs: Tensor
    carry: Tensor
    d_cells: Tensor | None
    d_product: Tensor
    d_gates: Tensor


Step = Callable[[int], None]


def _launch(name: str, pass_: Pass, *arguments: Any, **constants: Any) -> Step:
    """A kernel as a function of the step; the lengths, and the sizes after them, are the same at all steps."""
    from seqtrain.recurrence import triton_kernels  # at the first use, as Triton need not be installed

    kernel, H = getattr(triton_kernels, name), pass_.kind.hidden
    B = arguments[0].shape[-2]
    grid = (-(-B * H // BLOCK),)
    constants |= {"REVERSE": int(pass_.reverse), "BLOCK": BLOCK}

    def step(t: int) -> None:
        kernel[grid](*arguments, t, B, H, **constants)

    return step


def _lstm_forward(pass_: Pass, kept: Kept, x_gates: Tensor, w: Tensor) -> Step:
    gates, states, low, cells, _, p = kept
    assert pass_.kind.flags is not None
    product = states.new_empty(x_gates.shape[1:])
    arguments = (x_gates, product, gates, states, low, cells, _or(p, states), _or(pass_.lengths, states))
    constants = pass_.kind.flags | _given(pass_, low is not states)
    launch, before, w_t = _launch("lstm_forward", pass_, *arguments, **constants), pass_.before(low), w.t()

    def step(t: int) -> None:
        _multiply(before[t], w_t, product)
        launch(t)

    return step


def _lstm_backward(pass_: Pass, kept: Kept, own: Gradients, w: Tensor) -> Step:
    gates, states, _, cells, _, p = kept
    assert pass_.kind.flags is not None
    arrays = (own.d_outputs, own.d_product, own.carry, own.d_cells, own.d_gates, gates, cells)
    arguments = (*arrays, _or(p, states), _or(pass_.lengths, states))
    launch = _launch("lstm_backward", pass_, *arguments, **pass_.kind.flags, **_given(pass_))

    def step(t: int) -> None:
        launch(t)
        _multiply(own.d_gates[t], w, own.d_product)

    return step


def _gru_forward(pass_: Pass, kept: Kept, x_gates: Tensor, w: Tensor) -> Step:
    gates, states, low, _, aside, _ = kept
    assert aside is not None
    H, lengths = pass_.kind.hidden, _or(pass_.lengths, states)
    product, product_n = states.new_empty(len(states[0]), 2 * H), states.new_empty(states.shape[1:])
    reset = _launch("gru_reset", pass_, x_gates, product, gates, states, aside)
    more = _given(pass_, low is not states)
    update = _launch("gru_update", pass_, x_gates, product_n, gates, states, low, lengths, **more)
    before, w_rz, w_n = pass_.before(low), w[: 2 * H].t(), w[2 * H :].t()

    def step(t: int) -> None:
        _multiply(before[t], w_rz, product)
        reset(t)
        _multiply(aside[t], w_n, product_n)
        update(t)

    return step


def _gru_backward(pass_: Pass, kept: Kept, own: Gradients, w: Tensor) -> Step:
    H, (gates, states, *_) = pass_.kind.hidden, kept
    d_aside = torch.empty_like(own.carry)
    arrays = (own.d_outputs, own.d_product, own.carry, own.d_gates, gates, states, _or(pass_.lengths, states))
    update = _launch("gru_update_backward", pass_, *arrays, **_given(pass_))
    reset = _launch("gru_reset_backward", pass_, d_aside, own.carry, own.d_gates, gates, states)
    w_rz, w_n = w[: 2 * H], w[2 * H :]

    def step(t: int) -> None:
        update(t)
        _multiply(own.d_gates[t][:, 2 * H :], w_n, d_aside)
        reset(t)
        _multiply(own.d_gates[t][:, : 2 * H], w_rz, own.d_product)

    return step


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A kernel needs some array also where it reads none."""
    return other if tensor is None else tensor


def _given(pass_: Pass, has_low: bool | None = None) -> dict[str, Any]:
    """Constants that depend on what is given."""
    return {"HAS_LENGTHS": pass_.lengths is not None} | ({} if has_low is None else {"HAS_LOW": has_low})


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """A product with sums in the type of `out`, whatever type the factors have."""
    if left.dtype == out.dtype:
        torch.mm(left, right, out=out)
    elif left.is_cuda:
        torch.mm(left, right, out_dtype=out.dtype, out=out)
    else:
        torch.mm(left.to(out.dtype), right.to(out.dtype), out=out)


def _weight_gradient(pass_: Pass, kept: Kept, d_gates: Tensor, dtype: torch.dtype) -> Tensor:
    """Of the recurrent weights, one product over all steps; both factors are zero or unused on padding."""
    H, rows = pass_.kind.hidden, d_gates.flatten(0, 1)
    before = pass_.before(kept.low).flatten(0, 1)
    dw = torch.empty(rows.shape[1], before.shape[1], dtype=dtype, device=rows.device)
    if kept.aside is None:
        _multiply(rows.t(), before, dw)
    else:
        _multiply(rows[:, : 2 * H].t(), before, dw[: 2 * H])
        _multiply(rows[:, 2 * H :].t(), kept.aside.flatten(0, 1), dw[2 * H :])
    return dw


def _peephole_gradient(pass_: Pass, kept: Kept, d_gates: Tensor) -> Tensor:
    """Of `p`: the gates i and f see the cell before a step, o sees the new one."""
    H, flags, cells = pass_.kind.hidden, pass_.kind.flags, kept.cells
    assert flags is not None
    assert cells is not None
    rows = {}
    for gate in "IFO":
        if (row := flags[f"P_{gate}"]) >= 0:
            seen = pass_.after(cells) if gate == "O" else pass_.before(cells)
            rows[row] = (d_gates[..., flags[gate] * H : (flags[gate] + 1) * H] * seen).sum((0, 1))
    return torch.stack([rows[row] for row in sorted(rows)])
