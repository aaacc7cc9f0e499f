"""What is inspected: a model with its task, from a run, a checkpoint or a config, and the sequences that it reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from seqtrain.config import Config, read_config
from seqtrain.config.build import build_model, build_task, check_batch_size
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.inference.load import restore
from seqtrain.models import SequenceModel
from seqtrain.runs.directory import RunDir
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.runtime import keep_freed_memory, prepare
from seqtrain.tasks import Batch, LanguageModel, Split, Task

At = Literal["init", "best", "last"]
"""Which weights of a run: before the first step, of the best checkpoint, or of the last one."""

TEXT_STEPS = 256
"""Steps of a sequence that is cut from a text."""


class Subject(NamedTuple):
    """A model that is inspected.

    name : the run, checkpoint or config.
    at : which weights.
    step : training steps that they have had.
    """

    name: str
    at: At
    step: int
    config: Config
    task: Task
    model: SequenceModel


def subject(target: str | Path, overrides: Sequence[str] = (), *, at: At = "best", quiet: bool = False) -> Subject:
    """The model that a run directory, a checkpoint or a config names; of a config, the untrained one.

    Parameters
    ----------
    overrides : `KEY=VALUE`; of a run, those that its weights allow.

    Raises
    ------
    SeqtrainError : it cannot be used.
    """
    path = Path(target)
    run = RunDir(path)
    if run.last.exists() or run.best.exists() or path.suffix == ".safetensors":
        restored = restore(run.last if at == "last" and path.is_dir() else path, overrides, quiet=quiet)
        model = restored.model if at != "init" else build_model(restored.config, restored.task.spec).eval()
        _check_finite(model, str(restored.path))
        step = restored.step if at != "init" else 0
        return Subject(str(target), at, step, restored.config, restored.task, model)
    config, _ = read_config(target, overrides, quiet=quiet)
    prepare(config.threads)
    keep_freed_memory()
    task = build_task(config, quiet=quiet)
    config = resolved(as_defined(config))
    check_batch_size(config, task)
    return Subject(str(target), "init", 0, config, task, build_model(config, task.spec).eval())


def _check_finite(model: SequenceModel, source: str) -> None:
    """Raise a CheckpointError if a weight is not finite: every figure would be meaningless."""
    bad = [name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if bad:
        raise CheckpointError(f"{source}: holds weights that are not finite ({', '.join(bad)}); inspect another one")


def sequences_of(task: Task, split: Split, count: int) -> Batch:
    """The first sequences of a split, all from a fresh state; of a text, the beginnings of as many equal parts.

    Raises
    ------
    ConfigError : the split has no fixed sequences.
    """
    if split == "train" and not task.has_epochs:
        raise ConfigError(
            f"--split is 'train', but task {task.name} has no fixed training set; choose one of test, valid"
        )
    if isinstance(task, LanguageModel):
        task.eval_window = TEXT_STEPS
    return next(iter(task.eval_batches(split, count)))
