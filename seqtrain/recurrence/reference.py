"""The plain loop over time. It defines what is right: every faster engine must give the same results."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from seqtrain.cells import Cell
from seqtrain.native.recording import is_recorded
from seqtrain.native.storage import is_under_autocast

HALF = (torch.bfloat16, torch.float16)


def unroll_reference(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    on_step: Callable[[int, Tensor, Any], None] | None = None,
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences, one step after another.

    A sequence that has ended keeps its state. A reversed pass therefore starts each sequence at its own last step
    and moves no data: on the way from T-1 down, a sequence keeps its initial state until its last step is reached.

    Parameters
    ----------
    x : `[T, B, I]`, T at least 1.
    state : the state to start from; the cell's own initial state if None.
    lengths : `[B]` whole numbers up to T. Later steps are padding and never change a result, whatever they hold.
        None: every sequence has T steps.
    reverse : walk from the last step to the first. `outputs[t]` still belongs to `x[t]`.
    on_step : called after each step with the time t, the step's part of what `project` gave, and the new state.

    Returns
    -------
    outputs : `[T, B, H]`, zero on padding.
    state : after each sequence's last step in walking order.
    """
    T, B = x.shape[:2]
    state = cell.initial_state(B) if state is None else state
    inside = None
    if lengths is not None:
        inside = torch.arange(T, device=x.device)[:, None] < lengths  # [T, B]
        x = x.where(inside[..., None], 0.0)  # a NaN in the padding would reach the gradient through `where` below

    with _Float32() if is_under_autocast(x) else nullcontext():
        # unbind, not indexing: the gradient of T separate x_gates[t] would write T arrays of the full size.
        x_gates = cell.project(x).unbind(0)
        outputs: list[Tensor] = [x_gates[0]] * T  # every place is overwritten
        for t in reversed(range(T)) if reverse else range(T):
            new = cell.step(x_gates[t], state)
            if on_step is not None:
                on_step(t, x_gates[t], new)
            if inside is None:
                state, outputs[t] = new, new.hidden
            else:
                state = type(new)(*(choose_rows(inside[t], n, old) for n, old in zip(new, state, strict=True)))
                outputs[t] = choose_rows(inside[t], new.hidden, 0.0)
    return torch.stack(outputs), state


def check_lengths(lengths: Tensor, x: Tensor) -> None:
    """Refuse lengths that are not those of the sequences of `x`, `[T, B, I]`.

    Where torch records what is computed, they stand for any values, which cannot be checked.

    Raises
    ------
    ValueError : they are not B whole numbers from 0 to T on the same device.
    """
    T, B = x.shape[:2]
    whole = not lengths.is_floating_point() and lengths.device == x.device and lengths.shape == (B,)
    have_values = not (lengths.is_meta or is_recorded(lengths))
    if not whole or (have_values and bool(((lengths < 0) | (lengths > T)).any())):
        found = lengths.tolist() if have_values else f"{lengths.dtype} {list(lengths.shape)} on {lengths.device}"
        raise ValueError(f"lengths must be {B} whole numbers from 0 to {T} on {x.device}; got {found}")


def choose_rows(rows: Tensor, new: Tensor, other: Tensor | float) -> Tensor:
    """`new` `[B, ...]` in the rows that are True, `other` elsewhere; `rows` is `[B]`."""
    return new.where(rows.view(-1, *[1] * (new.dim() - 1)), other)


class _Float32(TorchFunctionMode):
    """Gives the results of products in float32, which autocast computes in fewer bits; so states stay in float32."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if function is torch.addmm and not kwargs:  # autocast would round the sum that is added to, too
            base, *factors = args
            return base + torch.mm(*factors)
        result = function(*args, **(kwargs or {}))
        return result.float() if isinstance(result, Tensor) and result.dtype in HALF else result
