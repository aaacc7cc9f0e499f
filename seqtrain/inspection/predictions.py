"""Which prediction of each sequence is looked at."""

import torch
from torch import Tensor

from seqtrain.tasks import Batch


def lengths_of(batch: Batch) -> Tensor:
    """`[N]`, the steps of each sequence."""
    return torch.full((batch.size,), len(batch.inputs)) if batch.lengths is None else batch.lengths


def scored_steps(batch: Batch) -> Tensor:
    """`[T, N]`, the steps whose predictions count, of a model that predicts at every step."""
    inside = torch.arange(len(batch.inputs))[:, None] < lengths_of(batch)
    return inside if batch.scored is None else batch.scored


def last_predictions(batch: Batch, *, every_step: bool) -> Tensor:
    """`[N]`, the step of the last prediction of each sequence that counts."""
    if not every_step:
        return lengths_of(batch) - 1
    return torch.where(scored_steps(batch), torch.arange(len(batch.inputs))[:, None], -1).amax(0)


def first_predictions(batch: Batch, *, every_step: bool) -> Tensor:
    """`[N]`, likewise of the first one; 0 for a model that predicts once, as a backward cell ends there."""
    if not every_step:
        return torch.zeros(batch.size, dtype=torch.long)
    T = len(batch.inputs)
    return torch.where(scored_steps(batch), torch.arange(T)[:, None], T).amin(0)
