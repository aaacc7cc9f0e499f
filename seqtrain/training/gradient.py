"""The gradient of the loss of a batch: of the whole batch at once, or of its shards, which several processes share.

    batch   [ shard 0 | shard 1 | shard 2 | shard 3 ]     train.shards: 4
              \\_ process 0 _/     \\_ process 1 _/         each computes the gradients of its own shards
    gradient = g0 + g1 + g2 + g3                          every process adds all of them, in this order

The order of the sum does not depend on the number of processes, so neither does any bit of the result.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from seqtrain.models import SequenceModel, StackState, detach_state
from seqtrain.system.process_group import ProcessGroup
from seqtrain.system.rng import generator
from seqtrain.tasks import Batch
from seqtrain.training.anomaly import Forward
from seqtrain.training.recipe import Recipe
from seqtrain.training.regularization import activation_penalty
from seqtrain.training.state import TrainState

EXCHANGED = 1 << 22
"""Numbers of a gradient that are exchanged at a time: the gradients of all shards are never in memory together."""


def device_of(model: SequenceModel) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def forward(state: TrainState, recipe: Recipe, batch: Batch) -> Forward:
    """The forward pass of the next step; repeated calls give the same result."""
    masks = _masks(state, recipe, "dropout", state.step)
    return _forward(
        state, recipe, batch, None if batch.fresh else state.carried, masks, recipe.train.ar, recipe.train.tar
    )


def forward_shard(state: TrainState, recipe: Recipe, batch: Batch, shard: int) -> Forward:
    """The same of one shard. Its penalty is its part in that of the batch, and it has dropout masks of its own."""
    start, stop = bounds(batch.size, recipe.train.shards)[shard]
    part = batch.rows(start, stop)
    carried = None
    if state.carried is not None and not batch.fresh:
        carried = [[type(cell)(*(x[start:stop] for x in cell)) for cell in layer] for layer in state.carried]
    masks = _masks(state, recipe, "dropout", state.step, shard)
    ar, tar = recipe.train.ar, recipe.train.tar
    if ar or tar:  # they weigh a mean over the steps of the batch, of which this is a part
        (steps, changes), (all_steps, all_changes) = _steps_in(part), _steps_in(batch)
        ar, tar = ar * steps / max(all_steps, 1), tar * changes / max(all_changes, 1)
    return _forward(state, recipe, part, carried, masks, ar, tar)


def _masks(state: TrainState, recipe: Recipe, *key: str | int) -> torch.Generator | None:
    """What draws the dropout masks of a step, if there are any."""
    model = state.model
    return generator(recipe.seed, *key, device=device_of(model)) if model.dropout.draws else None


def _forward(
    state: TrainState,
    recipe: Recipe,
    batch: Batch,
    carried: StackState | None,
    masks: torch.Generator | None,
    ar: float,
    tar: float,
) -> Forward:
    """The forward pass of a batch, with these weights of the two penalties."""
    prediction, hidden = state.model.predict(batch.inputs, batch.lengths, carried, masks)
    total, count = recipe.task.loss(prediction, batch)
    return Forward(prediction, hidden, total, count, activation_penalty(prediction, batch.lengths, ar, tar))


def _steps_in(batch: Batch) -> tuple[int, int]:
    """Steps of all sequences of a batch without padding, and changes from one step to the next."""
    if batch.lengths is None:
        T, B = batch.inputs.shape[:2]
        return T * B, (T - 1) * B
    return int(batch.lengths.sum()), int((batch.lengths - 1).clamp(min=0).sum())


def bounds(size: int, shards: int) -> list[tuple[int, int]]:
    """Where each shard of a batch starts and stops; their sizes differ by one sequence at most."""
    return list(pairwise(size * shard // shards for shard in range(shards + 1)))


def compute_gradient(
    state: TrainState, recipe: Recipe, batch: Batch, group: ProcessGroup
) -> tuple[StackState | None, Tensor]:
    """Set the gradients of the next step; returns the state after the batch, if it is carried, and the mean loss."""
    if recipe.train.shards > 1:
        return _of_shards(state, recipe, batch, group)
    ahead = forward(state, recipe, batch)
    (ahead.loss + ahead.penalty).backward()  # type: ignore[no-untyped-call]
    return ahead.state, ahead.loss.detach()


def _of_shards(
    state: TrainState, recipe: Recipe, batch: Batch, group: ProcessGroup
) -> tuple[StackState | None, Tensor]:
    each = recipe.train.shards // group.size
    own = range(group.rank * each, (group.rank + 1) * each)
    places = bounds(batch.size, recipe.train.shards)
    ahead = [
        forward_shard(state, recipe, batch, shard) if places[shard][0] < places[shard][1] else None for shard in own
    ]
    nothing = torch.zeros((), device=device_of(state.model))
    totals = group.gather(torch.stack([nothing if one is None else one.total.detach() for one in ahead]))
    counts = group.gather(torch.tensor([0 if one is None else one.scored for one in ahead], device=totals.device))
    count = max(int(counts.sum()), 1)  # all values of a window may be missing
    rows = [_own_gradient(state.model, one, count) for one in ahead]
    _sum_gradients(state.model, rows, group)
    loss = sum(totals[1:].unbind(), totals[0]) / count
    return (_joined([one.state for one in ahead if one], group) if recipe.task.carries_state else None), loss


def _own_gradient(model: SequenceModel, ahead: Forward | None, count: int) -> list[Tensor | None]:
    """The gradient of one shard for each parameter; None where there is none."""
    model.zero_grad()
    if ahead is not None:
        (ahead.total / count + ahead.penalty).backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    return gradients


def _sum_gradients(model: SequenceModel, rows: list[list[Tensor | None]], group: ProcessGroup) -> None:
    """Set each parameter's gradient to the sum of those of all shards, of which this process has some.

    A parameter that took no part in any shard gets none, as a batch that is not cut leaves it.
    """
    parameters = list(model.parameters())
    took_part = torch.tensor([[one is not None for one in row] for row in rows], device=device_of(model))
    is_needed = group.gather(took_part.byte()).any(0).tolist()
    for dtype in dict.fromkeys(parameter.dtype for parameter in parameters):
        chosen = [n for n, one in enumerate(parameters) if is_needed[n] and one.dtype == dtype]
        own = [[_or_zero(row[n], parameters[n]) for n in chosen] for row in rows]
        for n, gradient in zip(chosen, _summed(own, group) if chosen else [], strict=True):
            parameters[n].grad = gradient


def _or_zero(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if gradient is None else gradient


def _summed(rows: Sequence[Sequence[Tensor]], group: ProcessGroup) -> Iterator[Tensor]:
    """The sums over the rows of all processes, in their order."""
    shapes = [one.shape for one in rows[0]]
    flat = torch.stack([torch.cat([one.flatten() for one in row]) for row in rows])  # [own shards, all numbers]
    sizes, sums = [shape.numel() for shape in shapes], []
    for part in torch.split(flat, EXCHANGED, 1):
        first, *others = group.gather(part).unbind()
        total = first.clone()
        for other in others:
            total += other
        sums.append(total)
    for shape, one in zip(shapes, torch.split(torch.cat(sums), sizes), strict=True):
        yield one.view(shape)


def _joined(states: Sequence[StackState], group: ProcessGroup) -> StackState:
    """The states of all shards side by side, in their order; they have equal numbers of columns."""
    detached = [detach_state(state) for state in states]

    def join(layer: int, place: int) -> object:
        cells = [state[layer][place] for state in detached]
        return type(cells[0])(*(group.gather(torch.cat(parts)) for parts in zip(*cells, strict=True)))

    return [[join(layer, place) for place in range(len(cells))] for layer, cells in enumerate(detached[0])]


__all__ = ["bounds", "compute_gradient", "device_of", "forward", "forward_shard"]
