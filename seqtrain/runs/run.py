"""A run that is built: what it consists of, what it records, what it saves, and what it goes on from."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from seqtrain.config import Config, to_yaml
from seqtrain.config.build import (
    build_optimizer,
    build_recipe,
    build_task,
    check_batch_size,
    check_precision,
    check_shards,
    weights_of,
)
from seqtrain.runs.checkpoint import (
    Checkpoint,
    Header,
    encoded,
    header_of,
    load_checkpoint,
    save_checkpoint,
)
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import check_model_memory
from seqtrain.runs.records import MetricsRecord, Summary
from seqtrain.runs.rehearsal import model_to_train
from seqtrain.runs.resume import (
    about,
    check_empty_or_same,
    check_resumable,
    check_same,
    check_weights,
    instead_of_resuming,
)
from seqtrain.system import strict_json
from seqtrain.system.files import write_whole
from seqtrain.system.process_group import ProcessGroup
from seqtrain.system.progress import say, say_once
from seqtrain.system.settings import UserClass
from seqtrain.tasks import Task
from seqtrain.training.recipe import Recipe
from seqtrain.training.state import TrainState
from seqtrain.training.throughput import Clock


@dataclass(frozen=True)
class Run:
    """A run that is built.

    header : of its checkpoints before training.
    group : the processes that train it.
    outline : the names, shapes and types of the weights, if the cell is a user's own, which may change them.
    """

    config: Config
    directory: RunDir
    recipe: Recipe
    state: TrainState
    header: Header
    group: ProcessGroup
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

    def checkpoint(self) -> Checkpoint:
        """The run as it is now."""
        state = self.state
        values = {"step": state.step, "lost_best_step": state.lost_best_step, "training": state.record()}
        return Checkpoint(self.header.model_copy(update=values), state.evaluated.state_dict(), state.tensors())

    def save(self, best: bool) -> None:
        """Save a checkpoint, the best one first: after a kill between the two, the evaluation is repeated, not lost."""
        self.directory.flush_metrics()
        checkpoint = self.checkpoint()
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


def checkpoint_of(directory: RunDir, config: Config) -> tuple[Checkpoint | None, list[str]]:
    """What a run goes on from, None if it has not saved yet; and the changed settings that may change last digits."""
    if not directory.last.exists():
        check_empty_or_same(config, directory)
        return None, []
    checkpoint = load_checkpoint(directory.last, instead_of_resuming(directory))
    return checkpoint, check_same(config, checkpoint, directory)


def build_run(
    config: Config,
    directory: RunDir,
    checkpoint: Checkpoint | None,
    on_record: Callable[[MetricsRecord], None],
    group: ProcessGroup,
    *,
    quiet: bool,
    task: Task | None = None,
    imported: str | None = None,
) -> Run:
    """Build everything that the config asks for; what cannot work is refused here.

    Parameters
    ----------
    checkpoint : that the run goes on from.
    task : if it is built already.
    imported : the name of the file that the weights of a new run will come from.
    """
    header = None if checkpoint is None else checkpoint.header
    known, fitted = (None, None) if header is None else (header.known_words(), header.fitted)
    task = task or build_task(config, known, fitted=fitted, quiet=quiet)
    check_batch_size(config, task)
    check_shards(config, task)
    check_model_memory(config, task.spec)
    for remark in task.remarks(config.train.batch_size):
        say(remark, quiet=quiet)
    if (no_gain := check_precision(config)) is not None:
        say_once(no_gain, quiet=quiet)
    recipe = build_recipe(config, task)
    model, _ = model_to_train(config, task, processes=group.size, quiet=quiet)
    loop = model.stack.loop
    if loop.missing is not None:
        say(f"engine: {loop.missing}; {loop.instead} runs instead", quiet=quiet)
    header = header_of(config, task, imported if header is None else header.imported)
    encoded(Checkpoint(header, model.state_dict(), {}))  # what cannot be saved is refused now, not after hours
    if checkpoint is not None:
        check_resumable(config, task, recipe.steps, header, checkpoint, model, directory)
    state = TrainState(model, build_optimizer(config, model))
    outline = weights_of(config, task.spec) if isinstance(config.model.cell, UserClass) else None
    clock = Clock(time.monotonic())
    return Run(config, directory, recipe, state, header, group, clock, on_record, quiet, outline)


def begin(run: Run, checkpoint: Checkpoint | None, *, resume: bool) -> tuple[Summary | None, bytes | None]:
    """Restore a run, or write what it starts with; returns the summary and the config of the run so far."""
    directory, earlier = run.directory, None
    if checkpoint is not None:
        earlier = _restore(run, checkpoint)
    else:
        directory.clear()
        if resume:
            run.say("no checkpoint to resume from, starting")
    before = directory.config.read_bytes() if directory.config.is_file() else None
    write_whole(directory.config, to_yaml(run.config).encode())
    directory.metrics.touch()
    return earlier, before


def _restore(run: Run, checkpoint: Checkpoint) -> Summary | None:
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
