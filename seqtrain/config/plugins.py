"""Cells of users: which code is imported, from where, and whether a config fits it.

Importing a module runs it. Where a config names a cell, the user has named the code. A checkpoint may come from anyone,
so what it names is imported under these rules only:

- The folder that it names is never used: a checkpoint and a module of somebody else may both be there.
- The module must be a file of the current folder, or lie on Python's path, whose folders the user has chosen. Or the
  user names its folder with `model.cell.folder=FOLDER`. A package in the current folder is not imported: whatever was
  unpacked there could be one.
- The source must define the class at its top level. Otherwise a checkpoint could have any script of the current folder
  run by naming it, such as a `setup.py`.

In the folder of the cell, `train`, `--resume`, `eval`, `generate` and `compare` find it without an option. As with
Python itself, do not start programs in a folder whose files you do not trust.
"""

import ast
import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pydantic import JsonValue, ValidationError

from seqtrain.cells import Cell
from seqtrain.config.errors import choose, to_fault
from seqtrain.config.schema import Config
from seqtrain.config.user_code import fingerprint, folder_of, import_from, source_of
from seqtrain.models.settings import UserCell
from seqtrain.system.errors import CheckpointError, ConfigError, SeqtrainError, plain, short
from seqtrain.system.settings import Declared, Named, section_of


def user_cell(section: UserCell) -> type[Cell]:
    """The class of a user's own cell, imported; the options of the config fit the signature of its constructor.

    Raises
    ------
    ConfigError : it cannot be imported, is no cell, or does not take the options.
    """
    cell = _import_noted(section)
    user_section(cell, section)
    return cell


@contextmanager
def blamed_on(section: Named, what: str = "take a step") -> Iterator[None]:
    """Turn an error in the code of a user's own cell into a ConfigError. Those of built-in cells stay as they are.

    Parameters
    ----------
    what : the cell cannot do.
    """
    try:
        yield
    except (SeqtrainError, MemoryError):
        raise
    except Exception as error:
        if not isinstance(section, UserCell):
            raise
        raise cannot(section, what, error) from error


def cannot(section: UserCell, what: str, error: BaseException) -> ConfigError:
    """The message about what a user's own cell raised."""
    return ConfigError(f"{blamed(section)}: cannot {what}: {in_a_line(error)}; correct the cell or its options")


def in_a_line(error: BaseException) -> str:
    """An error of a user's code for a message; some of torch's have a hundred lines."""
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {plain(lines[0], 300)}"


def blamed(section: UserCell) -> str:
    """A user's own cell and its options, for a message."""
    given = ", ".join(f"{name} {short(value)}" for name, value in section.options().items())
    return f"model.cell {section.name!r}" + (f" with {given}" if given else "")


def import_cell(name: str, folder: str | None = None) -> type[Cell]:
    """Import `module:Class` from a folder, the current folder, or Python's path.

    Raises
    ------
    ConfigError : it cannot be imported, or is no cell.
    """
    where, (module_name, class_name) = f"model.cell {name!r}", name.split(":")
    module = _import(module_name, folder or str(Path.cwd()), where)
    cell = getattr(module, class_name, None)
    if not (inspect.isclass(cell) and issubclass(cell, Cell)):
        cells = [n for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, Cell) and c is not Cell]
        cure = choose(class_name, cells) if cells else "derive your cell from it"
        raise ConfigError(f"{where}: {module_name} has no class {class_name} derived from seqtrain.cells.Cell; {cure}")
    if inspect.isabstract(cell):
        missing = ", ".join(sorted(cell.__abstractmethods__))
        raise ConfigError(f"{where}: does not define {missing}; every cell needs project, step and initial_state")
    return cell


def user_section(cell: type[Cell], section: UserCell) -> Declared:
    """The options of a user's own cell, validated against the signature of its constructor, with their defaults.

    Raises
    ------
    ConfigError : with every fault.
    """
    declared, given = section_of(cell, section.name, cell.given), section.options()
    parameters = inspect.signature(cell).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    left = {name for name in given if takes_all or name in parameters} - {*declared.model_fields, *cell.given}
    given = {name: value for name, value in given.items() if name not in left}  # the constructor alone checks the rest
    try:
        return declared.model_validate({"name": section.name, **given})
    except ValidationError as error:
        faults = [to_fault(details, {}, declared) for details in error.errors()]
        raise ConfigError([f"{'.'.join(fault.path)} {fault.message}" for fault in faults]) from None


def as_defined(config: Config) -> Config:
    """The same config, with what the code of a user's own cell says now: the defaults of its options, its fingerprint.

    Raises
    ------
    ConfigError : as `user_cell`; or the config was made with another code.
    """
    cell = config.model.cell
    if not isinstance(cell, UserCell):
        return config
    options = user_section(_import_noted(cell), cell).options() | cell.options()
    if changed := changed_code(config):
        raise ConfigError(f"{changed}; restore it, or set model.cell.code=null to use the present code")
    return _with_cell(config, UserCell(name=cell.name, folder=cell.folder, code=code_of(cell), **options))


def code_of(cell: UserCell) -> str | None:
    """Identifies the code of a user's own cell; None if there is no source file."""
    module, here = cell.name.split(":")[0], Path.cwd()
    folder = folder_of(module, [Path(cell.folder) if cell.folder else here, here, *map(Path, sys.path)])
    return None if folder is None else fingerprint(folder, module)


def changed_code(config: Config) -> str | None:
    """A sentence if the code of a user's own cell is not the one that the config names; else None."""
    cell = config.model.cell
    if not isinstance(cell, UserCell) or cell.code in (None, found := code_of(cell)):
        return None
    return f"model.cell.code: the code of {cell.name} has changed: {cell.code} then, {found} now"


def without_folder(config: dict[str, JsonValue]) -> tuple[dict[str, JsonValue], str | None]:
    """A checkpoint's config as data without the folder of its cell, and that folder."""
    model = config.get("model")
    cell = model.get("cell") if isinstance(model, dict) else None
    if not (isinstance(model, dict) and isinstance(cell, dict) and ":" in str(cell.get("name"))):
        return config, None
    folder = cell.get("folder")
    return config | {"model": model | {"cell": cell | {"folder": None}}}, folder if isinstance(folder, str) else None


def with_trusted_cell(config: Config, noted: str | None) -> Config:
    """The same config, with the folder from which the cell may be imported, if it is a user's own.

    Parameters
    ----------
    config : of a checkpoint; a folder in it was named by the user.
    noted : the folder that the checkpoint names, for the message.

    Raises
    ------
    CheckpointError : neither the current folder nor Python's path has the class. The message does not name the file.
    """
    cell = config.model.cell
    if not isinstance(cell, UserCell) or cell.folder is not None:
        return config
    module, class_name = cell.name.split(":")
    if module in sys.modules:  # the user's program has imported it
        return config
    source, folder = next(_sources(module), (None, ""))
    if source is not None and _defines(source, class_name):
        return with_folder(config, folder)
    place = shlex.quote(noted) if noted and source_of(Path(noted), module) and noted.isprintable() else "FOLDER"
    raise CheckpointError(
        f"its cell, {cell.name}, is not part of seqtrain; for a checkpoint, such code is imported only from a file of "
        f"the current folder or from Python's path, and no such class is there; if you trust the code in {place}, put "
        f"PYTHONPATH={place} before the command, or model.cell.folder={place} behind eval"
    )


def with_folder(config: Config, folder: str) -> Config:
    """The same config, with the folder of its cell noted."""
    return _with_cell(config, config.model.cell.model_copy(update={"folder": folder}))


def _with_cell(config: Config, cell: Named) -> Config:
    return config.model_copy(update={"model": config.model.model_copy(update={"cell": cell})})


def _import_noted(section: UserCell) -> type[Cell]:
    """The class of a config's cell; if a run notes its code, and its folder is gone, from the current folder."""
    has_moved = section.code is not None and section.folder is not None and not Path(section.folder).exists()
    return import_cell(section.name, None if has_moved else section.folder)


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
            "model.cell.folder=FOLDER, or put it on PYTHONPATH"
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
