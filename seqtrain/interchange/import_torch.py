"""Make a run of the weights of a PyTorch model: what `seqtrain import-torch` does."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seqtrain.config import Config, read_config
from seqtrain.config.build import build_task
from seqtrain.config.plugins import as_defined
from seqtrain.config.resolve import resolved
from seqtrain.interchange.given_settings import check_changes, settings_in
from seqtrain.interchange.imported_run import write_run, written_aside
from seqtrain.interchange.remarks_on_inputs import remarks_on_inputs
from seqtrain.interchange.torch_file import Weights, listed, read_weights
from seqtrain.interchange.torch_model import check_fits, check_numbers, in_float32, remarks_on, weights_for, with_sizes
from seqtrain.interchange.torch_names import renamed
from seqtrain.interchange.torch_parts import Parts, find_parts
from seqtrain.interchange.torch_recurrent import Recurrent, find_recurrent
from seqtrain.interchange.torch_search import Wanted
from seqtrain.interchange.vocabulary_order import Rows, in_order, read_rows
from seqtrain.runs.directory import RunDir
from seqtrain.runs.resume import check_free
from seqtrain.runs.run import build_run
from seqtrain.runs.train import draw_curve
from seqtrain.runs.trainer import RUNS, Trained, run_name
from seqtrain.system.errors import CheckpointError, ConfigError
from seqtrain.system.process_group import ALONE
from seqtrain.system.progress import say
from seqtrain.system.runtime import keep_freed_memory, prepare, settings_restored
from seqtrain.tasks import LanguageModel, Task


@settings_restored()
def import_torch(
    weights: str | Path | Mapping[str, Any],
    like: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    recurrent: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    vocabulary: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = True,
) -> Trained:
    """Make a run of the weights of a model with `nn.LSTM`, `nn.GRU` or `nn.RNN`, as if training had ended at step 0.

    The run is evaluated on the validation and the test set. Then it can be evaluated, compared, exported and trained
    further as any other.

    Parameters
    ----------
    weights : a file of torch.save or safetensors with a `state_dict()`, or a `state_dict()`.
    like : the config, as for `train`. Sizes, direction and ties of the model follow from the weights.
    overrides : settings to change, each `KEY=VALUE`: `model.cell=gru`.
    recurrent : names of the recurrent modules, if there are several; each reads the outputs of the one before.
    rename : names of the weights, to `encoder.weight` (the embedding), `head.weight`, `head.bias`,
        `head.projection.weight`, or to that of a recurrent weight.
    ignore : names of weights to leave out, or what they begin with and a star.
    vocabulary : a file with a token a line, in the order of the rows of the embedding and the head.
    out : the run directory; by default `runs/<config>-<cell>-seed<seed>-imported`.
    overwrite : replace the run in the directory.
    quiet : no progress and no remarks on stderr.

    Raises
    ------
    SeqtrainError : the file, the config, its data or the directory cannot be used, or the model computes something
        else than a model of seqtrain can. The directory is then as it was.
    """
    found, config, source = _read(weights, like, overrides, quiet=quiet)
    prepare(config.threads)
    keep_freed_memory()
    asked = _Asked(recurrent, rename or {}, ignore, vocabulary, settings_in(overrides))
    config, of_text = _with_whole_text(as_defined(config), asked)
    directory = RunDir(Path(out) if out is not None else RUNS / _name(like, source, config))
    with directory.locked():
        check_free(directory, resume=False, overwrite=overwrite, may_resume=False)
        made = _understood(found, config, source, asked, quiet=quiet)
        with written_aside(directory) as aside:
            run = build_run(
                resolved(made.config),
                aside,
                None,
                lambda _: None,
                ALONE,
                quiet=quiet,
                task=made.task,
                imported=found.source,
            )
            for remark in (*of_text, *made.remarks, *remarks_on_inputs(run)):
                say(f"{found.source}: {remark}", quiet=quiet)
            model = run.state.model
            model.load_state_dict(weights_for(config.model.cell.name, made.layers, made.parts, model.state_dict()))
            summary = write_run(run, directory.path.name, found.source)
        draw_curve(directory, summary)
        return Trained(directory.path, summary, 0, None)


class _Asked(NamedTuple):
    """What the user says of the weights; see `import_torch`.

    settings : the dotted keys that overrides set.
    """

    recurrent: Sequence[str]
    rename: Mapping[str, str]
    ignore: Sequence[str]
    vocabulary: str | Path | None
    settings: Collection[str]


class _Understood(NamedTuple):
    """What the weights are, and the config and the task of a model that has them."""

    config: Config
    task: Task
    layers: Recurrent
    parts: Parts
    remarks: list[str]


def _read(
    weights: str | Path | Mapping[str, Any],
    like: str | Path | Mapping[str, Any],
    overrides: Sequence[str],
    *,
    quiet: bool,
) -> tuple[Weights, Config, Path]:
    """The weights, and the config with its file; the faults of both together."""
    faults: list[str] = []
    try:
        found = read_weights(weights)
    except CheckpointError as error:
        faults.append(str(error))
    try:
        _check_like(like)
        config, source = read_config(like, overrides, quiet=quiet)
    except ConfigError as error:
        raise ConfigError([*faults, *error.faults]) from None
    if faults:
        raise CheckpointError(faults[0])
    return found, config, source


def _understood(found: Weights, config: Config, source: Path, asked: _Asked, *, quiet: bool) -> _Understood:
    with _about(found.source):
        named, said = renamed(found.tensors, asked.rename, asked.ignore)
        tensors, converted = in_float32(named)
        layers = find_recurrent(tensors, asked.recurrent, in_order=found.in_order)
        check_fits(config, layers)
    task = build_task(config, quiet=quiet)
    rows = None if asked.vocabulary is None else _rows(Path(asked.vocabulary), task)
    with _about(found.source):
        parts = find_parts(tensors, layers, _wanted(config, task, rows), said, in_order=found.in_order)
        check_numbers(tensors)
    if rows is not None and rows.vocabulary is not None:
        task = build_task(config, rows.vocabulary, quiet=quiet)
    parts = _as_the_task_needs(parts, task, rows)
    with _about(found.source):
        config, changes = with_sizes(config, source, layers, parts, asked.settings)
    remarks = [
        *found.remarks,
        *converted,
        f"{parts.remark}; the recurrent layers are {listed(layers.names, most=1)}",
        *changes,
        *remarks_on(config, layers, parts),
        *_of_task(task, rows),
    ]
    return _Understood(config, task, layers, parts, remarks)


@contextmanager
def _about(source: str) -> Iterator[None]:
    """Put the file of the weights before each fault."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{source}: {fault}" for fault in error.faults]) from None


def _check_like(like: str | Path | Mapping[str, Any]) -> None:
    """Refuse a checkpoint."""
    if not isinstance(like, Mapping) and Path(like).suffix == ".safetensors":
        raise ConfigError(f"--like {like}: is a checkpoint; give its run directory, {Path(like).parent}, or a config")


def _with_whole_text(config: Config, asked: _Asked) -> tuple[Config, list[str]]:
    """With a vocabulary of the user, the config in which no word of the text is left out; and a remark on a change."""
    whole = {"min_count": 1, "max_size": None}
    if asked.vocabulary is None or config.task.name != LanguageModel.name:
        return config, []
    changes = {f"task.{name}": (getattr(config.task, name), new) for name, new in whole.items()}
    changes = {key: change for key, change in changes.items() if change[0] != change[1]}
    check_changes(changes, asked.settings, "with --vocabulary, which says the words, it is")
    config = config.model_copy(update={"task": config.task.model_copy(update=whole)})
    return config, [f"{key} is {old}; it has no effect with --vocabulary" for key, (old, _) in changes.items()]


def _name(like: str | Path | Mapping[str, Any], source: Path, config: Config) -> str:
    """The directory of the run; that of a run as the config has its name in it."""
    folder = RunDir(source.absolute().parent)
    of_run = source.name == folder.config.name and folder.metrics.exists()
    is_run = not isinstance(like, Mapping) and (of_run or Path(like).is_dir())
    return f"{folder.path.name if is_run else run_name(source.stem, config)}-imported"


def _rows(file: Path, task: Task) -> Rows:
    """What the rows of the embedding and the head stand for."""
    if not task.spec.words:
        raise ConfigError(f"--vocabulary is for the words of a text, and task {task.name!r} has none; leave it out")
    return read_rows(file, task)


def _wanted(config: Config, task: Task, rows: Rows | None) -> Wanted:
    spec, model = task.spec, config.model
    inputs, outputs = (spec.input_size, spec.output_size) if rows is None else 2 * (len(rows.tokens),)
    file = None if rows is None else str(rows.path)
    return Wanted(task.name, spec.symbols, inputs, outputs, spec.words, model.tied, file)


def _as_the_task_needs(parts: Parts, task: Task, rows: Rows | None) -> Parts:
    """With an embedding where a model of the task has one, and with rows in the order of its vocabulary."""
    if parts.embedding is None and (task.words or task.embedded):  # then symbols entered one-hot
        parts = parts._replace(embedding=torch.eye(task.input_size if rows is None else len(rows.tokens)))
    return parts if rows is None else in_order(parts, rows.tokens, task.vocabulary)


def _of_task(task: Task, rows: Rows | None) -> Iterator[str]:
    """What the user must see to, as no file says it."""
    yield from [] if rows is None else rows.remarks
    if rows is not None and rows.tokens != task.vocabulary:
        yield (
            "the rows of the embedding and of the head are now in the order of seqtrain; an export has this order as "
            "`vocabulary` in its metadata"
        )
    if task.spec.words and rows is None:
        yield (
            "the rows of the embedding and of the head are taken to be in the order of the vocabulary of the task; "
            "--vocabulary FILE says another order"
        )
    if task.fitted is not None:
        yield (
            f"task {task.name!r} scales or numbers its data as its training part says; the weights must be those of a "
            "model that was trained on the same inputs"
        )
