"""A trained model back from its checkpoint, alone or with its task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from seqtrain.config import Config, config_from
from seqtrain.config.build import build_model, build_task, weights_of
from seqtrain.config.plugins import vouched, without_folder
from seqtrain.config.resolve import unresolved
from seqtrain.inference.dynamic_evaluation import DynamicEvaluation
from seqtrain.inference.text_model import TextModel
from seqtrain.models import SequenceModel
from seqtrain.models.settings import UserCell
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.runs.directory import checkpoint_path
from seqtrain.runs.fits import check_weights
from seqtrain.runs.resume import check_fingerprints, differences
from seqtrain.system.errors import CheckpointError, ConfigError, short
from seqtrain.system.files import split_file
from seqtrain.system.progress import Progress, figure, say
from seqtrain.system.runtime import keep_freed_memory, prepare
from seqtrain.system.shipped import text_path
from seqtrain.tasks import LanguageModel as LanguageModelTask
from seqtrain.tasks import Spec, Split, Task
from seqtrain.tasks.text import Vocabulary
from seqtrain.training.loop import evaluate


class Restored(NamedTuple):
    """A checkpoint come to life."""

    path: Path
    step: int
    config: Config
    task: Task
    model: SequenceModel
    changes: dict[str, tuple[Any, Any]]


def load_model(run_or_checkpoint: str | Path) -> SequenceModel:
    """The model in a checkpoint, or in the `best.pt` of a run directory, ready to predict on the CPU.

    Raises
    ------
    SeqtrainError : there is none, or the code of a user's own cell cannot be found (see `vouch`).
    """
    path = checkpoint_path(Path(run_or_checkpoint))
    content = load_checkpoint(path)
    return _model_on_cpu(_config_on_cpu(content, path), content, path)


def load_text_model(run_or_checkpoint: str | Path) -> TextModel:
    """The language model in a checkpoint, or in the `best.pt` of a run directory, with its vocabulary, on the CPU.

    The text that it was trained on is not needed.

    Raises
    ------
    SeqtrainError : as `load_model`, or it is the model of another task.
    """
    path = checkpoint_path(Path(run_or_checkpoint))
    content = load_checkpoint(path)
    config = _config_on_cpu(content, path)
    if config.task.name != LanguageModelTask.name:
        raise CheckpointError(
            f"{path}: holds a model of task {config.task.name!r}, which writes no text; give one of task "
            "'language_model', e.g. what seqtrain train words made"
        )
    vocabulary = Vocabulary(content["vocabulary"] or [], content["counts"] or [])
    return TextModel(_model_on_cpu(config, content, path), vocabulary, config.task.unit, str(path))


def _config_on_cpu(content: dict[str, Any], path: Path) -> Config:
    """What a checkpoint was trained with, changed to run here; its text may be gone."""
    config, _ = without_folder(content["config"])
    here = {"device": "cpu", "engine": "auto" if config.get("engine") == "fused" else config.get("engine", "auto")}
    return config_from(config | here, str(path), task_is_built=False)


def _model_on_cpu(config: Config, content: dict[str, Any], path: Path) -> SequenceModel:
    config = _checked(config, content, path)
    return _loaded(build_model(config, Spec(*content["spec"])), content, path)


def restore(run_or_checkpoint: Path, overrides: Sequence[str] = (), *, quiet: bool = False) -> Restored:
    """Rebuild the task and the model from a checkpoint alone.

    Parameters
    ----------
    overrides : `KEY=VALUE` of the task, `train.eval_batch_size`, `device`, `threads`, `engine` or `model.cell.folder`;
        other settings belong to the weights.
    quiet : no progress on stderr while a large text is read.

    Raises
    ------
    SeqtrainError : the file cannot be used, or the weights do not allow an override.
    """
    path = checkpoint_path(run_or_checkpoint)
    content = load_checkpoint(path)
    saved, _ = without_folder(content["config"])
    before = unresolved(config_from(saved, str(path), task_is_built=False))
    config = config_from(before.model_dump(), str(path), overrides)
    changes = differences(before.model_dump(), config.model_dump())
    _check_allowed(changes, path)
    config = _checked(config, content, path)
    if "task.path" not in changes:
        _check_text(config, path)
    prepare(config.threads)
    keep_freed_memory()
    task = build_task(config, content, quiet=quiet)
    if task.spec != Spec(*content["spec"]):
        told = ", ".join(f"{key}={new}" for key, (_, new) in changes.items()) or f"task {task.name}"
        raise ConfigError(
            f"{told}: the weights in {path} do not allow it; they were trained for other symbols or classes"
        )
    model = _loaded(build_model(config, task.spec), content, path)
    if not any(key.startswith("task.") and key != "task.window" for key in changes):
        check_fingerprints(content, task.fingerprints(), str(path), "name another with task.path=... to evaluate on it")
    return Restored(path, content["training"]["step"], config, task, model, changes)


def _checked(config: Config, content: dict[str, Any], path: Path) -> Config:
    """The config, the place of its cell's code filled in, once it is proved that the weights are of such a model.

    Nothing of the model is built for that, but its cell's code is imported if it may be (see `vouch`).

    Raises
    ------
    CheckpointError : its cell is not imported on a checkpoint's word, or the weights fit another model.
    """
    cell = config.model.cell
    try:
        config = vouched(config, without_folder(content["config"])[1])
        wanted = weights_of(config, Spec(*content["spec"]))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (RuntimeError, TypeError, ValueError, NotImplementedError, OverflowError) as error:
        if isinstance(cell, UserCell):
            return config  # whose class need not be made for tensors without numbers
        raise CheckpointError(f"{path}: its config asks for a model that cannot be built ({short(error)})") from None
    _check_fit(wanted, content, path)
    return config


def _check_fit(wanted: dict[str, Tensor], content: dict[str, Any], path: Path) -> None:
    try:
        check_weights(content["model"], wanted)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; use another checkpoint of the run") from None


def _loaded(model: SequenceModel, content: dict[str, Any], path: Path) -> SequenceModel:
    """The model with the weights of a checkpoint, ready to predict."""
    _check_fit(model.state_dict(), content, path)
    model.load_state_dict(content["model"])
    return model.eval()


def _check_text(config: Config, path: Path) -> None:
    """Refuse a text that only the checkpoint names and that is a device or a pipe, which may never end.

    Raises
    ------
    CheckpointError : it is.
    """
    if config.task.name != LanguageModelTask.name:
        return
    text = text_path(config.task.path)
    files = [split_file(text, split) for split in ("train", "valid", "test")] if text.is_dir() else [text]
    odd = [file for file in files if file.exists() and not file.is_file()]
    if odd:
        raise CheckpointError(f"{path}: names a text, {odd[0]}, that is no regular file; name one with task.path=...")


class Dynamic(NamedTuple):
    """How a model goes on learning while it is evaluated; see `DynamicEvaluation`."""

    lr: float
    decay: float = 0.0


def evaluate_checkpoint(
    run_or_checkpoint: Path,
    split: Split,
    overrides: Sequence[str] = (),
    dynamic: Dynamic | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Evaluate a checkpoint on a split of its task; returns what `seqtrain eval --json` prints.

    Raises
    ------
    SeqtrainError : see `restore`; or the task is no text, and `dynamic` or the split `train` asks for one.
    """
    restored = restore(run_or_checkpoint, overrides, quiet=quiet)
    task, learn = restored.task, None
    if split == "train" and not task.has_epochs:
        raise ConfigError(
            f"--split is 'train', but task {task.name} draws what it trains on anew and keeps none of it to evaluate; "
            "choose one of test, valid"
        )
    if dynamic is None and "task.window" in restored.changes:
        raise ConfigError(
            "task.window changes nothing in an evaluation that does not learn; remove it, or add --dynamic LR"
        )
    if dynamic is not None:
        if not isinstance(task, LanguageModelTask):
            raise ConfigError(f"--dynamic learns from a text as it is read, and task {task.name} has none; remove it")
        task.eval_window = task.window
        clip_norm = restored.config.optimizer.clip_norm
        learn = DynamicEvaluation(restored.model, lr=dynamic.lr, decay=dynamic.decay, clip_norm=clip_norm)
    batch_size = restored.config.train.eval_batch_size or task.eval_batch_size
    batches = task.count_eval_batches(split, batch_size)
    with Progress(batches, label=f"eval {restored.path.parent.name}", unit="batch", quiet=quiet) as progress:
        figures = evaluate(restored.model, task, split, batch_size, learn, progress)
    baseline = task.baseline(split)
    learnt = task.metric.better(figures[task.metric.name], baseline[task.metric.name])
    if dynamic is not None and not learnt:
        say(_spoilt(dynamic, task.metric.name, figures, baseline), quiet=quiet)
    return {
        "checkpoint": str(restored.path),
        "step": restored.step,
        "task": task.name,
        "variant": task.definition,
        "changed": {key: new for key, (_, new) in restored.changes.items()},
        "cell": restored.config.model.cell.name,
        "split": split,
        "dynamic": None if dynamic is None else dynamic._asdict(),
        "metric": task.metric._asdict(),
        **figures,
        **task.conversions(split, figures["loss"]),
        "data": task.facts(split),
        "engine": restored.model.stack.loop.name,
        "baseline": baseline,
        "solved": task.solved(figures) and learnt if task.solvable else None,  # at some lengths, guessing would do
    }


def _spoilt(dynamic: Dynamic, name: str, figures: dict[str, float], baseline: dict[str, float]) -> str:
    """That what was learnt on the way did harm; a model that was hardly trained is as bad without it."""
    return (
        f"--dynamic {dynamic.lr:g}: {name} {figure(figures[name])} is no better than the baseline's "
        f"{figure(baseline[name])}; the learning rate is too large, lower it (unless it is as bad without --dynamic)"
    )


def _check_allowed(changes: dict[str, tuple[Any, Any]], path: Path) -> None:
    free = ("train.eval_batch_size", "device", "threads", "engine", "model.cell.folder")
    bound = (
        "task.name",
        "task.unit",
        "task.min_count",
        "task.max_size",
        "task.vary_window",
        "task.length_distribution",
    )
    trained = [key for key in changes if key in bound or key.startswith("task.train_")]
    wrong = [key for key in changes if key in trained or not (key.startswith("task.") or key in free)]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: belongs to the weights in {path} and cannot be changed in eval; "
            f"settings of the same task (task.*), {', '.join(free)} can"
        )
