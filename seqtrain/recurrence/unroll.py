"""The plain loop over time. It defines what is right; anything faster is held to it."""

from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell


def unroll(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences.

    A sequence that has ended keeps its state, so a reversed pass starts at each sequence's own last step
    without moving any data: walking down from T-1, nothing happens to a sequence until its last step is met.

    Parameters
    ----------
    x : `[T, B, I]`, T at least 1.
    state : the state to start from; the cell's own initial state if None.
    lengths : `[B]` whole numbers up to T; steps from there on are padding and never change a result, whatever
        they hold. None: every sequence fills T.
    reverse : walk from the last step to the first. `outputs[t]` still belongs to `x[t]`.

    Returns
    -------
    outputs : `[T, B, H]`, zero on padding.
    state : after each sequence's last step in walking order.
    """
    T, B = x.shape[:2]
    state = cell.initial_state(B) if state is None else state
    inside = None
    if lengths is not None:
        inside = torch.arange(T, device=x.device)[:, None, None] < lengths[:, None]  # [T, B, 1]
        x = x.where(inside, 0.0)  # a NaN in the padding would reach the gradient through `where` below

    # unbind, not indexing: the gradient of T separate x_gates[t] would write T arrays of the full size.
    x_gates = cell.project(x).unbind(0)
    outputs: list[Tensor] = [x_gates[0]] * T  # every place is overwritten
    for t in reversed(range(T)) if reverse else range(T):
        new = cell.step(x_gates[t], state)
        if inside is None:
            state, outputs[t] = new, new.hidden
        else:
            state = type(new)(*(_select(inside[t], n, old) for n, old in zip(new, state, strict=True)))
            outputs[t] = new.hidden.where(inside[t], 0.0)
    return torch.stack(outputs), state


def _select(inside: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the sequences still running, `old` for the ended: `inside` is `[B, 1]`, the others `[B, ...]`."""
    return new.where(inside.view(-1, *[1] * (new.dim() - 1)), old)
