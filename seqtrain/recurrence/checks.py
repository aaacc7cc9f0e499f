"""What every fast path asks before it runs a cell: whether it may, and whether the tensors fit."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.cells.base import GateCell
from seqtrain.native.recording import NOT_RECORDED, is_recorded
from seqtrain.native.storage import is_under_autocast
from seqtrain.recurrence.reference import check_lengths


def why_step_by_step(cell: Cell, x: Tensor | None, state: Any, lengths: Tensor | None) -> str | None:
    """Why a cell must run in torch's own operations, one step after another; None if it need not."""
    given = (x, lengths, *(state if isinstance(state, tuple) else ()))
    if is_recorded(*cell.parameters(), *(tensor for tensor in given if tensor is not None)):
        return NOT_RECORDED
    if cell.observer is not None:
        return f"the engine does not show the activations of a step, and this {type(cell).__name__} has an observer"
    return None


def check_tensors(cell: GateCell, x: Tensor, state: Any, lengths: Tensor | None) -> None:
    """Refuse tensors that do not fit the weights of a cell.

    Raises
    ------
    ValueError : a tensor has another shape, type or device than it needs.
    """
    if getattr(state, "_fields", None) != cell.state_type._fields:
        raise ValueError(
            f"state is a {type(state).__name__}; a {type(cell).__name__} needs a {cell.state_type.__name__}"
        )
    (T, B), H, weight = x.shape[:2], cell.hidden_size, cell.w_h
    wanted: dict[str, tuple[Tensor, tuple[int, ...]]] = {"x": (x, (T, B, cell.input_size))}
    wanted |= {name: (parameter, tuple(parameter.shape)) for name, parameter in cell.named_parameters()}
    wanted |= {name: (part, (B, H)) for name, part in state._asdict().items()}
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape or tensor.dtype != weight.dtype or tensor.device != weight.device:
            raise ValueError(
                f"{name} is {tensor.dtype} {list(tensor.shape)} on {tensor.device}; this cell needs {weight.dtype} "
                f"{list(shape)} on {weight.device}"
            )
    if lengths is not None:
        check_lengths(lengths, x)


class Padded(NamedTuple):
    """The lengths of a batch, as a pass keeps them.

    lengths : `[B]`, a copy that the backward pass finds unchanged.
    inside : `[T, B, 1]`, whether a step is one of the sequence's own.
    """

    lengths: Tensor
    inside: Tensor

    def clear(self, values: Tensor) -> Tensor:
        """`[T, B, ...]` with zeros on padding: a NaN there would reach gradients through a product with zero."""
        return values.where(self.inside, 0.0)


def padded(lengths: Tensor | None, steps: int) -> Padded | None:
    """The lengths of sequences of at most so many steps; None if all have as many."""
    if lengths is None:
        return None
    lengths = lengths.to(torch.int64, copy=True).contiguous()
    return Padded(lengths, torch.arange(steps, device=lengths.device)[:, None, None] < lengths[:, None])


def autocast_type(x: Tensor) -> torch.dtype | None:
    """The type in which products are computed, if autocast is on for the device of `x`; None if not.

    Autocast leaves double precision as it is.
    """
    is_on = is_under_autocast(x) and x.dtype != torch.float64
    return torch.get_autocast_dtype(x.device.type) if is_on else None
