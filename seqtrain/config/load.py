"""From a YAML file, or the data in a checkpoint, to a `Config`."""

import shlex
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seqtrain.config.document import Document, Path_, document_from, dotted, read_document, train_on
from seqtrain.config.errors import Fault, choose, guess, to_fault
from seqtrain.config.plugins import user_classes, with_section
from seqtrain.config.schema import NAMED, Config
from seqtrain.config.validators import check_together
from seqtrain.config.yaml import dump
from seqtrain.system import shipped
from seqtrain.system.errors import ConfigError
from seqtrain.system.files import check_name, split_file
from seqtrain.system.progress import say
from seqtrain.system.settings import files_of


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


def read_config(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), *, quiet: bool = False
) -> tuple[Config, Path]:
    """The config that a caller names, or gives as data, and its file; for data, the name of its task stands for it.

    Raises
    ------
    ConfigError : with every fault of the config and of the overrides.
    """
    if not isinstance(config, Mapping):
        return load_config(str(config), overrides, quiet=quiet), find_config(str(config))
    made = located(config_from(dict(config), "config", overrides), Path.cwd())
    return made, Path(made.task.name.rpartition(":")[2])  # a colon is in no name of a file


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
    """The same config, with the folder of each of the user's own classes noted if it is the current one or `beside`."""
    for section in user_classes(config):
        module = section.name.split(":")[0].split(".")[0]
        folders = [Path.cwd(), beside.absolute()] if section.folder is None else []
        found = (folder for folder in folders if (folder / f"{module}.py").exists() or (folder / module).is_dir())
        if (folder := next(found, None)) is not None:
            check_name(folder)
            config = with_section(config, section.model_copy(update={"folder": str(folder)}))
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
        if not run.is_file():  # a pipe would be waited for
            raise ConfigError(f"{run}: is not a file; put back the config of the run, or give another")
        return run
    if Path(f"{path}.yaml").exists():
        raise ConfigError(f"{name}: no such file; did you mean {name}.yaml?")
    if path.suffix and path.stem in known:
        raise ConfigError(f"{name}: no such file; did you mean {path.stem}, which comes with seqtrain?")
    if path.exists() and split_file(path, "train").exists():
        raise ConfigError(f"{name}: is a folder without a config; if it is a text {train_on(path)}")
    if (path / "labels.csv").exists():
        look = shlex.join(["seqtrain", "data", name])
        raise ConfigError(f"{name}: is a folder without a config, but with labels.csv; {look} tells what it holds")
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
    config, faults, task_is_known = _read(document.data)
    if config is not None:
        together = check_together(config, task_is_known=task_is_known)
        faults += [fault for fault in together if task_is_built or fault.path[0] != "task"]
    sentences = [f"{document.place(path)}: {dotted(path)} {message}" for path, message in faults]
    if document.faults or sentences or config is None:
        raise ConfigError(document.faults + sentences)
    return _with_absolute_paths(config)


def _read(data: dict[str, Any]) -> tuple[Config | None, list[Fault], bool]:
    """The config in raw data, its faults, and whether its task is the one that was meant.

    What is at fault is put back to its default, or to what seems to have been meant, and read again, as one fault may
    hide others: the config is then what is left. None if nothing is.
    """
    faults: list[Fault] = []
    task_is_known = True
    while True:
        try:
            return Config.model_validate(data), faults, task_is_known
        except ValidationError as error:
            told = {fault.path for fault in faults}
            found = [to_fault(details, data) for details in error.errors()]
            found = [fault for fault in found if fault.path not in told]
        faults += found
        if not found:
            return None, faults, task_is_known
        data = deepcopy(data)
        for fault in found:
            named = fault.path[:-1] in NAMED and fault.path[-1] == "name"
            path = fault.path[:-1] if named else fault.path
            task_is_known &= _mend(data, path) or path != ("task",)


_STAND_INS: dict[Path_, Any] = {
    ("task",): {"name": "copy_memory"},
    ("task", "path"): "shipped:stories/train.txt",
    ("model", "cell"): {"name": "rnn"},
    ("schedule", "every"): 1,
}
"""For settings without a default, values that no check objects to."""


def _mend(data: Any, path: Path_) -> bool:
    """Put a setting back to its default, in place; returns whether it is now what its name seems to have meant."""
    section = data
    for part in path[:-1]:
        section = section.get(part) if isinstance(section, dict) else None
    if not isinstance(section, dict):
        return False
    named = section.get(path[-1])
    if isinstance(named, dict) and path in NAMED and (meant := guess(named.get("name"), NAMED[path])):
        named["name"] = meant
        return True
    keys = [path[-1]] if path[-1] in section else [key for key in section if str(key) == path[-1]]  # 1 or true
    for key in keys:
        del section[key]
    if path in _STAND_INS:
        section[path[-1]] = _STAND_INS[path]
    return False


def _with_absolute_paths(config: Config) -> Config:
    """The same config, the files of its task found from any folder."""
    places = {}
    for name, place in files_of(config.task).items():
        if not place.startswith(shipped.PREFIX):
            places[name] = str(shipped.text_path(place).absolute())
            check_name(places[name])
    return config.model_copy(update={"task": config.task.model_copy(update=places)}) if places else config


def to_yaml(config: Config) -> str:
    """The whole config, defaults spelt out, as a file that `load_config` reads back to an equal one."""
    return dump(config.model_dump())
