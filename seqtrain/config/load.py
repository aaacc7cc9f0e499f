"""From a YAML file, or the data in a checkpoint, to a `Config`."""

import shlex
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from seqtrain import shipped
from seqtrain.config.checks import check_together
from seqtrain.config.document import Document, Path_, document_from, dotted, read_document, train_on
from seqtrain.config.faults import Fault, choose, to_fault
from seqtrain.config.schema import Config, LanguageModel, UserCell
from seqtrain.errors import ConfigError
from seqtrain.files import split_file
from seqtrain.progress import say


def load_config(name: str, overrides: Sequence[str] = (), *, quiet: bool = False) -> Config:
    """The config in a file, or the shipped one of that name, with overrides applied.

    Parameters
    ----------
    quiet : do not say on stderr which settings of the file an override displaced.

    Raises
    ------
    ConfigError : with every fault of the file and of the overrides at once.
    """
    path = find_config(name)
    document = read_document(path, overrides)
    config = located(validated(document), path.parent)
    for remark in document.remarks:
        say(remark, quiet=quiet)
    return config


def config_from(
    data: dict[str, Any], source: str, overrides: Sequence[str] = (), *, task_is_built: bool = True
) -> Config:
    """The config that a checkpoint or a run directory holds, with overrides applied.

    Parameters
    ----------
    task_is_built : if not, what only the task needs, such as its text, may be missing.
    """
    return validated(document_from(deepcopy(data), source, overrides), task_is_built=task_is_built)


def located(config: Config, beside: Path) -> Config:
    """The same config, with the folder of a user's own cell noted if it is the current one or `beside`."""
    cell = config.model.cell
    if not isinstance(cell, UserCell) or cell.folder is not None:
        return config
    module = cell.name.split(":")[0].split(".")[0]
    for folder in (Path.cwd(), beside.absolute()):
        if (folder / f"{module}.py").exists() or (folder / module).is_dir():
            model = config.model.model_copy(update={"cell": cell.model_copy(update={"folder": str(folder)})})
            return config.model_copy(update={"model": model})
    return config


def find_config(name: str) -> Path:
    """The path of a config file, of the shipped config of that name, or of the config in a run directory."""
    path = Path(name)
    if path.exists() and not path.is_dir():
        return path
    known = shipped.config_paths()
    if name in known:
        return known[name]
    run = path / "config.yaml"
    if run.exists():
        return run
    if Path(f"{path}.yaml").exists():
        raise ConfigError(f"{name}: no such file; did you mean {name}.yaml?")
    if path.suffix and path.stem in known:
        raise ConfigError(f"{name}: no such file; did you mean {path.stem}, which comes with seqtrain?")
    if path.exists() and split_file(path, "train").exists():
        raise ConfigError(f"{name}: is a folder without a config; if it is a text {train_on(path)}")
    if path.exists():
        raise ConfigError(
            f"{name}: is a folder without a run; give a run directory, a config file, or a shipped name: "
            f"{', '.join(known)}"
        )
    if path.suffix in {".yaml", ".yml"}:
        raise ConfigError(f"{name}: no such file; seqtrain configs lists the configs that come with seqtrain")
    if len(path.parts) > 1:
        raise ConfigError(
            f"{name}: no such run, and no such config file; give a config, which can make that run: "
            f"seqtrain train quickstart --out {shlex.quote(name)} (seqtrain configs lists what comes with seqtrain)"
        )
    raise ConfigError(f"{name}: no such file, and no shipped config of that name; {choose(name, known)}")


def validated(document: Document, *, task_is_built: bool = True) -> Config:
    """The config of a document, or every fault in it at once; see `config_from`."""
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        faults = [to_fault(details, document.data) for details in error.errors()]
        faults += _faults_beyond(document.data, faults)
    else:
        faults = [fault for fault in check_together(config) if task_is_built or fault.path[0] != "task"]
    sentences = [f"{document.place(path)}: {dotted(path)} {message}" for path, message in faults]
    if document.faults or sentences:
        raise ConfigError(document.faults + sentences)
    return _with_absolute_path(config)


_STAND_INS: dict[Path_, Any] = {
    ("task",): {"name": "copy_memory"},
    ("task", "path"): "shipped:stories/train.txt",
    ("model", "cell"): {"name": "rnn"},
    ("schedule", "every"): 1,
}
"""For settings without a default, values that no check objects to."""


def _faults_beyond(data: dict[str, Any], faults: list[Fault]) -> list[Fault]:
    """What would still be wrong once `faults` are mended: the checks of the config with those settings left out."""
    mended = deepcopy(data)
    for fault in faults:
        _reset(mended, fault.path)
    unknown = any(fault.path in (("task",), ("task", "name")) for fault in faults)
    try:
        beyond = check_together(Config.model_validate(mended))
        return [fault for fault in beyond if not (unknown and "'copy_memory'" in fault.message)]  # the stand-in
    except ValidationError:
        return []  # no section model, say: nothing more can be known


def _reset(data: Any, path: Path_) -> None:
    """Put a setting back to its default, in place."""
    section = data
    for part in path[:-1]:
        section = section.get(part) if isinstance(section, dict) else None
    if isinstance(section, dict):
        for key in [key for key in section if str(key) == path[-1]]:
            del section[key]
        if path in _STAND_INS:
            section[path[-1]] = _STAND_INS[path]


def _with_absolute_path(config: Config) -> Config:
    """The same config, its text found from any folder."""
    task = config.task
    if not isinstance(task, LanguageModel) or task.path.startswith(shipped.PREFIX):
        return config
    path = str(shipped.text_path(task.path).absolute())
    return config.model_copy(update={"task": task.model_copy(update={"path": path})})


def to_yaml(config: Config) -> str:
    """The whole config, defaults spelt out, as a file that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)
