"""How the gradient of a loss changes on its way back through time."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.inspection.predictions import first_predictions, last_predictions, scored_steps
from seqtrain.inspection.watch import Direction, Place, Step, cells_of, steps_of, watched
from seqtrain.models import SequenceModel, StackState
from seqtrain.tasks import Batch, Task

WINDOW = 64
"""Steps whose activations are in memory at a time, of a model that reads forward."""

SMALLEST = torch.finfo(torch.float32).tiny
"""The smallest number that float32 holds in full precision, 1.2e-38."""


@dataclass(frozen=True)
class Curve:
    """The norm of the gradient of one loss by its distance in steps, in one field of the state of one cell.

    place, field : the cell and the field, such as `hidden` or `cell`.
    norms : `[K, N]` by distance k and sequence, in double precision: row 0 is the step of the loss. NaN beyond the
        start of a sequence.
    """

    place: Place
    field: str
    norms: Tensor

    def mean(self) -> Tensor:
        """`[K]` over the sequences that are so long."""
        return self.norms.nanmean(1)

    def spread(self) -> tuple[Tensor, Tensor]:
        """`[K]` each, the 10 % and the 90 % quantile over the sequences."""
        low, high = self.norms.nanquantile(torch.tensor([0.1, 0.9], dtype=self.norms.dtype), 1)
        return low, high

    def factor_per_step(self) -> float | None:
        """What the mean norm is multiplied by at each step back, from a line through its logarithm.

        None if fewer than two distances have a norm that is not 0.
        """
        mean = self.mean()
        distance = torch.arange(len(mean), dtype=mean.dtype)[mean > 0]
        if len(distance) < 2:
            return None
        logarithm = mean[mean > 0].log()
        centred = distance - distance.mean()
        return math.exp(float((centred * logarithm).sum() / centred.square().sum()))

    def fallen_below(self, norm: float) -> int | None:
        """The distance from which on the mean norm is at most `norm`; None if it is larger at the last distance."""
        above = (self.mean() > norm).nonzero()
        distance = 0 if len(above) == 0 else int(above[-1]) + 1
        return distance if distance < len(self.norms) else None

    def fallen_to(self, share: float) -> int | None:
        """Likewise for a share of the norm at the step of the loss."""
        return self.fallen_below(share * float(self.mean()[0]))


def gradient_through_time(model: SequenceModel, task: Task, batch: Batch, *, window: int = WINDOW) -> list[Curve]:
    """The gradient of the loss of one prediction for each sequence, in every cell.

    The prediction is the last one that counts; for a cell that walks backward, and a model that predicts at every
    step, the first one. The model is copied to double precision: float32 holds no gradient below 1e-38. If it reads
    forward, the activations of `window` steps are in memory at a time; the state at the start of each window is kept,
    and the windows are computed again from the last one on. A model that reads backward is computed in one piece.

    Returns
    -------
    For each cell in the order of the stack, a curve for each field of its state.
    """
    model = copy.deepcopy(model).double()
    values: dict[str, Any] = {name: _as_double(value) for name, value in batch.tensors().items()}
    batch = replace(batch, **values)
    T = len(batch.inputs)
    found: dict[tuple[Place, str], Tensor] = {}
    for direction in {place.direction for place in cells_of(model)}:
        judged, at = _one_prediction(batch, direction, every_step=model.every_step)
        norms = _norms(model, task, judged, T if True in model.stack.reversed else window)
        for (place, name), table in norms.items():
            if place.direction == direction:
                found[place, name] = _by_distance(table, at, place, batch.lengths)
    return [Curve(place, name, norms) for (place, name), norms in sorted(found.items(), key=lambda item: item[0][0])]


def _as_double(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values


def _one_prediction(batch: Batch, direction: Direction, *, every_step: bool) -> tuple[Batch, Tensor]:
    """The batch with one prediction of each sequence, and its step `[B]`: the last one, or the first for `backward`."""
    choose = last_predictions if direction == "forward" else first_predictions
    at = choose(batch, every_step=every_step)
    if not every_step:
        return batch, at
    return replace(batch, scored=scored_steps(batch) & (torch.arange(len(batch.inputs))[:, None] == at)), at


def _norms(model: SequenceModel, task: Task, batch: Batch, window: int) -> dict[tuple[Place, str], Tensor]:
    """The norm `[T, B]` of the gradient of each field of each state."""
    T, B = batch.inputs.shape[:2]
    norms: dict[tuple[Place, str], Tensor] = {}
    windows = [(start, min(start + window, T)) for start in range(0, T, window)]
    states = _states_before(model, batch, windows)
    later: StackState | None = None
    for number, (start, stop) in reversed([*enumerate(windows)]):

        def see(step: Step, start: int = start) -> None:
            for name, values in step.state._asdict().items():
                if not values.is_floating_point():
                    continue  # it has no gradient
                table = norms.setdefault((step.place, name), torch.zeros(T, B, dtype=torch.double))
                if values.requires_grad:
                    values.register_hook(partial(_keep_norms, table[start + step.t]))

        entry = [[_leaf(cell) for cell in layer] for layer in states[number]]
        part = steps_of(batch, start, stop, every_step=model.every_step)
        with watched(model, see):
            prediction, after = model.predict(part.inputs, part.lengths, entry)
        total = sum(_products(after, later), torch.zeros((), dtype=torch.double))
        if _is_judged(part, model, last=number == len(windows) - 1):
            total = total + task.loss(prediction, part)[0]
        if not total.requires_grad:
            continue  # every prediction that counts comes earlier
        total.backward()  # type: ignore[no-untyped-call]
        later = entry
    return norms


def _keep_norms(row: Tensor, gradient: Tensor) -> None:
    """Keep the norm of each sequence's gradient, `[B, ...]`, in a row `[B]`."""
    row.copy_(gradient.reshape(len(gradient), -1).norm(dim=1))


@torch.no_grad()
def _states_before(model: SequenceModel, batch: Batch, windows: list[tuple[int, int]]) -> list[StackState]:
    """The state before each window, in double precision, whatever a cell starts from.

    All are copied into memory that is reserved at once. Pieces between the large arrays that come and go would keep
    these from being used again, so that memory would grow with the number of windows.
    """
    states = [[[_start(cell, batch.size) for cell in layer] for layer in model.stack.cells()]]
    room: list[list[list[Tensor]]] = []
    for number, (start, stop) in enumerate(windows[:-1]):
        part = steps_of(batch, start, stop, every_step=model.every_step)
        after = model.predict(part.inputs, part.lengths, states[-1])[1]
        if not room:
            room = [[[x.new_empty(len(windows), *x.shape) for x in cell] for cell in layer] for layer in after]
        states.append([
            [type(cell)(*(table[number].copy_(x) for table, x in zip(tables, cell, strict=True)))
             for cell, tables in zip(layer, own, strict=True)]
            for layer, own in zip(after, room, strict=True)
        ])  # fmt: skip
    return states


def _start(cell: Cell, batch_size: int) -> Any:
    """The initial state of a cell."""
    state = cell.initial_state(batch_size)
    return type(state)(*map(_as_double, state))


def _leaf(state: Any) -> Any:
    """A state whose gradient is kept."""
    return type(state)(*(part.detach().requires_grad_(part.is_floating_point()) for part in state))


def _products(after: StackState, later: StackState | None) -> Iterator[Tensor]:
    """The products of a state with the gradient that arrives at it from the windows after it."""
    for layer, next_layer in zip(after, later or [], strict=False):
        for cell, next_cell in zip(layer, next_layer, strict=True):
            for part, next_part in zip(cell, next_cell, strict=True):
                if next_part.grad is not None and part.requires_grad:
                    yield (part * next_part.grad).sum()


def _is_judged(part: Batch, model: SequenceModel, *, last: bool) -> bool:
    """Whether a prediction in a window counts."""
    return bool(part.scored.any()) if model.every_step and part.scored is not None else last


def _by_distance(table: Tensor, at: Tensor, place: Place, lengths: Tensor | None) -> Tensor:
    """`[T, B]` by time to `[K, B]` by the distance from the steps `at`, NaN where a sequence has no such step."""
    T = len(table)
    distance = torch.arange(T)[:, None]
    times = at - distance if place.direction == "forward" else at + distance
    inside = (times >= 0) & (times < (T if lengths is None else lengths))
    values = table.gather(0, times.clamp(0, T - 1)).where(inside, math.nan)
    return values[: int(inside.any(1).sum())]
