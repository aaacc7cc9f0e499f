"""The loop over time as one operator of PyTorch, so that an exported program takes sequences of any length.

`torch.export` records each turn of a loop in Python, and so freezes the number of steps. The operator `scan` holds the
graph of a single step, and runs it for as many steps as there are.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seqtrain.cells import Cell
from seqtrain.recurrence.reference import choose_rows


class _Step(nn.Module):
    """A cell, as a module that is called: `functional_call` replaces weights of such a one."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x_gates: Tensor, state: Any) -> Any:
        return self.cell.step(x_gates, state)


def unroll_scan(
    cell: Cell, x: Tensor, state: Any = None, *, lengths: Tensor | None = None, reverse: bool = False
) -> tuple[Tensor, Any]:
    """Run a cell over a batch of sequences, as `unroll_reference` does; only where `torch.export` records it."""
    T, B = x.shape[:2]
    state = cell.initial_state(B) if state is None else state
    kind, fields = type(state), len(state)
    walked: list[Tensor] = []
    if lengths is not None:
        walked.append(torch.arange(T, device=x.device)[:, None] < lengths)  # [T, B], whether a step is none of padding
        x = x.where(walked[0][..., None], 0.0)
    walked.insert(0, cell.project(x))
    step = _Step(cell)
    weights = {**dict(step.named_parameters()), **dict(step.named_buffers())}

    def once(*given: Tensor) -> list[Tensor]:
        """The old state, the parts of this step and the weights, to the new state and the output."""
        old, x_gates, *inside = given[:fields], *given[fields : fields + len(walked)]
        own = zip(weights, given[fields + len(walked) :], strict=True)
        new = functional_call(step, dict(own), (x_gates, kind(*old)))
        seen = new.hidden
        if inside:
            seen = choose_rows(inside[0], seen, 0.0)
            new = [choose_rows(inside[0], after, before) for after, before in zip(new, old, strict=True)]
        return [part.clone() for part in (*new, seen)]  # the operator takes no tensor twice

    walked = [part.flip(0) for part in walked] if reverse else walked
    start = [part.clone() for part in state]
    *last, outputs = torch.ops.higher_order.scan(once, start, walked, tuple(weights.values()))
    return outputs.flip(0) if reverse else outputs, kind(*last)
