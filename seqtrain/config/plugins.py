"""Cells and tasks of users: which code is imported, from where, and whether a config fits it.

Importing a module runs it. Where a config names a class, the user has named the code. A checkpoint may come from
anyone, so what it names is imported under these rules only:

- The folder that it names is never used: a checkpoint and a module of somebody else may both be there.
- The module must be a file of the current folder, or lie on Python's path, whose folders the user has chosen. Or the
  user names its folder with `model.cell.folder=FOLDER` or `task.folder=FOLDER`. A package in the current folder is not
  imported: whatever was unpacked there could be one.
- The source must define the class at its top level. Otherwise a checkpoint could have any script of the current folder
  run by naming it, such as a `setup.py`.

In the folder of the file, `train`, `--resume`, `eval`, `generate` and `compare` find it without an option. As with
Python itself, do not start programs in a folder whose files you do not trust.
"""

import ast
import importlib
import inspect
import os
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from pydantic import JsonValue, ValidationError

from seqtrain.cells import Cell
from seqtrain.config.document import dotted
from seqtrain.config.errors import choose, place_of, to_fault, unknown_setting
from seqtrain.config.schema import USER_CLASSES, Config, UserTask
from seqtrain.config.user_code import fingerprint, folder_of, import_from, source_of
from seqtrain.config.validators import check_together
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError, plain, short
from seqtrain.system.settings import Configurable, Named, UserClass, section_of
from seqtrain.tasks import Task

BASES: dict[tuple[str, ...], type[Configurable]] = {("task",): Task, ("model", "cell"): Cell}
"""What a user's own class derives from, by the place of its section."""

Section = TypeVar("Section", bound=UserClass)


def user_classes(config: Config) -> list[UserClass]:
    """The sections of a config that name a class of the user's own."""
    return [section for section in (config.task, config.model.cell) if isinstance(section, UserClass)]


@contextmanager
def blamed_on(section: Named, what: str = "take a step") -> Iterator[None]:
    """Turn an error in the code of a user's own class into a ConfigError. Those of built-in ones stay as they are.

    Parameters
    ----------
    what : the class cannot do.
    """
    try:
        yield
    except (SeqtrainError, MemoryError):
        raise
    except Exception as error:
        if not isinstance(section, UserClass):
            raise
        raise cannot(section, what, error) from error


def cannot(section: UserClass, what: str, error: BaseException) -> ConfigError:
    """The message about what a user's own class raised, with the line if it is in the module of the class."""
    module = sys.modules.get(section.name.split(":")[0])
    lines = [
        f" ({Path(frame.filename).name}:{frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == getattr(module, "__file__", None)
    ]
    where = "".join(lines[-1:])
    return ConfigError(
        f"{blamed(section)}: cannot {what}: {in_a_line(error)}{where}; correct the {kind_of(section)} or its options"
    )


def in_a_line(error: BaseException) -> str:
    """An error of a user's code for a message; some of torch's have a hundred lines."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {plain(lines[0], 300)}"


def blamed(section: UserClass, *, options: bool = True) -> str:
    """A user's own class and its options, for a message."""
    given = ", ".join(f"{name} {short(value)}" for name, value in section.options().items() if options)
    return f"{_place(section)} {section.name!r}" + (f" with {given}" if given else "")


def _place(section: UserClass) -> str:
    return dotted(place_of(type(section)))


def kind_of(section: UserClass) -> str:
    """Whether a section is that of a `cell` or of a `task`."""
    return place_of(type(section))[-1]


def import_class(section: UserClass) -> type[Configurable]:
    """Import `module:Class` from the folder of the section, the current folder, or Python's path.

    If a run notes its code, and its folder is gone, it is imported from the current folder.

    Raises
    ------
    ConfigError : it cannot be imported, is no such class, or does not define what it must.
    """
    has_moved = section.code is not None and section.folder is not None and not Path(section.folder).exists()
    folder = str(Path.cwd()) if has_moved or section.folder is None else section.folder
    where, (module_name, class_name) = blamed(section, options=False), section.name.split(":")
    module, base = _import(module_name, folder, where), BASES[place_of(type(section))]
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, base)):
        own = [n for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, base) and c is not base]
        cure = choose(class_name, own) if own else f"derive your {kind_of(section)} from it"
        named = f"{base.__module__.removesuffix('.base')}.{base.__name__}"
        raise ConfigError(f"{where}: {module_name} has no class {class_name} derived from {named}; {cure}")
    if inspect.isabstract(found):
        missing, needed = (", ".join(sorted(cls.__abstractmethods__)) for cls in (found, base))  # type: ignore[attr-defined]
        needs = "project, step and initial_state" if base is Cell else f"these or a base that has them: {needed}"
        raise ConfigError(f"{where}: does not define {missing}; every {kind_of(section)} needs {needs}")
    if faults := [*_faults_of_class(found)]:
        raise ConfigError([f"{where}: {fault}" for fault in faults])
    return found


def _faults_of_class(found: type[Configurable]) -> Iterator[str]:
    """What a config cannot say about a class."""
    for name in inspect.signature(found).parameters.keys() & UserClass.model_fields.keys():
        yield f"takes the option {name}, which has another meaning in a config; rename it"
    if issubclass(found, Task) and vars(found)["name"] != f"{found.__module__}:{found.__name__}":
        yield f"sets name to {vars(found)['name']!r}; remove that, as its name is module:Class"


def declared(section: Section) -> Section:
    """The section with the settings of its class, validated against the signature of the constructor, and defaults.

    Raises
    ------
    ConfigError : the class cannot be imported, or with every fault of the settings.
    """
    cls, base = import_class(section), USER_CLASSES[place_of(type(section))]
    own, given = section_of(cls, section.name, base), section.options()
    parameters = inspect.signature(cls).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    free = {name for name in given if takes_all or name in parameters} - {*own.model_fields, *cls.given}
    faults = [unknown_setting(own, name) for name in given if name not in free | own.model_fields.keys()]
    known = {name: value for name, value in given.items() if name in own.model_fields}
    try:
        found = own.model_validate({"name": section.name, "folder": section.folder, "code": section.code, **known})
    except ValidationError as error:
        faults += [to_fault(details, {}, own) for details in error.errors()]
    if faults:
        raise ConfigError([f"{dotted(fault.path)} {fault.message}" for fault in faults])
    left = {name: value for name, value in given.items() if name in free}  # the constructor alone checks these
    values: dict[str, Any] = found.model_dump() | left
    return cast(Section, own.model_construct(_fields_set=set(values), **values))


def with_declared(config: Config) -> Config:
    """The same config, with the settings of the user's own classes declared, and checked with all others.

    Raises
    ------
    ConfigError : with every fault.
    """
    for section in user_classes(config):
        config = with_section(config, declared(section))
    if isinstance(config.task, UserTask):  # whose class nobody knew when the config was read
        with blamed_on(config.task, "check its settings"):
            faults = [f"{dotted(fault.path)} {fault.message}" for fault in check_together(config)]
        if faults:
            raise ConfigError(faults)
    return config


def as_defined(config: Config) -> Config:
    """The same config, with what the code of the user's own classes says now: their settings, and its fingerprint.

    Raises
    ------
    ConfigError : a class cannot be used, does not take its settings, or the config was made with another code.
    """
    config = with_declared(config)
    if changed := changed_code(config):
        cures = " ".join(sentence.partition(": ")[0] + "=null" for sentence in changed)
        raise ConfigError(f"{'; '.join(changed)}; restore it, or set {cures} to use the present code")
    for section in user_classes(config):
        config = with_section(config, section.model_copy(update={"code": code_of(section)}))
    return config


def code_of(section: UserClass) -> str | None:
    """Identifies the code of a user's own class; None if there is no source file."""
    module, here = section.name.split(":")[0], Path.cwd()
    folder = folder_of(module, [Path(section.folder) if section.folder else here, here, *map(Path, sys.path)])
    return None if folder is None else fingerprint(folder, module)


def changed_code(config: Config) -> list[str]:
    """A sentence for each of the user's own classes whose code is not the one that the config names."""
    return [
        f"{_place(section)}.code: the code of {section.name} has changed: {section.code} then, {found} now"
        for section in user_classes(config)
        if section.code not in (None, found := code_of(section))
    ]


def without_folders(config: dict[str, JsonValue]) -> tuple[dict[str, JsonValue], dict[tuple[str, ...], str]]:
    """A checkpoint's config as data without the folders of the user's own classes, and these folders by their place."""
    config, noted = deepcopy(config), dict[tuple[str, ...], str]()
    for place in USER_CLASSES:
        section: Any = config
        for part in place:
            section = section.get(part) if isinstance(section, dict) else None
        if isinstance(section, dict) and ":" in str(section.get("name")):
            folder = section.pop("folder", None)
            noted |= {place: folder} if isinstance(folder, str) else {}
    return config, noted


def trusted(section: Section, noted: str | None) -> Section:
    """The same section, with the folder from which its class may be imported.

    Parameters
    ----------
    section : of the config of a checkpoint; a folder in it was named by the user.
    noted : the folder that the checkpoint names, for the message.

    Raises
    ------
    CheckpointError : neither the current folder nor Python's path has the class. The message does not name the file.
    """
    module, class_name = section.name.split(":")
    if section.folder is not None or module in sys.modules:  # the user has named it, or the user's program imported it
        return section
    source, folder = next(_sources(module), (None, ""))
    if source is not None and _defines(source, class_name):
        return section.model_copy(update={"folder": folder})
    place = shlex.quote(noted) if noted and source_of(Path(noted), module) and noted.isprintable() else "FOLDER"
    raise CheckpointError(
        f"its {kind_of(section)}, {section.name}, is not part of seqtrain; for a checkpoint, such code is "
        "imported only from a file of the current folder or from Python's path, and no such class is there; if you "
        f"trust the code in {place}, put PYTHONPATH={place} before the command, or {_place(section)}.folder={place} "
        "behind eval"
    )


def with_section(config: Config, section: UserClass) -> Config:
    """The same config, with another section of a user's own class in the place where it belongs."""
    if isinstance(section, UserTask):
        return config.model_copy(update={"task": section})
    return config.model_copy(update={"model": config.model.model_copy(update={"cell": section})})


def _import(name: str, folder: str, where: str) -> ModuleType:
    """Import a module from a folder, or from Python's path."""
    try:
        found = folder_of(name, [Path(folder)])
        return importlib.import_module(name) if found is None else import_from(found, name)
    except ModuleNotFoundError as error:
        if name.endswith(".py") and Path(folder, name).exists():
            raise ConfigError(f"{where}: names a file; write {name.removesuffix('.py')}:Class") from None
        if error.name not in (name, name.split(".")[0]):
            raise ConfigError(f"{where}: importing {name} failed: {error}; install what it needs") from None
        raise ConfigError(
            f"{where}: there is no module {name} in {folder}; name the folder that holds {name.split('.')[0]}.py: "
            f"{where.partition(' ')[0]}.folder=FOLDER, or put it on PYTHONPATH"
        ) from None
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"{where}: importing {name} failed: {type(error).__name__}: {error}; correct the module"
        ) from error


def _sources(module: str) -> Iterator[tuple[Path, str]]:
    """The source files that a module may be, each with the folder to import it from, in the order of Python."""
    here = Path.cwd()
    chosen = {Path(folder).absolute() for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder}
    for folder in (here, *(Path(folder).absolute() for folder in sys.path)):
        source = source_of(folder, module)
        if source is not None and (folder != here or folder in chosen or source.parent == here):
            yield source, str(folder)


def _defines(source: Path, class_name: str) -> bool:
    """Whether a source file, which is not run, defines or imports a class at its top level."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names: set[str | None] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return class_name in names
