"""How far back a model looks: its loss with less context, and with one input replaced."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seqtrain.inspection.predictions import last_predictions, lengths_of
from seqtrain.inspection.watch import windows
from seqtrain.models import SequenceModel
from seqtrain.models.model import Prediction
from seqtrain.system.rng import generator
from seqtrain.tasks import Batch, Task

TOLERANCE = 0.01
"""How much worse than with all context the loss may be (Khandelwal et al. 2018, section 4.1: 1 %).

A model that solves a task has a loss near 0, and 1 % of it would be nothing. So it may also be 1 % of what the context
brings: the difference between the loss with the present input alone and that with all inputs.
"""

RESAMPLES = 1000
"""Bootstrap samples of the sequences, for the interval."""


@dataclass(frozen=True)
class Context:
    """The loss of one prediction for each sequence, from the last n inputs alone.

    sizes : `[G]` numbers of inputs n, ascending; the last one is all context.
    losses : `[G, N]` by size and sequence.
    """

    sizes: Tensor
    losses: Tensor

    def steps_back(self) -> int:
        """The effective memory: with it, and with any more, the loss is within the tolerance of the whole one."""
        return int(self._steps_back(self.losses.mean(1)[:, None])[0])

    def interval(self, level: float = 0.95) -> tuple[int, int]:
        """Of `steps_back`, by a bootstrap over the sequences."""
        means = torch.stack([self.losses[:, rows].mean(1) for rows in _resamples(self.losses.shape[1])], 1)
        found = self._steps_back(means).sort().values
        tail = round((1 - level) / 2 * RESAMPLES)
        return int(found[tail]), int(found[-1 - tail])

    def _steps_back(self, means: Tensor) -> Tensor:
        """`[R]`, for each column of mean losses `[G, R]`."""
        full = means[-1]
        allowed = full + TOLERANCE * torch.maximum(means[0] - full, full)
        too_small = (means > allowed).long()  # [G, R]
        last = (too_small * torch.arange(1, len(means) + 1)[:, None]).amax(0)  # the place after the last such size
        return self.sizes[last] - 1


@dataclass(frozen=True)
class Influence:
    """How much the loss of one prediction changes if one input is replaced by that of another sequence.

    distances : `[G]` steps from the prediction to the input, ascending; negative if the input comes later.
    changes : `[G, N]` absolute changes by distance and sequence; NaN where a sequence has no such input.
    """

    distances: Tensor
    changes: Tensor

    def mean(self) -> Tensor:
        """`[G]` over the sequences."""
        return self.changes.nanmean(1)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Of the mean, `[G]` each, by a bootstrap over the sequences."""
        means = torch.stack([self.changes[:, rows].nanmean(1) for rows in _resamples(self.changes.shape[1])], 1)
        low, high = means.nanquantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype), 1)
        return low, high


def _resamples(N: int) -> Tensor:
    """`[R, N]`, bootstrap samples of N sequences."""
    return torch.randint(N, (RESAMPLES, N), generator=generator(0, "bootstrap"))


@torch.no_grad()
def effective_context(
    model: SequenceModel, task: Task, batch: Batch, *, advance: Callable[[], object] = lambda: None
) -> Context:
    """The loss of the last prediction of each sequence with 1, 2, 3, 5, 8, ... inputs up to all.

    Between two sizes where the loss comes within the tolerance, the smallest that suffices is searched for, also for
    the ends of the interval.

    Parameters
    ----------
    model : reads forward.
    advance : called after each of these sizes, not in the search.

    Raises
    ------
    ValueError : the model reads backward, so that no input comes first.
    """
    if True in model.stack.reversed:
        raise ValueError("a model that reads backward has no last inputs to keep")
    at = last_predictions(batch, every_step=model.every_step)
    losses: dict[int, Tensor] = {}

    def add(size: int) -> None:
        if size not in losses:
            losses[size] = _losses(model, task, _cut(batch, at, size), at)

    longest = int(at.max()) + 1
    for size in growing(longest):
        add(size)
        advance()
    while True:
        context = _context(losses)
        enough = {size + 1 for size in (context.steps_back(), *context.interval())}
        below = {size: max((other for other in losses if other < size), default=size - 1) for size in enough}
        between = [(size + other) // 2 for size, other in below.items() if size - other > 1]
        if not between:
            return context
        for size in between:
            add(size)


def _context(losses: dict[int, Tensor]) -> Context:
    sizes = sorted(losses)
    return Context(torch.tensor(sizes), torch.stack([losses[size] for size in sizes]))


@torch.no_grad()
def influence(
    model: SequenceModel, task: Task, batch: Batch, distances: Sequence[int], *, advance: Callable[[], object]
) -> Influence:
    """The change of the loss if the input at each distance is replaced; see `Influence`.

    Parameters
    ----------
    advance : called after each distance.
    """
    at = last_predictions(batch, every_step=model.every_step)
    (T, N), lengths = batch.inputs.shape[:2], lengths_of(batch)
    before, columns = _losses(model, task, batch, at), torch.arange(N)
    changes = []
    for distance in distances:
        steps = at - distance
        others = (columns + torch.randint(1, max(N, 2), (N,), generator=generator(0, "replace", distance))) % N
        valid = (steps >= 0) & (steps < lengths) & (steps < lengths[others])
        steps = steps.clamp(0, T - 1)
        inputs = batch.inputs.clone()
        kept = inputs[steps, columns]
        inputs[steps, columns] = batch.inputs[steps, others].where(valid.view(-1, *[1] * (kept.dim() - 1)), kept)
        after = _losses(model, task, replace(batch, inputs=inputs), at)
        changes.append((after - before).abs().masked_fill(~valid, torch.nan))
        advance()
    return Influence(torch.tensor([*distances]), torch.stack(changes))


def growing(longest: int) -> list[int]:
    """1, 2, 3, 5, 8 and so on, about 1.6 times as much each, up to `longest`."""
    sizes, size = [], 1
    while size < longest:
        sizes.append(size)
        size = max(size + 1, round(1.6 * size))
    return [*sizes, longest]


def _cut(batch: Batch, at: Tensor, size: int) -> Batch:
    """The last `size` inputs before and at the predictions, as sequences of their own."""
    starts = (at - size + 1).clamp(min=0)
    times = (starts + torch.arange(size)[:, None]).clamp(max=len(batch.inputs) - 1)  # [size, N]
    columns = torch.arange(len(at))
    return replace(batch, inputs=batch.inputs[times, columns], lengths=at - starts + 1)


def _at_ends(features: Tensor, prediction: Prediction, ends: Tensor) -> Tensor:
    """`[N, H]`, the features at the steps `ends` `[N]` that are in this window, else those of before."""
    T, columns = len(prediction.features), torch.arange(len(ends))
    inside = ((ends >= 0) & (ends < T))[:, None]
    found = prediction.features[ends.clamp(0, T - 1), columns]
    return found if len(features) == 0 else found.where(inside, features)


def _losses(model: SequenceModel, task: Task, batch: Batch, at: Tensor) -> Tensor:
    """`[N]`, the loss of each sequence's last prediction; the targets and the steps `at` are those of the whole."""
    ends = torch.minimum(at, lengths_of(batch) - 1)
    features, state = torch.empty(0), None
    for start, part in windows(model, batch):
        prediction, state = model.predict(part.inputs, part.lengths, state)
        features = prediction.features if not model.every_step else _at_ends(features, prediction, ends - start)
    losses = []
    for n, step in enumerate(at.tolist()):
        row = features[n : n + 1]
        one: dict[str, Any] = {"inputs": batch.inputs[:1, n : n + 1], "lengths": None, "scored": None, "marks": None}
        if model.every_step:
            targets, row = batch.targets[step : step + 1, n : n + 1], row[None]
        else:
            targets = batch.targets[n : n + 1]
        loss, count = task.loss(
            Prediction(model.head, row, row, model.products), replace(batch, targets=targets, **one)
        )
        losses.append(loss.double() / count)
    return torch.stack(losses)
