"""A trained model back from its checkpoint, alone or with its task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seqtrain.build import build_model, build_task
from seqtrain.checkpoint import load_checkpoint
from seqtrain.config import Config, config_from
from seqtrain.errors import CheckpointError, ConfigError
from seqtrain.models import SequenceModel
from seqtrain.run import check_fingerprints, differences
from seqtrain.run_dir import checkpoint_path
from seqtrain.runtime import prepare
from seqtrain.tasks import Split, Task
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
    SeqtrainError : there is none, or what it was trained on cannot be found.
    """
    return restore(Path(run_or_checkpoint), ["device=cpu"]).model


def restore(run_or_checkpoint: Path, overrides: Sequence[str] = ()) -> Restored:
    """Rebuild the task and the model from a checkpoint alone.

    Parameters
    ----------
    overrides : `KEY=VALUE` of the task, `train.eval_batch_size`, `device` or `threads`; other settings belong to
        the weights.

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
    task = build_task(config, content["vocabulary"])
    trained = config_from(content["config"], str(path))
    model = build_model(config, task, path.parent)
    try:
        model.load_state_dict(content["model"])
    except RuntimeError as error:
        told = ", ".join(f"{key}={new}" for key, (_, new) in changes.items())
        if not told:
            raise CheckpointError(f"{path}: its weights do not fit its own config ({error})") from None
        raise ConfigError(
            f"{told}: the weights in {path} do not allow it; they were trained with task {trained.task.name!r} for "
            "other symbols or classes"
        ) from None
    model.eval()
    if not any(key.startswith("task.") for key in changes):
        check_fingerprints(content, {split: task.fingerprint(split) for split in ("valid", "test")}, str(path))
    return Restored(path, content["training"]["step"], config, task, model, changes)


def evaluate_checkpoint(run_or_checkpoint: Path, split: Split, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Evaluate a checkpoint on a split of its task; returns what `seqtrain eval --json` prints."""
    restored = restore(run_or_checkpoint, overrides)
    task = restored.task
    batch_size = restored.config.train.eval_batch_size or task.eval_batch_size
    figures = evaluate(restored.model, task, split, batch_size)
    return {
        "checkpoint": str(restored.path),
        "step": restored.step,
        "task": task.name,
        "variant": task.variant,
        "changed": {key: new for key, (_, new) in restored.changes.items()},
        "cell": restored.config.model.cell.name,
        "split": split,
        "metric": task.metric._asdict(),
        **figures,
        "baseline": task.baseline(split),
        "solved": task.solved(figures),
    }


def _check_allowed(changes: dict[str, tuple[Any, Any]], path: Path) -> None:
    free = ("train.eval_batch_size", "device", "threads")
    wrong = [key for key in changes if key == "task.name" or not (key.startswith("task.") or key in free)]
    if wrong:
        raise ConfigError(
            f"{', '.join(wrong)}: belongs to the weights in {path} and cannot be changed in eval; "
            f"settings of the same task (task.*), {', '.join(free)} can"
        )
