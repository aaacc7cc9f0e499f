"""The training loop, and the evaluation of a model on a split."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seqtrain.models import SequenceModel, StackState, detach_state
from seqtrain.system.errors import Diverged
from seqtrain.system.process_group import ALONE, ProcessGroup
from seqtrain.system.progress import Progress
from seqtrain.tasks import Batch, Split, Task
from seqtrain.tasks.metrics import Tally
from seqtrain.training import anomaly
from seqtrain.training.averaging import averaged
from seqtrain.training.gradient import device_of
from seqtrain.training.recipe import Recipe
from seqtrain.training.state import TrainState
from seqtrain.training.step import advice, train_step
from seqtrain.training.throughput import Clock

Ending = Literal["solved", "finished", "interrupted"]


def fit(
    state: TrainState,
    recipe: Recipe,
    clock: Clock,
    progress: Progress,
    *,
    record: Callable[..., None],
    save: Callable[[bool], None],
    stop_requested: Callable[[], bool],
    group: ProcessGroup = ALONE,
) -> Ending:
    """Train until the task is solved, patience or steps run out, or a stop is requested.

    Parameters
    ----------
    record : called every `train.log_every` steps with "train" and the figures of training by name, and after every
        evaluation with "valid" and its figures.
    save : called after an evaluation, at a requested stop, and every `train.save_every` steps or `train.save_every_s`
        seconds, also before or during an evaluation; its argument says whether the model is the best so far.
    stop_requested : whether to stop before the next step; of several processes, one that is asked stops all.
    group : the processes that train together.

    Raises
    ------
    Diverged : a loss or a gradient is not finite, and no skips are left; the update is withheld.
    LostProcess : another process has ended; the state is that after the last step which all have done.
    """
    task, train = recipe.task, recipe.train
    batches = _batches(recipe, state.step)
    while True:
        at_end = state.step >= recipe.steps
        if state.step > state.evaluated_at and (at_end or _is_evaluation_due(state.step, recipe)):
            if state.window_steps:
                _log(state, recipe, clock, progress, record)
            safeguard = _Safeguard(recipe, clock, save, stop_requested)
            save(_evaluate(state, recipe, progress, record, safeguard, group))
            clock.saved_at = time.monotonic()
        elif clock.work and _is_save_due(state.step, recipe, clock):
            save(False)
            clock.saved_at = time.monotonic()
        if state.solved_at_step is not None and (train.stop_when_solved or at_end):
            return "solved"
        if at_end or (train.patience is not None and state.stalled >= train.patience):
            return "finished" if state.solved_at_step is None else "solved"
        if group.highest(stop_requested()):
            save(False)
            return "interrupted"
        started_at = time.monotonic()
        batch = next(batches)
        train_step(state, recipe, batch, group)
        clock.count(time.monotonic() - started_at, task.work(batch))
        if task.has_epochs:
            epoch = recipe.epoch_at(state.step - 1) + 1
            progress.show(epoch=f"{epoch}" if train.epochs is None else f"{epoch}/{train.epochs}")
        progress.advance()
        if state.step % train.log_every == 0:
            _log(state, recipe, clock, progress, record)


AHEAD_S, AHEAD_BYTES = 0.004, 1 << 20
"""For how long, and into how much memory, batches are made ahead."""


def _batches(recipe: Recipe, step: int) -> Iterator[Batch]:
    """The training batches from a step on.

    Small ones are made several at a time, which takes half as long: a step of the model empties the processor's caches.
    """
    while step < recipe.steps:
        made: list[Batch] = []
        until, room = time.monotonic() + AHEAD_S, AHEAD_BYTES
        while not made or (step < recipe.steps and room > 0 and time.monotonic() < until):
            made.append(recipe.task.train_batch(step, recipe.train.batch_size))
            step, room = step + 1, room - made[-1].bytes
        yield from made


def _is_evaluation_due(step: int, recipe: Recipe) -> bool:
    """Whether an evaluation follows a step; where `eval_every` is null, one follows each epoch."""
    if recipe.train.eval_every is not None:
        return step % recipe.train.eval_every == 0
    return recipe.epoch_at(step) > recipe.epoch_at(step - 1)


def _is_save_due(step: int, recipe: Recipe, clock: Clock) -> bool:
    every = recipe.train.save_every
    return (every is not None and step % every == 0) or _is_time_to_save(recipe, clock)


def _is_time_to_save(recipe: Recipe, clock: Clock) -> bool:
    every_s = recipe.train.save_every_s
    return every_s is not None and time.monotonic() - clock.saved_at >= every_s


@dataclass
class _Safeguard:
    """Saves what was trained before an evaluation, as soon as a save is due or a stop is requested, and only once.

    A long evaluation may not end: the machine goes down, or a batch system kills a process that does not stop.
    """

    recipe: Recipe
    clock: Clock
    save: Callable[[bool], None]
    stop_requested: Callable[[], bool]
    has_saved: bool = False

    def __call__(self) -> None:
        """To be called before the evaluation, and after each of its batches."""
        if self.has_saved or not self.clock.work:
            return
        if _is_time_to_save(self.recipe, self.clock) or self.stop_requested():
            self.save(False)
            self.has_saved = True


def _log(state: TrainState, recipe: Recipe, clock: Clock, progress: Progress, record: Callable[..., None]) -> None:
    """Record means since the last training record, over the steps that were not skipped; None if all were skipped."""
    steps, unit = state.window_steps, recipe.task.work_unit
    loss, norm = (total / steps if steps else None for total in (state.window_loss, state.window_norm))
    state.window_loss, state.window_norm, state.window_steps = 0.0, 0.0, 0
    skipped = {} if recipe.max_skips is None else {"skipped_steps": state.skipped_steps}
    rate = clock.throughput_since_record()
    record("train", loss=loss, grad_norm=norm, **{f"{unit}_per_s": rate}, **skipped)
    progress.show(loss=loss, skipped=state.skipped_steps or None, **{f"{unit}/s": rate})


def _evaluate(
    state: TrainState,
    recipe: Recipe,
    progress: Progress,
    record: Callable[..., None],
    safeguard: _Safeguard,
    group: ProcessGroup,
) -> bool:
    """Evaluate on the validation set and update the state; returns whether this evaluation is the best so far."""
    task = recipe.task
    safeguard()
    means = evaluate(state.evaluated, task, "valid", recipe.eval_batch_size, None, safeguard, group)
    record("valid", **means)
    if not math.isfinite(means["loss"]):
        raise _diverged(state, recipe, means["loss"])
    progress.show(**{f"valid {task.metric.name}": means[task.metric.name]})
    return judge(state, recipe, means)


def judge(state: TrainState, recipe: Recipe, means: dict[str, float]) -> bool:
    """Note the figures of an evaluation on the validation set; returns whether it is the best so far."""
    _start_averaging(state, recipe, means["loss"])
    return _judge(state, recipe, means[recipe.task.metric.name], solved=recipe.task.solved(means))


def _judge(state: TrainState, recipe: Recipe, value: float, *, solved: bool) -> bool:
    """Compare an evaluation with the best so far; an evaluation that solves the task is better than any other."""
    first_solved = solved and state.solved_at_step is None
    comparable = solved or state.solved_at_step is None or state.best_step is None
    improved = first_solved or (comparable and recipe.task.metric.better(value, state.best_value))
    if improved:
        state.best_step, state.best_value = state.step, value
    if first_solved:
        state.solved_at_step = state.step
    state.evaluated_at = state.step
    state.stalled = 0 if improved else state.stalled + 1
    is_warming_up = state.step <= recipe.schedule.warmup  # the learning rate has never had its full value
    state.stalled_since_cut = 0 if improved or is_warming_up else state.stalled_since_cut + 1
    if recipe.schedule.is_due(state.stalled_since_cut):
        state.cuts, state.stalled_since_cut = state.cuts + 1, 0
    return improved


def _start_averaging(state: TrainState, recipe: Recipe, loss: float) -> None:
    """Start to average the weights once a loss is worse than the best of all but the last `average_after` before it."""
    after = recipe.train.average_after
    if after is not None and state.average is None:
        before = state.losses[: max(0, len(state.losses) - after)]
        if before and loss > min(before):
            state.average = averaged(state.model)
    state.losses.append(loss)


def evaluate(
    model: SequenceModel,
    task: Task,
    split: Split,
    batch_size: int,
    learn: Callable[[Tensor], None] | None = None,
    on_batch: Callable[[], None] = lambda: None,
    group: ProcessGroup = ALONE,
) -> dict[str, float]:
    """Loss and metrics over a whole split; the state of a text is carried from window to window.

    Several processes share the batches; windows that carry a state are all evaluated by one of them. The sums are put
    together in the order of the batches, so that every process has the figures that one alone would have.

    Parameters
    ----------
    learn : called with the mean loss of each batch once it is counted; it may change the model (see
        `DynamicEvaluation`).
    on_batch : called after each batch.
    group : the processes that share the work.
    """
    model.eval()
    device, tallies, texts = device_of(model), dict[int, Tally](), -1
    state: StackState | None = None
    with torch.set_grad_enabled(learn is not None):  # not inference mode: a cell may keep a tensor for training
        for number, batch in enumerate(task.eval_batches(split, batch_size)):
            texts += batch.fresh
            if texts % group.size != group.rank:
                continue
            batch = batch.to(device)
            prediction, state = model.predict(batch.inputs, batch.lengths, None if batch.fresh else state)
            total, count = task.loss(prediction, batch)
            tallies[number] = Tally().add("loss", total.detach(), count).merge(task.measure(prediction, batch))
            del prediction  # frees its memory before the next one is made
            if learn is not None:
                learn(total / count)
                state = detach_state(state)
            on_batch()
    by_number = {number: tally for part in group.gather_objects(tallies) for number, tally in part.items()}
    whole = Tally()
    for number in sorted(by_number):
        whole.merge(by_number[number])
    return task.summarise(whole.means())


def _diverged(state: TrainState, recipe: Recipe, loss: float) -> Diverged:
    """The error for a validation loss that is not finite, with a report on where the first such number arises."""
    lr = state.optimizer.param_groups[0]["lr"]
    batches = recipe.task.eval_batches("valid", recipe.eval_batch_size)
    on_device = (batch.to(device_of(state.model)) for batch in batches)
    report = anomaly.examine_evaluation(state.evaluated, on_device, recipe.task)
    return Diverged(
        f"the validation loss after step {state.step} is {loss:g}: learning rate {lr:g}, {report}; "
        f"{advice(state, recipe)}",
        {"split": "valid", "step": state.step, "loss": loss, "grad_norm": None, "lr": lr} | report.as_json(),
    )
