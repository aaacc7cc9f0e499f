"""The one training loop of the project."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seqtrain.models import SequenceModel, StackState, detach_state
from seqtrain.system.errors import Diverged
from seqtrain.system.progress import Progress
from seqtrain.system.rng import generator
from seqtrain.tasks import Batch, Split, Task
from seqtrain.tasks.metrics import Tally
from seqtrain.training import anomaly as divergence
from seqtrain.training.anomaly import Forward
from seqtrain.training.averaging import averaged
from seqtrain.training.regularization import activation_penalty
from seqtrain.training.schedules import Schedule
from seqtrain.training.state import TrainState
from seqtrain.training.throughput import Clock

Ending = Literal["solved", "finished", "interrupted"]


@dataclass(frozen=True)
class Plan:
    """How to train: the parts and the numbers that `fit` needs, none of which change.

    epochs : passes through the training text that `steps` are; None if the run is measured in steps.
    eval_every : steps between two evaluations; None for an epoch.
    ar, tar : weights of the two penalties on activations (see `activation_penalty`).
    average_after : evaluations that a later one is not compared with (see `TrainState`); None for no averaging.
    record : called with every record for metrics.jsonl.
    save : called after an evaluation, at an interruption, and after `save_every` steps or `save_every_s` seconds; its
        argument says whether this is the best so far.
    stop_requested : whether to stop after the present step.
    max_skips : steps that may be withheld in all before the run ends as diverged; None to end it at the first.
    """

    task: Task
    schedule: Schedule
    lr: float
    clip_norm: float | None
    seed: int
    steps: int
    batch_size: int
    eval_every: int | None
    eval_batch_size: int
    log_every: int
    stop_when_solved: bool
    patience: int | None
    record: Callable[[dict[str, Any]], None]
    save: Callable[[bool], None]
    stop_requested: Callable[[], bool]
    ar: float = 0.0
    tar: float = 0.0
    average_after: int | None = None
    epochs: int | None = None
    save_every: int | None = None
    save_every_s: float | None = None
    max_skips: int | None = None


def fit(state: TrainState, plan: Plan, clock: Clock, progress: Progress) -> Ending:
    """Train until solved, out of patience, out of steps, or asked to stop.

    Raises
    ------
    Diverged : a loss or gradient is not finite, and no skips are left; the optimizer step is withheld.
    """
    while True:
        at_end = state.step >= plan.steps
        if state.step > state.evaluated_at and (at_end or _is_evaluation_due(state.step, plan)):
            if state.window_steps:
                _log(state, plan, clock, progress)
            _save(plan, clock, best=_evaluate_and_judge(state, plan, clock, progress))
        elif clock.work and _is_save_due(state.step, plan, clock):
            _save(plan, clock, best=False)
        if state.solved_at_step is not None and (plan.stop_when_solved or at_end):
            return "solved"
        if at_end or (plan.patience is not None and state.stalled >= plan.patience):
            return "finished" if state.solved_at_step is None else "solved"
        if plan.stop_requested():
            plan.save(False)
            return "interrupted"
        started_at = time.monotonic()
        batch = plan.task.train_batch(state.step, plan.batch_size)
        train_step(state, plan, batch)
        clock.count(time.monotonic() - started_at, plan.task.work(batch))
        if plan.task.has_epochs:
            progress.show(epoch=_epoch_of(state.step, plan))
        progress.advance()
        if state.step % plan.log_every == 0:
            _log(state, plan, clock, progress)


def _is_evaluation_due(step: int, plan: Plan) -> bool:
    if plan.eval_every is not None:
        return step % plan.eval_every == 0
    return plan.task.epoch_at(step, plan.batch_size) > plan.task.epoch_at(step - 1, plan.batch_size)


def _is_save_due(step: int, plan: Plan, clock: Clock) -> bool:
    by_steps = plan.save_every is not None and step % plan.save_every == 0
    return by_steps or (plan.save_every_s is not None and time.monotonic() - clock.saved_at >= plan.save_every_s)


def _save(plan: Plan, clock: Clock, *, best: bool) -> None:
    plan.save(best)
    clock.saved_at = time.monotonic()


def _epoch_of(step: int, plan: Plan) -> str:
    """Where a step stands, counted from 1 as steps are: `3/6`, or `3` in a run that is measured in steps."""
    epoch = plan.task.epoch_at(step - 1, plan.batch_size) + 1
    return f"{epoch}" if plan.epochs is None else f"{epoch}/{plan.epochs}"


def train_step(state: TrainState, plan: Plan, batch: Batch) -> None:
    """One step: forward, backward, check, clip, update.

    If the loss or the gradient is not finite, nothing is updated. As long as skips are left that is all; a text goes on
    from its state if that is finite, else from none.

    Raises
    ------
    Diverged : no skips are left.
    """
    state.model.train()
    batch = batch.to(device_of(state.model))
    state.optimizer.zero_grad()  # first, so that the forward pass need not find room beside the gradients
    _, hidden, loss, penalty = _forward(state, plan, batch)
    (loss + penalty).backward()  # type: ignore[no-untyped-call]
    loss = loss.detach()
    parameters = list(state.model.parameters())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    carried = plan.task.carries_state
    if torch.isfinite(loss + norm):
        _update(state, plan, batch, loss, norm)
    elif state.skipped_steps < (plan.max_skips or 0):
        state.skipped_steps += 1
        carried = carried and divergence.is_finite(hidden)
    else:
        raise _diverged_step(state, plan, batch, float(loss), float(norm))
    state.carried = detach_state(hidden) if carried else None
    state.step += 1


def _forward(state: TrainState, plan: Plan, batch: Batch) -> Forward:
    """The forward pass of the next step; the same however often it is asked for."""
    model = state.model
    masks = None
    if model.dropout.draws:
        masks = generator(plan.seed, "dropout", state.step, device=device_of(model))
    prediction, hidden = model.predict(batch.inputs, batch.lengths, None if batch.fresh else state.carried, masks)
    total, count = plan.task.loss(prediction, batch)
    return Forward(prediction, hidden, total / count, activation_penalty(prediction, batch.lengths, plan.ar, plan.tar))


def _update(state: TrainState, plan: Plan, batch: Batch, loss: Tensor, norm: Tensor) -> None:
    """Move the weights along the gradient, and count the step in what is logged."""
    if plan.clip_norm is not None and norm > plan.clip_norm:  # asked first, as most steps need no change
        nn.utils.clip_grads_with_norm_(list(state.model.parameters()), plan.clip_norm, norm)
    for group in state.optimizer.param_groups:
        group["lr"] = current_lr(state, plan) * batch.lr_factor
    state.optimizer.step()
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.window_loss = state.window_loss + loss.double()  # two finite steps may add up to infinity
    state.window_norm = state.window_norm + norm.double()
    state.window_steps += 1


def current_lr(state: TrainState, plan: Plan) -> float:
    """The learning rate of the next step."""
    epoch = plan.task.epoch_at(state.step, plan.batch_size)
    return plan.lr * plan.schedule.lr_factor(state.step, steps=plan.steps, cuts=state.cuts, epoch=epoch)


def device_of(model: SequenceModel) -> torch.device:
    """Where a model's parameters are."""
    return next(model.parameters()).device


def evaluate(
    model: SequenceModel,
    task: Task,
    split: Split,
    batch_size: int,
    learn: Callable[[Tensor], None] | None = None,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Loss and metrics over a whole split; a text's state is carried from window to window.

    progress : of the batches.
    learn : called with the mean loss of each batch once it is counted; it may change the model (see `dynamic`).
    """
    model.eval()
    device, tally = device_of(model), Tally()
    state: StackState | None = None
    with torch.inference_mode(learn is None):
        for batch in task.eval_batches(split, batch_size):
            batch = batch.to(device)
            prediction, state = model.predict(batch.inputs, batch.lengths, None if batch.fresh else state)
            total, count = task.loss(prediction, batch)
            tally.add("loss", total.detach(), count).merge(task.measure(prediction, batch))
            del prediction  # before there is another
            if learn is not None:
                learn(total / count)
                state = detach_state(state)
            if progress is not None:
                progress.advance()
    return task.summarise(tally.means())


def _evaluate_and_judge(state: TrainState, plan: Plan, clock: Clock, progress: Progress) -> bool:
    """Evaluate on the validation set and draw the consequences; returns whether this is the best so far."""
    means = evaluate(state.evaluated, plan.task, "valid", plan.eval_batch_size)
    plan.record(_record(state, plan, clock, "valid", **means))
    if not math.isfinite(means["loss"]):
        raise _diverged_evaluation(state, plan, means["loss"])
    metric, solved = plan.task.metric, plan.task.solved(means)
    first_solved = solved and state.solved_at_step is None
    comparable = solved or state.solved_at_step is None  # nothing unsolved takes the place of a best that is solved
    improved = first_solved or (comparable and metric.better(means[metric.name], state.best_value))
    if improved:
        state.best_step, state.best_value = state.step, means[metric.name]
    state.evaluated_at = state.step
    state.stalled = 0 if improved else state.stalled + 1
    state.stalled_since_cut = 0 if improved else state.stalled_since_cut + 1
    if plan.schedule.is_due(state.stalled_since_cut):
        state.cuts, state.stalled_since_cut = state.cuts + 1, 0
    if plan.average_after is not None and state.average is None:
        before = state.losses[: max(0, len(state.losses) - plan.average_after)]
        if before and means["loss"] > min(before):
            state.average = averaged(state.model)
    state.losses.append(means["loss"])
    if first_solved:
        state.solved_at_step = state.step
    progress.show(**{f"valid {metric.name}": means[metric.name]})
    return improved


def _log(state: TrainState, plan: Plan, clock: Clock, progress: Progress) -> None:
    """Record the averages since the last training record, over the steps that were not skipped; null if all were."""
    means: dict[str, float | None] = {"loss": None, "grad_norm": None}
    if state.window_steps:
        means = {
            "loss": float(state.window_loss) / state.window_steps,
            "grad_norm": float(state.window_norm) / state.window_steps,
        }
    state.window_loss, state.window_norm, state.window_steps = 0.0, 0.0, 0
    skipped = {} if plan.max_skips is None else {"skipped_steps": state.skipped_steps}
    throughput = {f"{plan.task.work_unit}_per_s": clock.throughput_since_record()}
    plan.record(_record(state, plan, clock, "train", **means, **throughput, **skipped))
    progress.show(
        loss=means["loss"],
        skipped=state.skipped_steps or None,
        **{f"{plan.task.work_unit}/s": throughput[f"{plan.task.work_unit}_per_s"]},
    )


def _record(state: TrainState, plan: Plan, clock: Clock, split: str, **figures: float | None) -> dict[str, Any]:
    keys = ("loss", plan.task.metric.name, "lr", "grad_norm", "elapsed_s", f"{plan.task.work_unit}_per_s")
    measured = figures | {"lr": state.optimizer.param_groups[0]["lr"], "elapsed_s": round(clock.elapsed_s, 3)}
    return {"step": state.step, "split": split} | dict.fromkeys(keys) | measured


def _diverged_step(state: TrainState, plan: Plan, batch: Batch, loss: float, norm: float) -> Diverged:
    """The step that is withheld, with what is found out about it."""
    step, lr = state.step + 1, current_lr(state, plan) * batch.lr_factor
    figures = {"split": "train", "step": step, "loss": loss, "grad_norm": norm, "lr": lr}
    report = divergence.examine(state.model, lambda: _forward(state, plan, batch), batch.lengths, backward=True)
    skipped = f" after {state.skipped_steps} others" if state.skipped_steps else ""
    past = "; train.on_divergence=skip goes past such steps" if plan.max_skips is None else ""
    return Diverged(
        f"step {step} diverged: loss {loss:g}, gradient norm {norm:g}, learning rate {lr:g}, "
        f"{divergence.sentence(report)}; the step was withheld{skipped}; {_advice(state, plan)}{past}",
        figures | report,
    )


def _diverged_evaluation(state: TrainState, plan: Plan, loss: float) -> Diverged:
    """A validation loss that is not finite, with what is found out about it."""
    step, lr = state.step, state.optimizer.param_groups[0]["lr"]
    figures = {"split": "valid", "step": step, "loss": loss, "grad_norm": None, "lr": lr}
    batches = (batch.to(device_of(state.model)) for batch in plan.task.eval_batches("valid", plan.eval_batch_size))
    report = divergence.examine_evaluation(state.evaluated, batches, plan.task)
    return Diverged(
        f"the validation loss after step {step} is {loss:g}: learning rate {lr:g}, {divergence.sentence(report)}; "
        f"{_advice(state, plan)}",
        figures | report,
    )


def _advice(state: TrainState, plan: Plan) -> str:
    kept = "there is no best checkpoint yet" if state.best_step is None else "the best checkpoint is kept"
    clip = "optimizer.clip_norm=1" if plan.clip_norm is None else "a smaller optimizer.clip_norm"
    more = f", or a larger train.max_skips than {plan.max_skips}" if plan.max_skips else ""
    return f"{kept}; try a lower optimizer.lr, a schedule.warmup, or {clip}{more}"
