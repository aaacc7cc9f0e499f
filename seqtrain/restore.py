"""A trained model back from its checkpoint, alone or with its task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.build import build_model, build_task
from seqtrain.checkpoint import load_checkpoint
from seqtrain.config import Config, config_from
from seqtrain.config.schema import LanguageModel
from seqtrain.dynamic import DynamicEvaluation
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.generate import TextModel
from seqtrain.models import SequenceModel
from seqtrain.progress import Progress, figure, say
from seqtrain.run import check_fingerprints, differences
from seqtrain.run_dir import checkpoint_path
from seqtrain.runtime import keep_freed_memory, prepare
from seqtrain.tasks import LanguageModel as LanguageModelTask
from seqtrain.tasks import Spec, Split, Task
from seqtrain.text import Vocabulary
from seqtrain.train import evaluate


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
    SeqtrainError : there is none, or a cell of the user's own cannot be found.
    """
    path = checkpoint_path(Path(run_or_checkpoint))
    content = load_checkpoint(path)
    return _model_on_cpu(*_config_on_cpu(content, path), content, path)


def load_text_model(run_or_checkpoint: str | Path) -> TextModel:
    """The language model in a checkpoint, or in the `best.pt` of a run directory, with its vocabulary, on the CPU.

    The text that it was trained on is not needed.

    Raises
    ------
    SeqtrainError : as `load_model`, or it is the model of another task.
    """
    path = checkpoint_path(Path(run_or_checkpoint))
    content = load_checkpoint(path)
    config, spec = _config_on_cpu(content, path)
    if not isinstance(config.task, LanguageModel):
        raise CheckpointError(
            f"{path}: holds a model of task {config.task.name!r}, which writes no text; give one of task "
            "'language_model', e.g. what seqtrain train words made"
        )
    vocabulary = Vocabulary(content["vocabulary"] or [], content["counts"] or [])
    if not len(vocabulary) == len(vocabulary.counts) == spec.output_size:
        raise CheckpointError(f"{path}: its vocabulary does not fit its model; use another checkpoint of the run")
    return TextModel(_model_on_cpu(config, spec, content, path), vocabulary, config.task.unit)


def _config_on_cpu(content: dict[str, Any], path: Path) -> tuple[Config, Spec]:
    """What a checkpoint was trained with, changed to run here."""
    try:
        engine = content["config"].get("engine", "auto")
        here = {"device": "cpu", "engine": "auto" if engine == "fused" else engine}
        return Config.model_validate(content["config"] | here), Spec(*content["spec"])
    except ValueError as error:
        raise CheckpointError(f"{path}: its config cannot be read ({error})") from None


def _model_on_cpu(config: Config, spec: Spec, content: dict[str, Any], path: Path) -> SequenceModel:
    model = build_model(config, spec)
    _load_weights(model, content, path)
    return model.eval()


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
    config = config_from(content["config"], str(path), overrides)
    changes = differences(content["config"], config.model_dump())
    _check_allowed(changes, path)
    prepare(config.threads)
    keep_freed_memory()
    task = build_task(config, content, quiet=quiet)
    if task.spec != Spec(*content["spec"]):
        told = ", ".join(f"{key}={new}" for key, (_, new) in changes.items()) or f"task {task.name}"
        raise ConfigError(
            f"{told}: the weights in {path} do not allow it; they were trained for other symbols or classes"
        )
    model = build_model(config, task.spec)
    _load_weights(model, content, path)
    model.eval()
    if not any(key.startswith("task.") and key != "task.window" for key in changes):
        check_fingerprints(content, task.fingerprints(), str(path), "name another with task.path=... to evaluate on it")
    return Restored(path, content["training"]["step"], config, task, model, changes)


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
    if dynamic is not None and not task.metric.better(figures[task.metric.name], baseline[task.metric.name]):
        say(_spoilt(dynamic, task.metric.name, figures, baseline), quiet=quiet)
    return {
        "checkpoint": str(restored.path),
        "step": restored.step,
        "task": task.name,
        "variant": task.variant,
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
        "solved": task.solved(figures) if task.solvable else None,
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


def _load_weights(model: SequenceModel, content: dict[str, Any], path: Path) -> None:
    try:
        model.load_state_dict(content["model"])
    except (RuntimeError, AttributeError, TypeError, KeyError) as error:
        raise CheckpointError(f"{path}: its weights do not fit its own config ({error})") from None
