"""A trained model from its checkpoint, alone or with its task."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seqtrain.config import Config, config_from
from seqtrain.config.build import build_model, build_task, weights_of
from seqtrain.config.describe import affects_of, settings_that_affect
from seqtrain.config.diff import Change, differences
from seqtrain.config.errors import place_of
from seqtrain.config.plugins import changed_code, trusted, user_classes, with_declared, with_section, without_folders
from seqtrain.config.resolve import unresolved
from seqtrain.config.schema import UserTask
from seqtrain.inference.text_model import TextModel
from seqtrain.models import SequenceModel
from seqtrain.models.settings import UserCell
from seqtrain.runs.checkpoint import Checkpoint, Header, load_checkpoint
from seqtrain.runs.directory import RunDir, checkpoint_path
from seqtrain.runs.resume import about, check_best, check_fingerprints, check_weights
from seqtrain.system.errors import CheckpointError, ConfigError, short
from seqtrain.system.progress import say
from seqtrain.system.runtime import keep_freed_memory, prepare
from seqtrain.system.settings import Affects
from seqtrain.tasks import LanguageModel, Task
from seqtrain.tasks.text.tokenizer import Unit
from seqtrain.tasks.text.vocabulary import Vocabulary

OTHER = "use another checkpoint of the run"


class Restored(NamedTuple):
    """A loaded checkpoint: the model, its task, and the settings that differ from those of the training."""

    path: Path
    step: int
    config: Config
    task: Task
    model: SequenceModel
    changes: dict[str, Change]


class Trained(NamedTuple):
    """A loaded model without its task, ready to predict on the CPU."""

    path: Path
    config: Config
    header: Header
    model: SequenceModel


def load_model(run_or_checkpoint: str | Path) -> SequenceModel:
    """The model in a checkpoint, or in the `best.safetensors` of a run directory, ready to predict on the CPU.

    Raises
    ------
    SeqtrainError : there is none, or the code of a user's own cell cannot be found (see `plugins`).
    """
    return load_trained(run_or_checkpoint).model


def load_trained(run_or_checkpoint: str | Path) -> Trained:
    """Likewise, with what a prediction needs beside the model. The data that it was trained on are not needed."""
    config, checkpoint, path = _read_for_cpu(run_or_checkpoint)
    config = _with_trusted_cell(config, checkpoint, path, quiet=False)
    return Trained(path, config, checkpoint.header, _built(config, checkpoint, path))


def load_text_model(run_or_checkpoint: str | Path) -> TextModel:
    """Likewise a model of a text or of stories with its vocabulary. The text that it was trained on is not needed.

    Raises
    ------
    SeqtrainError : as `load_model`, or it is the model of another task.
    """
    return text_model(load_trained(run_or_checkpoint))


def text_model(trained: Trained) -> TextModel:
    """A loaded model that writes text.

    Raises
    ------
    CheckpointError : it is the model of another task.
    """
    path, config, header, model = trained
    if header.vocabulary is None:
        raise CheckpointError(
            f"{path}: holds a model of task {config.task.name!r}, which writes no text; give one of task "
            "'language_model' or 'stories', e.g. what seqtrain train words made"
        )
    tokens = header.vocabulary
    unit: Unit = config.task.unit if config.task.name == LanguageModel.name else "word"
    independent = config.task.name == LanguageModel.name and config.task.sentences == "independent"
    return TextModel(model, Vocabulary(tokens, header.counts or [0] * len(tokens)), unit, str(path), independent)


def _read_for_cpu(run_or_checkpoint: str | Path) -> tuple[Config, Checkpoint, Path]:
    """A checkpoint, with its config changed to run on the CPU; its text need not exist."""
    path = checkpoint_path(Path(run_or_checkpoint))
    checkpoint = load_checkpoint(path)
    config, _ = without_folders(checkpoint.header.config)
    engine = config.get("engine", "auto")
    here = {"device": "cpu", "engine": "auto" if engine == "fused" else engine}
    return config_from(config | here, str(path), task_is_built=False), checkpoint, path


def restore(run_or_checkpoint: Path, overrides: Sequence[str] = (), *, quiet: bool = False) -> Restored:
    """Rebuild the task and the model from a checkpoint alone.

    Parameters
    ----------
    overrides : `KEY=VALUE` of settings that the trained weights allow (see `_check_allowed`).
    quiet : no progress on stderr while a large text is read.

    Raises
    ------
    SeqtrainError : the file cannot be used, or the weights do not allow an override.
    """
    path = checkpoint_path(run_or_checkpoint)
    checkpoint = load_checkpoint(path)
    before, config = _with_overrides(checkpoint, overrides, path)
    changes = differences(before.model_dump(), config.model_dump())
    _check_allowed(changes, config, path)
    config = _with_trusted_cell(config, checkpoint, path, quiet=quiet)
    prepare(config.threads)
    keep_freed_memory()
    header = checkpoint.header
    task = build_task(config, header.known_words(), fitted=header.fitted, quiet=quiet)
    if task.spec != checkpoint.header.spec:
        changed = ", ".join(f"{key}={new}" for key, (_, new) in changes.items()) or f"task {task.name}"
        raise ConfigError(
            f"{changed}: the weights in {path} do not allow it; they were trained for other inputs or classes"
        )
    model = _built(config, checkpoint, path)
    if (lost := checkpoint.header.lost_best_step) is not None:
        say(f"{path}: a better checkpoint of the run, of step {lost}, was removed", quiet=quiet)
    if not any(key.startswith("task.") and key != "task.window" for key in changes):
        otherwise = "name another with task.path=... to evaluate on it"
        check_fingerprints(checkpoint, task.fingerprints(), path, otherwise)
    if run_or_checkpoint.is_dir():
        _check_of_run(RunDir(run_or_checkpoint))
    return Restored(path, checkpoint.header.step, config, task, model, changes)


def _with_overrides(checkpoint: Checkpoint, overrides: Sequence[str], path: Path) -> tuple[Config, Config]:
    """The config of a checkpoint, and the same with overrides; settings that follow from others follow again."""
    saved, noted = without_folders(checkpoint.header.config)
    plain = config_from(saved, str(path), task_is_built=False)
    before = unresolved(plain)
    config = config_from(before.model_dump(), str(path), overrides)
    names = [(one.task.name, one.model.cell.name) for one in (plain, config)]
    if not isinstance(config.task, UserTask) or names[0] != names[1]:  # which `_check_allowed` refuses
        return before, config
    with about(path):
        own = [trusted(section, noted.get(place_of(type(section)))) for section in user_classes(config)]

    def with_classes(config: Config) -> Config:  # only these say which settings there are
        for section, found in zip(user_classes(config), own, strict=True):
            config = with_section(config, section.model_copy(update={"folder": found.folder}))
        return with_declared(config)

    before = unresolved(with_classes(plain))
    return before, with_classes(config_from(before.model_dump(), str(path), overrides))


def _check_of_run(run: RunDir) -> None:
    """Refuse a best checkpoint that the last one of the run does not know; without a healthy last one, any will do."""
    try:
        last = load_checkpoint(run.last)
    except CheckpointError:
        return
    check_best(run, last)


FREE = (Affects.DATA, Affects.CONTENT, Affects.EVALUATION, Affects.SPEED, Affects.MACHINE)
"""What a setting affects that may change in an evaluation."""


def _check_allowed(changes: Iterable[str], config: Config, path: Path) -> None:
    """Refuse settings that belong to the training of the weights."""
    if wrong := [key for key in changes if affects_of(key, config) not in FREE]:
        others = [key for key in settings_that_affect(*FREE) if not key.startswith("task.")]
        raise ConfigError(
            f"{', '.join(wrong)}: belongs to the weights in {path} and cannot be changed after training; "
            f"settings of the data of the same task (task.*), {', '.join(others)} can"
        )


def _with_trusted_cell(config: Config, checkpoint: Checkpoint, path: Path, *, quiet: bool) -> Config:
    """The config with the folder of its cell's code, after a check of the weights on a model without numbers.

    If the code has changed since the training, a remark on stderr says so: only the user knows whether it matters.
    """
    try:
        if isinstance(config.model.cell, UserCell):
            noted = without_folders(checkpoint.header.config)[1].get(("model", "cell"))
            config = with_section(config, trusted(config.model.cell, noted))
        outline = weights_of(config, checkpoint.header.spec)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (RuntimeError, TypeError, ValueError, NotImplementedError, OverflowError) as error:
        raise CheckpointError(f"{path}: its config asks for a model that cannot be built ({short(error)})") from None
    with about(path, OTHER):
        check_weights(checkpoint.weights, outline)
    for changed in changed_code(config):
        say(f"{path}: {changed}; the weights were trained with the other code", quiet=quiet)
    return config


def _built(config: Config, checkpoint: Checkpoint, path: Path) -> SequenceModel:
    """The model with the weights of a checkpoint, ready to predict."""
    model = build_model(config, checkpoint.header.spec)
    with about(path, OTHER):
        check_weights(checkpoint.weights, model.state_dict())
    model.load_state_dict(checkpoint.weights)
    return model.eval()
