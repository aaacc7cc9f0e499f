"""One training step: forward, backward, check, clip, update."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqtrain.models import SequenceModel, detach_state
from seqtrain.system.errors import Diverged
from seqtrain.system.rng import generator
from seqtrain.tasks import Batch, Task
from seqtrain.training import anomaly
from seqtrain.training.anomaly import Forward
from seqtrain.training.regularization import activation_penalty
from seqtrain.training.schedules import Schedule
from seqtrain.training.settings import Train
from seqtrain.training.state import TrainState


@dataclass(frozen=True)
class Recipe:
    """How to train: all that does not change in a run.

    train : the settings of the loop, with no default left to fill in.
    lr, clip_norm : the settings of the optimizer.
    seed : of the data and of dropout.
    steps : of the whole run.
    """

    task: Task
    train: Train
    schedule: Schedule
    lr: float
    clip_norm: float | None
    seed: int
    steps: int

    @property
    def eval_batch_size(self) -> int:
        """Sequences, or columns of a text, evaluated side by side."""
        return self.task.evaluated_together(self.train.eval_batch_size)

    @property
    def max_skips(self) -> int | None:
        """Steps that may be skipped in the whole run; None if the first such step ends it."""
        return self.train.max_skips if self.train.on_divergence == "skip" else None

    def epoch_at(self, step: int) -> int:
        """Passes through the training text that are done before a step; 0 where there are none."""
        return self.task.epoch_at(step, self.train.batch_size)


def train_step(state: TrainState, recipe: Recipe, batch: Batch) -> None:
    """One training step.

    If the loss or the gradient is not finite, nothing is updated: the step is skipped if `max_skips` allows it. The
    next window of a text then starts from the state after this one if that is finite, otherwise from zero.

    Raises
    ------
    Diverged : the loss or the gradient is not finite, and no skips are left.
    """
    state.model.train()
    batch = batch.to(device_of(state.model))
    state.optimizer.zero_grad()  # before the forward pass, which then needs no room beside the gradients
    _, hidden, loss, penalty = forward(state, recipe, batch)
    (loss + penalty).backward()  # type: ignore[no-untyped-call]
    loss = loss.detach()
    norm = nn.utils.get_total_norm([p.grad for p in state.model.parameters() if p.grad is not None])
    carried = recipe.task.carries_state
    if torch.isfinite(loss + norm):
        update(state, recipe, batch, loss, norm)
    elif state.skipped_steps < (recipe.max_skips or 0):
        state.skipped_steps += 1
        carried = carried and anomaly.is_finite(hidden)
    else:
        raise _diverged(state, recipe, batch, float(loss), float(norm))
    state.carried = detach_state(hidden) if carried else None
    state.step += 1


def forward(state: TrainState, recipe: Recipe, batch: Batch) -> Forward:
    """The forward pass of the next step; repeated calls give the same result."""
    model, train = state.model, recipe.train
    masks = None
    if model.dropout.draws:
        masks = generator(recipe.seed, "dropout", state.step, device=device_of(model))
    prediction, hidden = model.predict(batch.inputs, batch.lengths, None if batch.fresh else state.carried, masks)
    total, count = recipe.task.loss(prediction, batch)
    penalty = activation_penalty(prediction, batch.lengths, train.ar, train.tar)
    return Forward(prediction, hidden, total / max(count, 1), penalty)  # all values of a window may be missing


def update(state: TrainState, recipe: Recipe, batch: Batch, loss: Tensor, norm: Tensor) -> None:
    """Clip the gradient, update the weights, and add the step to the sums for the next training record."""
    if recipe.clip_norm is not None and norm > recipe.clip_norm:  # most steps need no clipping
        nn.utils.clip_grads_with_norm_(list(state.model.parameters()), recipe.clip_norm, norm)
    for group in state.optimizer.param_groups:
        group["lr"] = current_lr(state, recipe) * batch.lr_factor
    state.optimizer.step()
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.window_loss = state.window_loss + loss.double()  # in single precision the sum could overflow
    state.window_norm = state.window_norm + norm.double()
    state.window_steps += 1


def current_lr(state: TrainState, recipe: Recipe) -> float:
    """The learning rate of the next step, for a batch whose `lr_factor` is 1."""
    return recipe.lr * recipe.schedule.lr_factor(
        state.step, steps=recipe.steps, cuts=state.cuts, epoch=recipe.epoch_at(state.step)
    )


def device_of(model: SequenceModel) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def _diverged(state: TrainState, recipe: Recipe, batch: Batch, loss: float, norm: float) -> Diverged:
    """The error for a step that is not finite, with a report on where the first such number arises."""
    step, lr = state.step + 1, current_lr(state, recipe) * batch.lr_factor
    report = anomaly.examine(state.model, lambda: forward(state, recipe, batch), batch.lengths, backward=True)
    skipped = f" after {state.skipped_steps} others" if state.skipped_steps else ""
    more = "; train.on_divergence=skip goes past such steps" if recipe.max_skips is None else ""
    return Diverged(
        f"step {step} diverged: loss {loss:g}, gradient norm {norm:g}, learning rate {lr:g}, "
        f"{report}; the step was withheld{skipped}; {advice(state, recipe)}{more}",
        {"split": "train", "step": step, "loss": loss, "grad_norm": norm, "lr": lr} | report.as_json(),
    )


def advice(state: TrainState, recipe: Recipe) -> str:
    """What a person can try after a divergence."""
    kept = "there is no best checkpoint yet" if state.best_step is None else "the best checkpoint is kept"
    clip = "optimizer.clip_norm=1" if recipe.clip_norm is None else "a smaller optimizer.clip_norm"
    more = f", or a larger train.max_skips than {recipe.max_skips}" if recipe.max_skips else ""
    return f"{kept}; try a lower optimizer.lr, a schedule.warmup, or {clip}{more}"
