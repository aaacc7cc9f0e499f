"""One run: from a config to a run directory with its summary."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seqtrain.config import Config, to_yaml
from seqtrain.config.build import (
    build_model,
    build_optimizer,
    build_task,
    check_batch_size,
    total_steps,
)
from seqtrain.models import SequenceModel, count_parameters
from seqtrain.runs.checkpoint import Checkpoint, Header, encoded, header_of, load_checkpoint, save_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.memory_estimate import check_memory, check_model_memory
from seqtrain.runs.resume import (
    best_weights,
    check_empty_or_same,
    check_free,
    check_resumable,
    check_same,
    check_untouched,
    instead_of_resuming,
)
from seqtrain.runs.summary import fault_of
from seqtrain.system.errors import Diverged
from seqtrain.system.progress import Progress, say
from seqtrain.system.runtime import keep_freed_memory, prepare, versions
from seqtrain.system.signals import stop_requests
from seqtrain.tasks import Task
from seqtrain.training.loop import Plan, evaluate, fit, train_step
from seqtrain.training.state import TrainState
from seqtrain.training.throughput import Clock

RUNS = Path("runs")
"""Where runs go unless something else is said."""


class Outcome(NamedTuple):
    """How a run ended: its summary, the exit code that scripts see, and what to tell a person, if anything."""

    summary: dict[str, Any]
    exit_code: int
    message: str | None


def run_name(config_name: str, config: Config) -> str:
    """The directory name of a run, `<config>-<cell>-seed<seed>`."""
    cell = config.model.cell.name.replace(":", ".")  # of a user's own: no colons in names of files
    return f"{config_name}-{cell}-seed{config.seed}"


def train_run(
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    told: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Outcome:
    """Train, evaluate the best checkpoint on the test set, and write everything into `out`.

    Parameters
    ----------
    resume : go on where `last.safetensors` stands; start if there is none.
    overwrite : remove the files of an earlier run first.
    quiet : no progress and no remarks on stderr.
    told : called with every record once it is in metrics.jsonl.

    Raises
    ------
    SeqtrainError : something about the config, its data, or the directory; nothing has been overwritten.
    """
    prepare(config.threads)
    keep_freed_memory()
    run = RunDir(out)
    seen = run.stamp()
    check_free(run, resume=resume, overwrite=overwrite)
    resumed = load_checkpoint(run.last, instead_of_resuming(run)) if resume and run.last.exists() else None
    if resumed is not None:
        check_same(config, resumed, run)
    elif resume:
        check_empty_or_same(config, run)
    task = build_task(config, None if resumed is None else resumed.header.known_words(), quiet=quiet)
    check_batch_size(config, task)
    check_model_memory(config, task.spec)
    for remark in task.remarks():
        say(remark, quiet=quiet)
    steps = total_steps(config, task)
    model = build_model(config, task.spec)
    check_memory(config, task, model)
    if model.stack.loop.missing is not None:
        say(f"engine: {model.stack.loop.missing}; the plain loop runs instead", quiet=quiet)
    state = TrainState(model, build_optimizer(config, model))
    header = header_of(config, task)
    encoded(Checkpoint(header, model.state_dict(), {}))  # what cannot be saved is refused now, not after hours
    if resumed is not None:
        check_resumable(config, steps, header, resumed, model, run)
    run.create()
    with run.locked():
        check_free(run, resume=resume, overwrite=overwrite)
        check_untouched(run, seen)
        return _train(config, task, steps, state, header, run, resumed, resume=resume, quiet=quiet, told=told)


def _train(
    config: Config,
    task: Task,
    steps: int,
    state: TrainState,
    header: Header,
    run: RunDir,
    resumed: Checkpoint | None,
    *,
    resume: bool,
    quiet: bool,
    told: Callable[[dict[str, Any]], None],
) -> Outcome:
    """What `train_run` does once everything is built and the directory is its own."""
    elapsed, out = 0.0, run.path
    earlier = _earlier_summary(run, config) if resumed is not None else None
    if resumed is not None:
        assert resumed.header.training is not None  # see check_resumable
        state.restore(resumed.header.step, resumed.header.training, resumed.weights, resumed.training)
        elapsed = max(run.rewind_metrics(state.step), _elapsed_when_interrupted(run, state.step))
        run.summary.unlink(missing_ok=True)
        say(f"{out}: resuming at step {state.step}", quiet=quiet)
        if (earlier or {}).get("status") == "diverged" and config.train.on_divergence == "stop":
            say(f"{out}: it diverged and will do so again; train.on_divergence=skip withholds such steps", quiet=quiet)
    else:
        run.clear()
        if resume:
            say(f"{out}: no checkpoint to resume from, starting", quiet=quiet)
    run.write_config(to_yaml(config))
    run.metrics.touch()

    def save(best: bool) -> None:
        run.flush_metrics()
        now = header.model_copy(update={"step": state.step, "training": state.record()})
        checkpoint = Checkpoint(now, state.evaluated.state_dict(), state.tensors())
        if best:  # first: a kill between the two then repeats this evaluation instead of missing it
            save_checkpoint(run.best, checkpoint.for_evaluation())
        save_checkpoint(run.last, checkpoint)

    def record(figures: dict[str, Any]) -> None:
        run.append(figures)
        told(figures)

    clock = Clock(started_at=time.monotonic() - elapsed)
    with stop_requests() as request:
        plan = _plan(config, task, steps, record, save, lambda: request.signal_number is not None)
        with Progress(plan.steps, done=state.step, label=out.name, quiet=quiet) as progress:
            try:
                status: str = fit(state, plan, clock, progress)
                message = divergence = None
            except Diverged as error:
                status, message, divergence = "diverged", f"{out}: {error}", error.report
        if status == "finished" and state.best_step is None:
            message = f"{out}: no evaluation gave a finite {task.metric.name}, so there is no {run.best.name}"
        if earlier is not None and not clock.work and earlier.get("status") == status != "diverged":
            say(f"{out}: {status} already, nothing to train", quiet=quiet)
            summary = earlier
        else:
            summary = _summary(config, task, steps, state, run, status, clock) | {"divergence": divergence}
        run.write_summary(summary)
    if request.signal_number is not None:
        what = "interrupted and saved; go on with --resume" if status == "interrupted" else f"{status} and saved"
        return Outcome(summary, 128 + request.signal_number, f"{out}: {what}")
    return Outcome(summary, Diverged.exit_code if status == "diverged" else 0, message)


def _earlier_summary(run: RunDir, config: Config) -> dict[str, Any] | None:
    """What summary.json says so far; None if it is missing, or says what no run would: it is written anew."""
    found = run.read_summary()
    return None if found is None or fault_of(found, config.model_dump(mode="json")) else found


def _elapsed_when_interrupted(run: RunDir, step: int) -> float:
    """What the summary of an interrupted run says, if it stands at that step; the metrics may end earlier."""
    summary = run.read_summary() or {}
    elapsed = summary.get("elapsed_s")
    return float(elapsed) if summary.get("steps") == step and isinstance(elapsed, int | float) else 0.0


def trial(config: Config, task: Task) -> Callable[[int], None]:
    """A training step of a new model, to be timed: takes the number of the step, keeps nothing."""
    keep_freed_memory()
    model = build_model(config, task.spec)
    state = TrainState(model, build_optimizer(config, model))
    plan = _plan(config, task, total_steps(config, task), lambda _: None, lambda _: None, lambda: False)
    return lambda number: train_step(state, plan, task.train_batch(number, config.train.batch_size))


def _plan(
    config: Config,
    task: Task,
    steps: int,
    record: Callable[[dict[str, Any]], None],
    save: Callable[[bool], None],
    stop_requested: Callable[[], bool],
) -> Plan:
    train = config.train
    return Plan(
        task=task,
        schedule=config.schedule,
        lr=config.optimizer.lr,
        clip_norm=config.optimizer.clip_norm,
        seed=config.seed,
        steps=steps,
        epochs=train.epochs,
        batch_size=train.batch_size,
        eval_every=train.eval_every or (200 if train.epochs is None else None),
        eval_batch_size=train.eval_batch_size or task.eval_batch_size,
        log_every=train.log_every,
        save_every=train.save_every,
        save_every_s=train.save_every_s,
        ar=train.ar,
        tar=train.tar,
        average_after=train.average_after,
        stop_when_solved=train.stop_when_solved,
        patience=train.patience,
        max_skips=(train.max_skips or 10) if train.on_divergence == "skip" else None,
        record=record,
        save=save,
        stop_requested=stop_requested,
    )


def _summary(
    config: Config, task: Task, steps: int, state: TrainState, run: RunDir, status: str, clock: Clock
) -> dict[str, Any]:
    """What summary.json says."""
    model = config.model
    return {
        "status": status,
        "task": task.name,
        "variant": task.definition,
        "cell": model.cell.name,
        "direction": model.direction,
        "depth": len(model.hidden_sizes()),
        "hidden_size": model.hidden_size,
        "parameters": count_parameters(state.model),
        "seed": config.seed,
        "steps": state.step,
        "skipped_steps": state.skipped_steps,
        "planned_steps": steps,
        "metric": task.metric._asdict(),
        "best": {"step": state.best_step, "value": state.best_value},
        "test": _test_figures(config, task, state.model, run) if status != "interrupted" else None,
        "baseline": task.baseline("test"),
        "solved_at_step": state.solved_at_step,
        "elapsed_s": round(clock.elapsed_s, 3),
        f"{task.work_unit}_per_s": clock.throughput(),
        "engine": state.model.stack.loop.name,
        "device": config.device,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def _test_figures(config: Config, task: Task, model: SequenceModel, run: RunDir) -> dict[str, float] | None:
    """Loss and metrics of the best checkpoint on the test set; None if there is no best."""
    if not run.best.exists():
        return None
    model.load_state_dict(best_weights(run, model))
    return evaluate(model, task, "test", config.train.eval_batch_size or task.eval_batch_size)
