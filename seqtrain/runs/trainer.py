"""One run: from a config to a run directory with its summary."""

import shlex
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from pydantic import JsonValue

from seqtrain.config import Config
from seqtrain.config.build import (
    build_model,
    build_optimizer,
    build_recipe,
)
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.models import count_parameters
from seqtrain.runs.checkpoint import (
    encoded,
)
from seqtrain.runs.directory import RunDir
from seqtrain.runs.helper import digest_of_batch, help_to_train
from seqtrain.runs.records import Best, Metric, MetricsRecord, Status, Summary, traits_of
from seqtrain.runs.resume import (
    best_weights,
    check_free,
)
from seqtrain.runs.run import Run, begin, build_run, checkpoint_of
from seqtrain.system import strict_json
from seqtrain.system.errors import CheckpointError, Diverged, LostProcess
from seqtrain.system.files import write_whole
from seqtrain.system.notebooks import data_frame, html_table
from seqtrain.system.process_group import ALONE, ProcessGroup
from seqtrain.system.progress import Progress, figure
from seqtrain.system.runtime import keep_freed_memory, prepare, versions
from seqtrain.system.settings import UserClass
from seqtrain.system.signals import StopRequest, stop_requests
from seqtrain.tasks import Task
from seqtrain.training.loop import evaluate, fit
from seqtrain.training.state import TrainState
from seqtrain.training.step import train_step

if TYPE_CHECKING:
    from pandas import DataFrame

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

    @property
    def records(self) -> list[MetricsRecord]:
        """What `metrics.jsonl` in the run directory says, a record a line.

        Raises
        ------
        CheckpointError : the directory does not hold this run any more.
        """
        directory = RunDir(self.path)
        present = directory.read_summary()
        if present is None or present.as_json() != self.summary.as_json():
            raise CheckpointError(
                f"{self.path}: does not hold the run of this result any more: it was trained further, replaced, moved "
                "or removed; use the result of the last training, or give each run a directory of its own with --out"
            )
        return [*directory.read_metrics()]

    def frame(self) -> "DataFrame":
        """The records as a data frame of pandas, which must be installed; a value that was not measured is NaN.

        Raises
        ------
        SeqtrainError : pandas is not installed, or as `records`.
        """
        return data_frame([record.as_json() for record in self.records])

    def _repr_html_(self) -> str:
        """A table below the cell of a notebook."""
        summary, name = self.summary, self.summary.metric.name
        rows = [
            ("status", summary.status),
            ("steps", f"{summary.steps:,} of {summary.planned_steps:,}"),
            (f"best valid {name}", figure(summary.best.value)),
            *((f"test {key}", figure(value)) for key, value in (summary.test or {}).items()),
            ("run", self.path),
        ]
        return html_table(f"{summary.cell} on {summary.variant}", rows)


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
    group: ProcessGroup = ALONE,
) -> Trained:
    """Train, evaluate the best checkpoint on the test set, and write everything into `out`.

    Parameters
    ----------
    resume : continue from the last checkpoint in `out`; start if there is none.
    overwrite : remove the files of an earlier run first.
    quiet : no progress and no remarks on stderr.
    on_record : called with every record once it is in metrics.jsonl.
    on_end : called once everything is written, while the directory is locked.
    group : the processes that train the run together; process 0 writes, and knows alone what is in `out`.

    Raises
    ------
    SeqtrainError : the config, its data, or the directory cannot be used; nothing has been overwritten.
    """
    prepare(config.threads)
    keep_freed_memory()
    config, directory = resolved(as_defined(config)), RunDir(out)
    if not group.leads:
        ended: Trained = help_to_train(config, group)
        return ended
    with ExitStack() as held:
        with group.leading():
            held.enter_context(directory.locked())
            check_free(directory, resume=resume, overwrite=overwrite)
            checkpoint, changed = checkpoint_of(directory, config) if resume else (None, [])
            run = build_run(config, directory, checkpoint, on_record, group, quiet=quiet)
            if changed:
                run.say(f"{', '.join(changed)} changed: the last digits may differ from those of the run so far")
            earlier, before = begin(run, checkpoint, resume=resume)
            if group.size > 1:
                group.share((encoded(run.checkpoint()), digest_of_batch(config, run.recipe.task, run.state.step)))
        with stop_requests(insistent=group.size == 1) as request:
            ending = _train(run, request)
            summary = _summarise(run, ending, earlier)
            directory.write_summary(summary)
            if summary is earlier and before is not None:  # nothing was trained, so this config trained nothing
                write_whole(directory.config, before)
            on_end(directory, summary)
    return _ended(run, ending, summary, request)


def _ended(run: "Run", ending: "_Ending", summary: Summary, request: StopRequest) -> Trained:
    """How a run ended, which the other processes are told."""
    out, code, message = run.directory.path, ending.exit_code, ending.message
    if ending.is_alone:
        return Trained(out, summary, code, message)
    if request.signal_number is not None:
        what = f"interrupted and saved; {_how_to_go_on(out)}"
        what = what if ending.status == "interrupted" else f"{ending.status} and saved"
        code, message = 128 + request.signal_number, f"{out}: {what}"
    trained = Trained(out, summary, code, message)
    with suppress(LostProcess):  # everything is written
        run.group.share(trained)
    return trained


def _how_to_go_on(out: Path) -> str:
    return f"go on with seqtrain train {shlex.quote(str(out))} --resume"


def trial(config: Config, task: Task) -> Callable[[int], None]:
    """A training step of a new model, to be timed: takes the number of the step, keeps nothing."""
    keep_freed_memory()
    config = resolved(config)
    model = build_model(config, task.spec)
    state, recipe = TrainState(model, build_optimizer(config, model)), build_recipe(config, task)
    return lambda number: train_step(state, recipe, task.train_batch(number, config.train.batch_size))


class _Ending(NamedTuple):
    """How training ended.

    divergence : the report of a `Diverged`.
    exit_code : if no signal asked to stop.
    is_alone : the other processes of the run are gone.
    """

    status: Status
    message: str | None = None
    divergence: dict[str, JsonValue] | None = None
    exit_code: int = 0
    is_alone: bool = False


def _train(run: Run, request: StopRequest) -> _Ending:
    """Train to the end, a stop or a divergence; save if another process ends, as all have done the last step."""
    state, recipe, path = run.state, run.recipe, run.directory.path
    with Progress(recipe.steps, done=state.step, label=path.name, quiet=run.quiet) as progress:
        try:
            status = fit(
                state,
                recipe,
                run.clock,
                progress,
                record=run.record,
                save=run.save,
                stop_requested=lambda: request.signal_number is not None,
                group=run.group,
            )
            if status == "interrupted":  # perhaps by a signal to another process
                request.signal_number = run.group.highest(request.signal_number or 0)
        except Diverged as error:
            return _Ending("diverged", f"{path}: {error}", error.report, Diverged.exit_code)
        except LostProcess as error:
            run.save(False)
            message = f"{path}: {error}; saved at step {state.step}; {_how_to_go_on(path)}"
            return _Ending("interrupted", message, None, LostProcess.exit_code, is_alone=True)
    if status == "finished" and state.best_step is None:
        best, metric = run.directory.best.name, recipe.task.metric.name
        return _Ending(status, f"{path}: no evaluation gave a finite {metric}, so there is no {best}")
    return _Ending(status)


def _summarise(run: Run, ending: _Ending, earlier: Summary | None) -> Summary:
    """The summary of a run that has ended; the earlier one if there was nothing left to train."""
    if earlier is not None and not run.clock.work and earlier.status == ending.status != "diverged":
        run.say(f"{ending.status} already, nothing to train{_why_ended(run)}")
        same_budget = earlier.planned_steps == run.recipe.steps
        return earlier if same_budget else earlier.model_copy(update={"planned_steps": run.recipe.steps})
    return summary_of(run, ending.status, ending.divergence)


def summary_of(run: Run, status: Status, divergence: dict[str, JsonValue] | None = None) -> Summary:
    """The summary of a run as it is now; its best checkpoint is tested, unless the run is interrupted."""
    config, task, state = run.config, run.recipe.task, run.state
    further: dict[str, Any] = {f"{task.work_unit}_per_s": run.clock.throughput()}
    if facts := task.facts("test"):
        further["data"] = strict_json.finite(facts)
    if run.header.imported is not None:
        further["imported"] = run.header.imported
    summary = Summary(
        status=status,
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
        test=strict_json.finite(_test_figures(run)) if status != "interrupted" else None,
        baseline=strict_json.finite(task.baseline("test")),
        solved_at_step=state.solved_at_step,
        elapsed_s=round(run.clock.elapsed_s, 3),
        engine=state.model.stack.loop.name,
        precision=config.precision,
        device=config.device,
        threads=torch.get_num_threads(),
        versions=versions(),
        divergence=strict_json.finite(divergence),
        **further,
    )
    is_own = isinstance(config.task, UserClass)
    return summary.model_copy(update={"own_task": traits_of(type(task))}) if is_own else summary


def _why_ended(run: Run) -> str:
    """What ended a run before its last step, and the setting that lets it go on; nothing if all its steps are done."""
    state, train = run.state, run.config.train
    if state.step >= run.recipe.steps:
        return ""
    if state.solved_at_step is not None and train.stop_when_solved:
        return "; train.stop_when_solved=false lets it go on"
    return f"; its patience of {train.patience} is used up, a larger train.patience lets it go on, or null"


def _test_figures(run: Run) -> dict[str, float] | None:
    """Loss and metrics of the best checkpoint on the test set; None if there is no best."""
    if not run.directory.best.exists():
        return None
    model = run.state.model
    model.load_state_dict(best_weights(run.directory, model))
    return evaluate(model, run.recipe.task, "test", run.recipe.eval_batch_size)
