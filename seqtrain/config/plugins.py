"""Which code may be imported because a checkpoint names it as the cell of its model.

A cell of a user's own is Python: importing its module runs it. In a config the user has named it. In a checkpoint,
which may be from anyone, it is named by whoever wrote the file; so the file does not choose what is run:

- The folder that it notes is never followed. A folder full of downloads is where a stranger's checkpoint and a
  stranger's module lie side by side.
- Its module is looked for as a file of the current folder, and on Python's path, whose folders the user has chosen. Or
  in the folder that the user names with `model.cell.folder=FOLDER`, which is the user's word, as a config is. A package
  in the current folder is not followed: whatever is unpacked there could be one.
- Even there it is imported only if its source defines the class at its top level. Otherwise a checkpoint could have
  any script of the current folder run by naming it, such as a `setup.py`.

Working in the folder of the cell, nothing has to be said: `train`, `--resume`, `eval`, `generate` and `compare` find
it.
What remains is what remains with Python itself: a folder that a stranger has filled is no place to start programs in.
"""

import ast
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqtrain.config import Config
from seqtrain.config.schema import UserCell
from seqtrain.system.errors import CheckpointError


def without_folder(config: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A checkpoint's config as data, the folder of its cell left out; and that folder."""
    model = config.get("model")
    cell = model.get("cell") if isinstance(model, dict) else None
    if not (isinstance(model, dict) and isinstance(cell, dict) and ":" in str(cell.get("name"))):
        return config, None
    noted = cell.get("folder")
    return config | {"model": model | {"cell": cell | {"folder": None}}}, noted if isinstance(noted, str) else None


def vouched(config: Config, noted: str | None) -> Config:
    """The same config, with the folder from which the cell may be imported, if it is a user's own.

    Parameters
    ----------
    config : of a checkpoint; a folder in it is the user's word.
    noted : the folder that the checkpoint names, for the message.

    Raises
    ------
    CheckpointError : neither the current folder nor Python's path has the class. Says what is wrong, not where.
    """
    cell = config.model.cell
    if not isinstance(cell, UserCell) or cell.folder is not None:
        return config
    module, class_name = cell.name.split(":")
    if module in sys.modules:  # the user's program has imported it
        return config
    source, folder = next(_sources(module), (None, ""))
    if source is not None and _defines(source, class_name):
        model = config.model.model_copy(update={"cell": cell.model_copy(update={"folder": folder})})
        return config.model_copy(update={"model": model})
    told = shlex.quote(noted) if noted and _source(Path(noted), module) and noted.isprintable() else "FOLDER"
    raise CheckpointError(
        f"its cell is somebody's own code, {cell.name}, and on a checkpoint's word none is imported but from a file of "
        f"the current folder or Python's path, where there is no such class; if you trust the code in {told}, put "
        f"PYTHONPATH={told} before the command, or model.cell.folder={told} behind eval"
    )


def _sources(module: str) -> Iterator[tuple[Path, str]]:
    """The source files that a module may be, each with the folder to import it from, in the order of Python."""
    here = Path.cwd()
    chosen = {Path(folder).absolute() for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder}
    for folder in (here, *(Path(folder).absolute() for folder in sys.path)):
        source = _source(folder, module)
        if source is not None and (folder != here or folder in chosen or source.parent == here):
            yield source, str(folder)


def _source(folder: Path, module: str) -> Path | None:
    """The source file of a module in a folder; only looked for."""
    *packages, last = module.split(".")
    for package in packages:
        folder = folder / package
        if not (folder / "__init__.py").is_file():
            return None
    return next((source for source in (folder / last / "__init__.py", folder / f"{last}.py") if source.is_file()), None)


def _defines(source: Path, class_name: str) -> bool:
    """Whether a source file, which is not run for it, defines or imports a class at its top level."""
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
