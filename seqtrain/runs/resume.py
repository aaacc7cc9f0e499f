"""Preconditions for starting a run in a directory, and for resuming one."""

import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue
from torch import Tensor

from seqtrain.config import Config, config_from
from seqtrain.config.build import kept_by_optimizer
from seqtrain.config.describe import affects_of, settings_that_affect
from seqtrain.config.diff import differences
from seqtrain.config.resolve import resolved
from seqtrain.models import SequenceModel
from seqtrain.runs.checkpoint import Checkpoint, Header, load_checkpoint
from seqtrain.runs.directory import RunDir
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError, short
from seqtrain.system.settings import Affects
from seqtrain.tasks import Task
from seqtrain.training.state import named_tensors

FREE = (Affects.BUDGET, Affects.CONTENT, Affects.SPEED, Affects.MACHINE, Affects.SAVING, Affects.NOTHING)
"""What a setting affects that may change when a run is resumed."""


def check_free(run: RunDir, *, resume: bool, overwrite: bool, may_resume: bool = True) -> None:
    """Refuse to overwrite a run silently, to overwrite anything but files, or to resume a run of an older format.

    Parameters
    ----------
    may_resume : the command has `--resume`.

    Raises
    ------
    CheckpointError : the directory holds one of these.
    """
    for file in run.files:
        try:
            if not stat.S_ISREG(file.stat().st_mode):
                raise CheckpointError(f"{file}: is not a regular file; remove it, or choose another directory")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CheckpointError(f"{file}: cannot be read ({error.strerror}); correct or remove it") from None
    if resume and run.older_checkpoint is not None:
        raise CheckpointError(
            f"{run.older_checkpoint}: was written by an older seqtrain, whose checkpoints this one cannot read; resume "
            "it with that version, or train anew with --overwrite or another --out"
        )
    if run.holds_run() and not (resume or overwrite):
        go_on = "go on with --resume, " if may_resume else ""
        raise CheckpointError(
            f"{run.path}: holds a run already; {go_on}replace it with --overwrite, or choose another directory with "
            "--out"
        )


def check_empty_or_same(config: Config, run: RunDir) -> None:
    """Refuse to start under `--resume` in the directory of another run.

    Raises
    ------
    CheckpointError : the directory holds files of a run with another config, and no checkpoint.
    """
    other = [key for key in differences(saved_config(run), config.model_dump()) if not _may_change(key, config)]
    if run.holds_run() and other:
        raise CheckpointError(
            f"{run.path}: has no last.safetensors to resume from, and its files are not of a run with this config; "
            "choose another directory with --out, or replace them with --overwrite"
        )


def saved_config(run: RunDir) -> dict[str, JsonValue] | None:
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


def _may_change(key: str, config: Config) -> bool:
    """Whether a setting may change when a run is resumed."""
    return affects_of(key, config) in FREE


def other_codes(changes: Collection[str], config: Config) -> list[str]:
    """The user's own classes of a config whose code is among the changes, by name."""
    places = {"task.code": config.task.name, "model.cell.code": config.model.cell.name}
    return [name for key, name in places.items() if key in changes]


def check_same(config: Config, checkpoint: Checkpoint, run: RunDir) -> list[str]:
    """Refuse to resume under another config, but for the settings that affect what is `FREE`.

    Returns
    -------
    The changed settings that decide in which order numbers are added, so the last digits of the results may change.

    Raises
    ------
    SeqtrainError : naming every setting that differs, or that no config could have.
    """
    saved = config_from(checkpoint.header.config, str(run.last), task_is_built=False)
    changes = differences(resolved(saved).model_dump(), resolved(config).model_dump())
    named = "; ".join(
        f"{key} {short(old)}, the config says {short(new)}"
        for key, (old, new) in changes.items()
        if not _may_change(key, config)
    )
    if names := other_codes(changes, config):
        raise CheckpointError(
            f"{run.last}: the code of {' and '.join(names)} has changed since it was saved; restore the code, or "
            "start anew with --overwrite or another --out"
        )
    if None in changes.get("train.epochs", (0, 0)):
        unit, other = ("steps", "epochs") if saved.train.epochs is None else ("epochs", "steps")
        raise CheckpointError(
            f"{run.last} is of a run that counts its training in {unit}, and the config counts in {other}; set "
            f"train.{unit} instead of train.{other}"
        )
    if named:
        raise CheckpointError(
            f"{run.last} was saved with {named}; drop --resume or restore the config beside it "
            f"(only {', '.join(settings_that_affect(*FREE))} may change)"
        )
    rounding = (*settings_that_affect(Affects.SPEED), "threads") if changes else ()
    return [key for key in changes if key in rounding]


def check_resumable(
    config: Config, task: Task, steps: int, header: Header, checkpoint: Checkpoint, model: SequenceModel, run: RunDir
) -> None:
    """Refuse to resume from what does not fit, or with a best checkpoint that cannot be evaluated at the end.

    Parameters
    ----------
    steps : that the run is to have in all.
    header : of the run as it is now.

    Raises
    ------
    CheckpointError : about either file.
    """
    if steps < (done := checkpoint.header.step):
        raise CheckpointError(
            f"{run.last}: has {done} steps done, the config asks for {steps}; raise train.steps or train.epochs"
        )
    with about(run.last, instead_of_resuming(run)):
        if checkpoint.header.spec != header.spec:
            raise CheckpointError("its spec does not fit its own config")
        columns = task.trained_together(config.train.batch_size)
        check_training(checkpoint, model, columns, kept_by_optimizer(config))
    if run.best.exists():
        check_best(run, checkpoint)
        best_weights(run, model)
    check_fingerprints(checkpoint, header.fingerprints, run.last, "start anew with --overwrite")


def check_fingerprints(checkpoint: Checkpoint, rebuilt: Mapping[str, str], source: Path, otherwise: str) -> None:
    """Check that the validation and test sets are those that the checkpoint was trained with.

    Parameters
    ----------
    rebuilt : the hashes of the present sets.
    source : the file of the checkpoint.
    otherwise : what else a user may do if they are not.

    Raises
    ------
    CheckpointError : they are not.
    """
    changed = [split for split, digest in rebuilt.items() if checkpoint.header.fingerprints.get(split) != digest]
    if changed:
        raise CheckpointError(
            f"{source}: the {', '.join(changed)} data are not those it was trained with; restore the file that "
            f"task.path named, or {otherwise}"
        )


WITHOUT_BEST = "remove it to go on without it, with --resume, or start anew with --overwrite"


def check_best(run: RunDir, last: Checkpoint) -> None:
    """Refuse a best checkpoint that is not the one that the last checkpoint knows.

    A run that was killed between the two has a newer best one; it evaluates that step again.

    Raises
    ------
    CheckpointError : it cannot be read, or is of another run or another evaluation.
    """
    best, record = load_checkpoint(run.best, WITHOUT_BEST).header, last.header.training
    known = None if record is None else record.best_step
    evaluated_at = 0 if record is None else record.evaluated_at
    is_newer = best.step > last.header.step or best.step == last.header.step > evaluated_at
    changes = differences(best.config, last.header.config)
    others = changes.keys() - set(settings_that_affect(*FREE) if changes else ())
    if others or best.fingerprints != last.header.fingerprints:
        why = f"it was trained with another {', '.join(sorted(others)) or 'text'}"
    elif best.step != known and not is_newer:
        why = f"it is of step {best.step}, the best evaluation was that of step {known}"
    else:
        return
    raise CheckpointError(f"{run.best}: is not the best checkpoint of this run, {why}; {WITHOUT_BEST}")


def best_weights(run: RunDir, model: SequenceModel) -> dict[str, Tensor]:
    """The weights of the best checkpoint.

    Raises
    ------
    CheckpointError : it cannot be read, or its weights are of another model.
    """
    weights = load_checkpoint(run.best, WITHOUT_BEST).weights
    with about(run.best, WITHOUT_BEST):
        check_weights(weights, model.state_dict())
    return weights


def instead_of_resuming(run: RunDir) -> str:
    """What to do with a run whose last checkpoint cannot be used."""
    best = f"; {run.best} can still be evaluated" if run.best.exists() else ""
    return (
        "the run cannot go on from it: start anew with --overwrite (in a comparison, remove the folder), or in another "
        f"directory with --out{best}"
    )


@contextmanager
def about(path: Path, cure: str = "") -> Iterator[None]:
    """Add the file, and what a user can do, to a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}" + (f"; {cure}" if cure else "")) from None


def check_weights(weights: Mapping[str, Tensor], like: Mapping[str, Tensor], what: str = "weights") -> None:
    """Raise a CheckpointError unless names, shapes and types are those of `like`, which may be on the meta device."""
    for name in (*like, *weights):
        if name not in weights:
            fault = f"{name} is missing"
        elif name not in like:
            fault = f"{name[:60]!r} has no place in the model"
        elif _kind(weights[name]) != _kind(like[name]):
            fault = f"{name} is {_kind(weights[name])}, it must be {_kind(like[name])}"
        else:
            continue
        raise CheckpointError(f"its {what} do not fit its own config ({fault})")


def check_training(
    checkpoint: Checkpoint, model: SequenceModel, columns: int, kept: Mapping[str, Tensor | None]
) -> None:
    """Raise a CheckpointError unless a run can go on from a checkpoint.

    Parameters
    ----------
    columns : sequences in the carried state.
    kept : what the optimizer keeps for a parameter of shape `[1, 1]`, by name.
    """
    record, names = checkpoint.header.training, [name.split("/") for name in checkpoint.training]
    if record is None:
        raise CheckpointError("holds no training state (it is a best checkpoint)")
    check_weights(checkpoint.weights, model.state_dict())
    stepped = {parts[1] for parts in names if parts[0] == "optimizer" and len(parts) == 3}
    if kept and not stepped and checkpoint.header.step > record.skipped_steps:
        raise CheckpointError("its training tensors do not fit its own config (the optimizer's are missing)")
    optimizer = {
        number: {key: parameter if part is not None and part.dim() else part for key, part in kept.items()}
        for number, parameter in enumerate(model.parameters())
        if str(number) in stepped  # a parameter without a gradient has none
    }
    carried = None
    if any(parts[0] == "carried" for parts in names):
        carried = [[cell.initial_state(columns) for cell in layer] for layer in model.stack.cells()]
    own = dict(model.named_parameters()) if record.averaged else {}
    check_weights(checkpoint.training, named_tensors(optimizer, carried, own), "training tensors")


def _kind(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
