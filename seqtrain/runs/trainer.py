"""One run: from a config to a run directory with its summary."""

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import Tensor

from seqtrain.config import Config, to_yaml
from seqtrain.config.build import (
    build_model,
    build_optimizer,
    build_recipe,
    build_task,
    check_batch_size,
    weights_of,
)
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.models import count_parameters
from seqtrain.runs.checkpoint import Checkpoint, Header, encoded, header_of, load_checkpoint, save_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import check_model_memory
from seqtrain.runs.records import Best, Metric, MetricsRecord, Status, Summary, traits_of
from seqtrain.runs.rehearsal import model_to_train
from seqtrain.runs.resume import (
    about,
    best_weights,
    check_empty_or_same,
    check_free,
    check_resumable,
    check_same,
    check_weights,
    instead_of_resuming,
)
from seqtrain.system import strict_json
from seqtrain.system.errors import Diverged
from seqtrain.system.files import write_whole
from seqtrain.system.progress import Progress, say
from seqtrain.system.runtime import keep_freed_memory, prepare, versions
from seqtrain.system.settings import UserClass
from seqtrain.system.signals import stop_requests
from seqtrain.tasks import Task
from seqtrain.training.loop import evaluate, fit
from seqtrain.training.state import TrainState
from seqtrain.training.step import Recipe, train_step
from seqtrain.training.throughput import Clock

RUNS = Path("runs")
"""Where runs go by default."""


class Trained(NamedTuple):
    """A run that has ended.

    path : its directory.
    summary : what its `summary.json` says.
    exit_code : 0, 3 if it diverged, 130 or 143 if a signal interrupted it.
    message : what a person should know, if anything.
    """

    path: Path
    summary: Summary
    exit_code: int
    message: str | None

    def as_json(self) -> dict[str, object]:
        """What `seqtrain train --json` prints."""
        return {**self.summary.as_json(), "run": str(self.path)}


def run_name(config_name: str, config: Config) -> str:
    """The directory name of a run, `<config>-<cell>-seed<seed>`."""
    cell = config.model.cell.name.replace(":", ".")  # a user's own cell; file names take no colons everywhere
    return f"{config_name}-{cell}-seed{config.seed}"


def train_run(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    on_record: Callable[[MetricsRecord], None] = lambda _: None,
    on_end: Callable[[RunDir, Summary], None] = lambda *_: None,
) -> Trained:
    """Train, evaluate the best checkpoint on the test set, and write everything into `out`.

    Parameters
    ----------
    resume : continue from the last checkpoint in `out`; start if there is none.
    overwrite : remove the files of an earlier run first.
    quiet : no progress and no remarks on stderr.
    on_record : called with every record once it is in metrics.jsonl.
    on_end : called once everything is written, while the directory is locked.

    Raises
    ------
    SeqtrainError : the config, its data, or the directory cannot be used; nothing has been overwritten.
    """
    prepare(config.threads)
    keep_freed_memory()
    config, directory = resolved(as_defined(config)), RunDir(out)
    with directory.locked():
        check_free(directory, resume=resume, overwrite=overwrite)
        checkpoint, changed = None, list[str]()
        if resume and directory.last.exists():
            checkpoint = load_checkpoint(directory.last, instead_of_resuming(directory))
            changed = check_same(config, checkpoint, directory)
        elif resume:
            check_empty_or_same(config, directory)
        run = _build(config, directory, checkpoint, on_record, quiet=quiet)
        earlier = None
        if checkpoint is not None:
            earlier = _restore(run, checkpoint)
            if changed:
                run.say(f"{', '.join(changed)} changed: the last digits may differ from those of the run so far")
        else:
            directory.clear()
            if resume:
                run.say("no checkpoint to resume from, starting")
        before = directory.config.read_bytes() if directory.config.is_file() else None
        write_whole(directory.config, to_yaml(config).encode())
        directory.metrics.touch()
        with stop_requests() as request:
            ending = _train(run, lambda: request.signal_number is not None)
            summary = _summarise(run, ending, earlier)
            directory.write_summary(summary)
            if summary is earlier and before is not None:  # nothing was trained, so this config trained nothing
                write_whole(directory.config, before)
            on_end(directory, summary)
    if request.signal_number is not None:
        what = f"interrupted and saved; go on with seqtrain train {shlex.quote(str(out))} --resume"
        what = what if ending.status == "interrupted" else f"{ending.status} and saved"
        return Trained(out, summary, 128 + request.signal_number, f"{out}: {what}")
    return Trained(out, summary, Diverged.exit_code if ending.status == "diverged" else 0, ending.message)


def trial(config: Config, task: Task) -> Callable[[int], None]:
    """A training step of a new model, to be timed: takes the number of the step, keeps nothing."""
    keep_freed_memory()
    config = resolved(config)
    model = build_model(config, task.spec)
    state, recipe = TrainState(model, build_optimizer(config, model)), build_recipe(config, task)
    return lambda number: train_step(state, recipe, task.train_batch(number, config.train.batch_size))


@dataclass(frozen=True)
class _Run:
    """A run that is built.

    header : of its checkpoints before training.
    outline : the names, shapes and types of the weights, if the cell is a user's own, which may change them.
    """

    config: Config
    directory: RunDir
    recipe: Recipe
    state: TrainState
    header: Header
    clock: Clock
    on_record: Callable[[MetricsRecord], None]
    quiet: bool
    outline: dict[str, Tensor] | None

    def say(self, remark: str) -> None:
        """A remark on stderr."""
        say(f"{self.directory.path}: {remark}", quiet=self.quiet)

    def record(self, split: str, **figures: float | None) -> None:
        """Add a record to the metrics; what was not measured is null."""
        names = ("loss", self.recipe.task.metric.name, "grad_norm", f"{self.recipe.task.work_unit}_per_s")
        record = MetricsRecord(
            step=self.state.step,
            split=split,
            lr=self.state.optimizer.param_groups[0]["lr"],
            elapsed_s=round(self.clock.elapsed_s, 3),
            **dict.fromkeys(names) | strict_json.finite(figures),
        )
        self.directory.append(record)
        self.on_record(record)

    def save(self, best: bool) -> None:
        """Save a checkpoint, the best one first: after a kill between the two, the evaluation is repeated, not lost."""
        self.directory.flush_metrics()
        state = self.state
        values = {"step": state.step, "lost_best_step": state.lost_best_step, "training": state.record()}
        header = self.header.model_copy(update=values)
        checkpoint = Checkpoint(header, state.evaluated.state_dict(), state.tensors())
        if self.outline is not None:
            with about(self.directory.last, "the cell has changed them; make all weights when the cell is made"):
                check_weights(checkpoint.weights, self.outline)
        if best:
            save_checkpoint(self.directory.best, checkpoint.for_evaluation())
        is_first = not self.directory.last.exists()
        save_checkpoint(self.directory.last, checkpoint)
        if is_first:  # what cannot be read back is known now, not after hours
            load_checkpoint(self.directory.last, "check the disk")

    def recover_best(self) -> bool:
        """Write the best checkpoint again if it was removed; returns False if that is not possible."""
        state, best = self.state, self.directory.best
        if state.best_step is None or best.exists():
            return True
        if state.best_step == state.step:
            self.save(best=True)
            self.say(f"{best.name} was missing and is written again; it is the last checkpoint")
            return True
        self.say(f"{best.name}, of step {state.best_step}, is missing; the best of the later evaluations will be saved")
        state.forget_best()
        return False


class _Ending(NamedTuple):
    """How training ended; `divergence` is the report of a `Diverged`."""

    status: Status
    message: str | None = None
    divergence: dict[str, JsonValue] | None = None


def _build(
    config: Config,
    directory: RunDir,
    checkpoint: Checkpoint | None,
    on_record: Callable[[MetricsRecord], None],
    *,
    quiet: bool,
) -> _Run:
    """Build everything that the config asks for; what cannot work is refused here."""
    header = None if checkpoint is None else checkpoint.header
    known, fitted = (None, None) if header is None else (header.known_words(), header.fitted)
    task = build_task(config, known, fitted=fitted, quiet=quiet)
    check_batch_size(config, task)
    check_model_memory(config, task.spec)
    for remark in task.remarks(config.train.batch_size):
        say(remark, quiet=quiet)
    recipe = build_recipe(config, task)
    model, _ = model_to_train(config, task, quiet=quiet)
    if model.stack.loop.missing is not None:
        say(f"engine: {model.stack.loop.missing}; the plain loop runs instead", quiet=quiet)
    header = header_of(config, task)
    encoded(Checkpoint(header, model.state_dict(), {}))  # what cannot be saved is refused now, not after hours
    if checkpoint is not None:
        check_resumable(config, task, recipe.steps, header, checkpoint, model, directory)
    state = TrainState(model, build_optimizer(config, model))
    outline = weights_of(config, task.spec) if isinstance(config.model.cell, UserClass) else None
    return _Run(config, directory, recipe, state, header, Clock(time.monotonic()), on_record, quiet, outline)


def _restore(run: _Run, checkpoint: Checkpoint) -> Summary | None:
    """Continue from a checkpoint; returns the summary so far, None if it is missing, damaged, or of another run."""
    directory, state = run.directory, run.state
    summary = directory.read_summary()
    assert checkpoint.header.training is not None  # see check_resumable
    state.restore(checkpoint.header.step, checkpoint.header.training, checkpoint.weights, checkpoint.training)
    elapsed = directory.rewind_metrics(state.step, evaluated=state.evaluated_at == state.step)
    if summary is not None and summary.steps == state.step:  # an interrupted run: the metrics may end earlier
        elapsed = max(elapsed, summary.elapsed_s)
    run.clock.started_at -= elapsed
    for file in (directory.summary, directory.curve):  # they tell how the run has ended
        directory.remove(file)
    run.say(f"resuming at step {state.step}")
    if not run.recover_best() or summary is None or summary.fault_beside(run.config):
        return None
    if summary.status == "diverged" and run.config.train.on_divergence == "stop":
        run.say("it diverged and will do so again; train.on_divergence=skip withholds such steps")
    return summary


def _train(run: _Run, stop_requested: Callable[[], bool]) -> _Ending:
    """Train to the end, a stop or a divergence."""
    state, recipe, path = run.state, run.recipe, run.directory.path
    with Progress(recipe.steps, done=state.step, label=path.name, quiet=run.quiet) as progress:
        try:
            status = fit(
                state, recipe, run.clock, progress, record=run.record, save=run.save, stop_requested=stop_requested
            )
        except Diverged as error:
            return _Ending("diverged", f"{path}: {error}", error.report)
    if status == "finished" and state.best_step is None:
        best, metric = run.directory.best.name, recipe.task.metric.name
        return _Ending(status, f"{path}: no evaluation gave a finite {metric}, so there is no {best}")
    return _Ending(status)


def _summarise(run: _Run, ending: _Ending, earlier: Summary | None) -> Summary:
    """The summary of a run that has ended; the earlier one if there was nothing left to train."""
    if earlier is not None and not run.clock.work and earlier.status == ending.status != "diverged":
        run.say(f"{ending.status} already, nothing to train{_why_ended(run)}")
        same_budget = earlier.planned_steps == run.recipe.steps
        return earlier if same_budget else earlier.model_copy(update={"planned_steps": run.recipe.steps})
    config, task, state = run.config, run.recipe.task, run.state
    further: dict[str, Any] = {f"{task.work_unit}_per_s": run.clock.throughput()}
    if facts := task.facts("test"):
        further["data"] = strict_json.finite(facts)
    summary = Summary(
        status=ending.status,
        task=config.task.name,
        variant=task.definition,
        fingerprints=run.header.fingerprints,
        cell=config.model.cell.name,
        direction=config.model.direction,
        depth=len(config.model.hidden_sizes()),
        hidden_size=config.model.hidden_size,
        parameters=count_parameters(state.model),
        seed=config.seed,
        steps=state.step,
        skipped_steps=state.skipped_steps,
        planned_steps=run.recipe.steps,
        metric=Metric(**task.metric._asdict()),
        best=Best(step=state.best_step, value=state.best_value),
        lost_best_step=state.lost_best_step,
        test=strict_json.finite(_test_figures(run)) if ending.status != "interrupted" else None,
        baseline=strict_json.finite(task.baseline("test")),
        solved_at_step=state.solved_at_step,
        elapsed_s=round(run.clock.elapsed_s, 3),
        engine=state.model.stack.loop.name,
        device=config.device,
        threads=torch.get_num_threads(),
        versions=versions(),
        divergence=strict_json.finite(ending.divergence),
        **further,
    )
    is_own = isinstance(config.task, UserClass)
    return summary.model_copy(update={"own_task": traits_of(type(task))}) if is_own else summary


def _why_ended(run: _Run) -> str:
    """What ended a run before its last step, and the setting that lets it go on; nothing if all its steps are done."""
    state, train = run.state, run.config.train
    if state.step >= run.recipe.steps:
        return ""
    if state.solved_at_step is not None and train.stop_when_solved:
        return "; train.stop_when_solved=false lets it go on"
    return f"; its patience of {train.patience} is used up, a larger train.patience lets it go on, or null"


def _test_figures(run: _Run) -> dict[str, float] | None:
    """Loss and metrics of the best checkpoint on the test set; None if there is no best."""
    if not run.directory.best.exists():
        return None
    model = run.state.model
    model.load_state_dict(best_weights(run.directory, model))
    return evaluate(model, run.recipe.task, "test", run.recipe.eval_batch_size)
