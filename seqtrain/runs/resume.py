"""What must hold before a run may start in a directory, or go on from what stands there."""

from typing import Any

import torch

from seqtrain.config import Config, config_from
from seqtrain.config.build import kept_by_optimizer
from seqtrain.config.resolve import resolved
from seqtrain.models import SequenceModel
from seqtrain.runs.checkpoint import load_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.runs.fits import check_training, check_weights
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError, short
from seqtrain.tasks import Task
from seqtrain.training.state import TrainState

MAY_CHANGE = (
    "train.steps",
    "train.epochs",
    "train.save_every",
    "train.save_every_s",
    "train.on_divergence",
    "train.max_skips",
    "threads",
    "engine",
    "model.cell.folder",
)
"""Settings that a resumed run may have otherwise than before."""


def check_free(run: RunDir, *, resume: bool, overwrite: bool) -> None:
    """Refuse to overwrite a run silently, or what is none.

    Raises
    ------
    CheckpointError : the directory holds a run and neither option was given, or something that no run has written.
    """
    run.check_files()
    if run.holds_run() and not (resume or overwrite):
        raise CheckpointError(
            f"{run.path}: holds a run already; go on with --resume, replace it with --overwrite, "
            "or choose another directory with --out"
        )


def check_empty_or_same(config: Config, run: RunDir) -> None:
    """Refuse to start under `--resume` over the files of another run, or over a file of the user's own.

    Raises
    ------
    CheckpointError : there are files without a checkpoint, and not of this config.
    """
    other = differences(saved_config(run), config.model_dump()).keys() - set(MAY_CHANGE)
    if run.holds_run() and other:
        raise CheckpointError(
            f"{run.path}: has no last.pt to resume from, and its files are not of a run with this config; "
            "choose another directory with --out, or replace them with --overwrite"
        )


def saved_config(run: RunDir) -> dict[str, Any] | None:
    """The resolved config that a run was started with; settings that are newer than the run have their defaults.

    None if it cannot be read.
    """
    try:
        data = run.config_data()
    except SeqtrainError:
        return None
    try:
        return resolved(config_from(data, str(run.config), task_is_built=False)).model_dump()
    except ConfigError:
        return data


def check_same(config: Config, checkpoint: dict[str, Any], run: RunDir) -> None:
    """Refuse to resume under another config, but for the settings in `MAY_CHANGE`.

    Raises
    ------
    SeqtrainError : naming every setting that differs, or that no config could have.
    """
    saved = config_from(checkpoint["config"], str(run.last), task_is_built=False)
    changes = differences(resolved(saved).model_dump(), resolved(config).model_dump())
    changes = {key: pair for key, pair in changes.items() if key not in MAY_CHANGE or _changes_unit(key, pair)}
    if changes:
        told = "; ".join(f"{key} {short(old)}, the config says {short(new)}" for key, (old, new) in changes.items())
        raise CheckpointError(
            f"{run.last} was saved with {told}; drop --resume or restore the config beside it "
            f"(only {', '.join(MAY_CHANGE)} may change)"
        )


def _changes_unit(key: str, pair: tuple[Any, Any]) -> bool:
    """Whether a run in epochs would become one in steps, or the other way: other defaults follow the unit."""
    return key == "train.epochs" and None in pair


def differences(old: Any, new: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """The settings in which two configs differ, by dotted key."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in dict.fromkeys((*old, *new)):
            found |= differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        return found
    return {} if old == new else {path: (old, new)}


def check_steps(steps: int, checkpoint: dict[str, Any], run: RunDir) -> None:
    """Refuse to resume a run that has more steps done than it is now to have in all.

    Raises
    ------
    CheckpointError : it has.
    """
    done = checkpoint["training"]["step"]
    if steps < done:
        raise CheckpointError(f"{run.last}: has {done} steps done, the config asks for {steps}; raise it")


def check_fingerprints(checkpoint: dict[str, Any], rebuilt: dict[str, str], source: str, otherwise: str) -> None:
    """Prove that the validation and test sets are those that the checkpoint was trained beside.

    Parameters
    ----------
    source : the checkpoint.
    otherwise : what else a person may do if they are not.

    Raises
    ------
    CheckpointError : they are not.
    """
    changed = [split for split, digest in rebuilt.items() if checkpoint["fingerprints"].get(split) != digest]
    if changed:
        raise CheckpointError(
            f"{source}: the {', '.join(changed)} data are not those it was trained with; restore the text that "
            f"task.path named, or {otherwise}"
        )


def check_resumable(config: Config, task: Task, checkpoint: dict[str, Any], state: TrainState, run: RunDir) -> None:
    """Refuse to go on from what does not fit, or towards a best checkpoint that cannot be evaluated in the end.

    Raises
    ------
    CheckpointError : of either file.
    """
    otherwise = instead_of_resuming(run)
    try:
        if checkpoint["spec"] != task.spec:
            raise CheckpointError("its spec does not fit its own config")
        kept = kept_by_optimizer(config)
        check_training(checkpoint, state.model, state.optimizer, config.train.batch_size, kept)
    except CheckpointError as error:
        raise CheckpointError(f"{run.last}: {error}; {otherwise}") from None
    if run.best.exists():
        best_weights(run, state.model)


def best_weights(run: RunDir, model: SequenceModel) -> dict[str, torch.Tensor]:
    """The weights of the best checkpoint.

    Raises
    ------
    CheckpointError : it cannot be read, or they are of another model.
    """
    otherwise = "remove it to go on without it, with --resume, or start anew with --overwrite"
    weights: dict[str, torch.Tensor] = load_checkpoint(run.best, otherwise)["model"]
    try:
        check_weights(weights, model.state_dict())
    except CheckpointError as error:
        raise CheckpointError(f"{run.best}: {error}; {otherwise}") from None
    return weights


def instead_of_resuming(run: RunDir) -> str:
    """What to do with a run whose last checkpoint is of no use."""
    best = f"; {run.best} can still be evaluated" if run.best.exists() else ""
    return (
        "the run cannot go on from it: start anew with --overwrite (in a comparison, remove the folder), or in another "
        f"directory with --out{best}"
    )
