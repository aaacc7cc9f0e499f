"""Run a cell over time with the engine that is asked for; by default the fastest that can."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from seqtrain.cells import Cell, LSTMCell
from seqtrain.native.library import missing, variant
from seqtrain.native.storage import is_under_autocast
from seqtrain.recurrence.cudnn import unroll_cudnn, why_not_cudnn
from seqtrain.recurrence.fused import unroll_fused, why_not_fused
from seqtrain.recurrence.kernels import kernel_of
from seqtrain.recurrence.reference import HALF, check_lengths, unroll_reference
from seqtrain.recurrence.triton_loop import unroll_triton, why_not_triton

Engine = Literal["auto", "reference", "fused"]
Unroll = Callable[..., tuple[Tensor, Any]]


def unroll(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | Sequence[int] | None = None,
    reverse: bool = False,
    engine: Engine = "auto",
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences.

    Parameters
    ----------
    cell : one of `seqtrain.cells.CELLS`, or your own.
    x : `[T, B, I]`, T at least 1.
    state : the state to start from, a NamedTuple of `[B, ...]` tensors; the cell's own initial state if None.
    lengths : `[B]` whole numbers from 0 to T. Later steps are padding and never change a result, whatever they hold.
        None: every sequence has T steps.
    reverse : walk from the last step of each sequence to its first. `outputs[t]` still belongs to `x[t]`.
    engine : `auto` is the compiled engine where it can run the cell, on a GPU cuDNN or kernels in Triton, and otherwise
        the plain loop. `reference` is the plain loop, which defines what is right, and which also has
        gradients of gradients. `fused` insists on what is not the plain loop. What torch traces, exports or transforms
        (`torch.jit.trace`, `torch.export`, `make_fx`, `torch.func`, a mode, fake tensors) is the plain loop.
        `torch.compile` leaves the engine as it is, between two graphs.

    Under `torch.autocast` in bfloat16, products are in bfloat16; states, outputs and pointwise maths stay in float32. A
    single step without gradients is computed in float32.

    Returns
    -------
    outputs : `[T, B, H]`, `state.hidden` of every step; zero on padding.
    state : `[B, ...]` after each sequence's last step in walking order.

    Raises
    ------
    ValueError : the engine is unknown, or it cannot run the cell or be traced (`fused`); `x` or `lengths` has another
        shape or values than it needs; or, in a fast engine, a tensor has another type or device.
    RuntimeError : gradients of gradients, or a transform of the backward pass alone, are asked of a fast engine.
    MemoryError : the compiled engine finds no memory.
    """
    if engine != "reference" and torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
        # The engine runs between two compiled parts. To compile the plain loop takes a second for each time step.
        # A compilation with fullgraph=True fails at the next line and shows it.
        outside: Unroll = torch.compiler.disable(unroll)  # type: ignore  # one graph needs engine: reference
        return outside(cell, x, state, lengths=lengths, reverse=reverse, engine=engine)
    if is_under_autocast(x):  # they may come from a layer before under autocast
        x = _in_full(x)
        state = state._make(map(_in_full, state)) if hasattr(state, "_make") else state
    if engine not in get_args(Engine):
        raise ValueError(f"engine is {engine!r}; use one of {', '.join(get_args(Engine))}")
    if x.dim() != 3 or len(x) == 0 or x.shape[2] != cell.input_size:
        raise ValueError(f"x has the shape {list(x.shape)}; this cell needs [T, B, {cell.input_size}], T at least 1")
    if lengths is not None:
        lengths = torch.as_tensor(lengths, device=x.device)
        check_lengths(lengths, x)
    run = unroll_reference if engine == "reference" else _chosen(engine, cell, x, state, lengths)
    return run(cell, x, state, lengths=lengths, reverse=reverse)


def _in_full(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor


def _chosen(engine: Engine, cell: Cell, x: Tensor, state: Any, lengths: Tensor | None) -> Unroll:
    """The loop for these inputs; with `fused`, one that refuses what it cannot run."""
    if is_on_gpu(x):
        faster = _fastest_on_gpu(cell, x, state, lengths)
        if faster == "cudnn":
            return unroll_cudnn
        return unroll_triton if faster == "triton" or engine == "fused" else unroll_reference
    if engine == "fused":
        return unroll_fused
    if _is_short(x):
        return _unroll_in_float32 if is_under_autocast(x) else unroll_reference
    is_runnable = x.dtype == torch.float32 and x.device.type == "cpu"
    return unroll_fused if is_runnable and why_not_fused(cell, x, state, lengths) is None else unroll_reference


def _unroll_in_float32(cell: Cell, x: Tensor, state: Any, **options: Any) -> tuple[Tensor, Any]:
    """The plain loop without autocast, whose results would have fewer bits than those of the engine under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return unroll_reference(cell, x, state, **options)


def is_on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor is in the memory of a GPU of CUDA."""
    return tensor.device.type == "cuda"


def _is_short(x: Tensor) -> bool:
    """Whether the engine would need longer to pack the weights than the plain loop for all steps."""
    if x.shape[:2] == (1, 1):
        return True
    is_plain = type(x) is Tensor and not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
    return is_plain and len(x) == 1 and x.shape[1] <= FEW_ROWS  # as when texts are generated


FEW_ROWS = 64
"""Sequences of which the plain loop computes a single step in less time than the engine, if there are no gradients."""


class Loop(NamedTuple):
    """How a model runs its cells over time.

    name : the engine as a summary names it: `reference`, `fused-avx512` and the like, or on a GPU `cudnn` or `triton`.
    unroll : `unroll` with this engine.
    missing : why the compiled engine for this processor is not there although the cell has a kernel; None if it is.
    """

    name: str
    unroll: Unroll
    missing: str | None = None

    @property
    def instead(self) -> str:
        """What runs, in words."""
        return "the plain loop" if self.name == "reference" else f"the engine for {self.name.removeprefix('fused-')}"


def choose_loop(engine: Engine, cell: Cell) -> Loop:
    """The loop for the cells of a model, all of one kind.

    Raises
    ------
    ValueError : `fused`, which cannot run this cell.
    """
    parameter = next(cell.parameters(), None)
    if parameter is not None and is_on_gpu(parameter) and engine != "reference":
        return _choose_loop_on_gpu(engine, cell)
    why_not = why_not_fused(cell)
    if engine == "fused" and why_not is not None:
        raise ValueError(why_not)
    absent = missing() if engine != "reference" and kernel_of(cell) is not None else None
    if engine != "reference" and why_not is None:
        return Loop(f"fused-{variant()}", partial(unroll, engine=engine), absent)
    return Loop("reference", unroll_reference, absent)


def _choose_loop_on_gpu(engine: Engine, cell: Cell) -> Loop:
    if (faster := _fastest_on_gpu(cell)) is not None:
        return Loop(faster, partial(unroll, engine=engine))
    if engine == "fused":
        raise ValueError(why_not_triton(cell))
    return Loop("reference", unroll_reference)


def _fastest_on_gpu(cell: Cell, *given: Any) -> Literal["cudnn", "triton"] | None:
    """What runs a cell on a GPU in least time, on these inputs if they are given; None if only the plain loop can."""
    has_cudnn, has_triton = (why_not(cell, *given) is None for why_not in (why_not_cudnn, why_not_triton))
    if has_cudnn and not (has_triton and _is_slow_in_cudnn(cell)):
        return "cudnn"
    return "triton" if has_triton else None


def _is_slow_in_cudnn(cell: Cell) -> bool:
    """Whether cuDNN reads the recurrent weights of an LSTM from memory at each step, or has only PyTorch's own loop."""
    if not isinstance(cell, LSTMCell):
        return False
    return cell.hidden_size > KEPT_ON_CHIP or is_under_autocast(cell.w_h)


KEPT_ON_CHIP = 128
"""Hidden size up to which cuDNN, in float32, takes less time than the kernels in Triton (NVIDIA H200, cuDNN 9.19)."""
