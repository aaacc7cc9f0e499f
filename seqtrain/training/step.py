"""One training step: forward, backward, check, clip, update."""

import math
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from seqtrain.models import detach_state
from seqtrain.system.errors import Diverged
from seqtrain.system.process_group import ALONE, ProcessGroup
from seqtrain.system.runtime import one_thread
from seqtrain.tasks import Batch
from seqtrain.training import anomaly
from seqtrain.training.anomaly import Report
from seqtrain.training.gradient import bounds, compute_gradient, forward, forward_shard
from seqtrain.training.recipe import Recipe
from seqtrain.training.state import TrainState


def train_step(state: TrainState, recipe: Recipe, batch: Batch, group: ProcessGroup = ALONE) -> None:
    """One training step, which the processes of a group do together.

    If the loss or the gradient is not finite, nothing is updated: the step is skipped if `max_skips` allows it. The
    next window of a text then starts from the state after this one if that is finite, otherwise from zero.

    Raises
    ------
    Diverged : the loss or the gradient is not finite, and no skips are left.
    LostProcess : another process has ended; nothing is updated.
    """
    if not state.model.training:  # the call visits all modules
        state.model.train()
    weights = state.weights
    batch = batch.to(weights[0].device)
    for weight in weights:  # before the forward pass, which then needs no room beside the gradients
        weight.grad = None
    hidden, mean = compute_gradient(state, recipe, batch, group)
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    total_norm = norm_of(gradients)
    loss, norm = float(mean), float(total_norm)
    carried = hidden if recipe.task.carries_state else None
    if math.isfinite(loss) and math.isfinite(norm):
        if recipe.clip_norm is not None and norm > recipe.clip_norm:  # most steps need no clipping
            torch._foreach_mul_(gradients, recipe.clip_norm / (total_norm + 1e-6))
        update(state, recipe, batch, loss, norm)
    elif state.skipped_steps < (recipe.max_skips or 0):
        state.skipped_steps += 1
        carried = carried if carried is not None and anomaly.is_finite(carried) else None
    else:
        raise _diverged(state, recipe, batch, loss, norm)
    state.carried = None if carried is None else detach_state(carried)
    state.step += 1


def norm_of(gradients: list[Tensor]) -> Tensor:
    """The norm of all gradients together, as `nn.utils.get_total_norm` computes it; that takes twice as long."""
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


FEW_WEIGHTS = 200_000
"""Weights of a model that one thread updates; with two threads, it was faster up to 1.7 million."""


def update(state: TrainState, recipe: Recipe, batch: Batch, loss: float, norm: float) -> None:
    """Update the weights, and add the step to the sums for the next training record."""
    for group in state.optimizer.param_groups:
        group["lr"] = current_lr(state, recipe) * batch.lr_factor
    with one_thread() if sum(map(Tensor.numel, state.weights)) <= FEW_WEIGHTS else nullcontext():
        state.optimizer.step()
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.window_loss += loss
    state.window_norm += norm
    state.window_steps += 1


def current_lr(state: TrainState, recipe: Recipe) -> float:
    """The learning rate of the next step, for a batch whose `lr_factor` is 1."""
    return recipe.lr * recipe.schedule.lr_factor(
        state.step, steps=recipe.steps, cuts=state.cuts, epoch=recipe.epoch_at(state.step)
    )


def _diverged(state: TrainState, recipe: Recipe, batch: Batch, loss: float, norm: float) -> Diverged:
    """The error for a step that is not finite, with a report on where the first such number arises."""
    step, lr = state.step + 1, current_lr(state, recipe) * batch.lr_factor
    report = _examined(state, recipe, batch)
    skipped = f" after {state.skipped_steps} others" if state.skipped_steps else ""
    more = "; train.on_divergence=skip goes past such steps" if recipe.max_skips is None else ""
    return Diverged(
        f"step {step} diverged: loss {loss:g}, gradient norm {norm:g}, learning rate {lr:g}, "
        f"{report}; the step was withheld{skipped}; {advice(state, recipe)}{more}",
        {"split": "train", "step": step, "loss": loss, "grad_norm": norm, "lr": lr} | report.as_json(),
    )


def _examined(state: TrainState, recipe: Recipe, batch: Batch) -> Report:
    """Where the first number of a step is that is not finite; in shards, that of the first shard which has one."""
    if recipe.train.shards == 1:
        return anomaly.examine(state.model, lambda: forward(state, recipe, batch), batch.lengths, backward=True)
    reports = []
    for shard, (start, stop) in enumerate(bounds(batch.size, recipe.train.shards)):
        if start < stop:
            ahead = partial(forward_shard, state, recipe, batch, shard)
            lengths = None if batch.lengths is None else batch.lengths[start:stop]
            reports.append(anomaly.examine(state.model, ahead, lengths, backward=True))
            if reports[-1].first is not None:
                return reports[-1]
    return reports[0]


def advice(state: TrainState, recipe: Recipe) -> str:
    """What a person can try after a divergence."""
    kept = "there is no best checkpoint yet" if state.best_step is None else "the best checkpoint is kept"
    clip = "optimizer.clip_norm=1" if recipe.clip_norm is None else "a smaller optimizer.clip_norm"
    more = f", or a larger train.max_skips than {recipe.max_skips}" if recipe.max_skips else ""
    return f"{kept}; try a lower optimizer.lr, a schedule.warmup, or {clip}{more}"
