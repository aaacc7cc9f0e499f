"""The source code of users' cells and tasks: where it is, what identifies it, and importing it by its file.

Two folders may each hold a `my_cells.py` with helper modules of the same names. Python keeps modules by name, so the
second import would return the first module. Here the modules of a folder are kept by the folder.
"""

import ast
import functools
import hashlib
import importlib
import sys
import sysconfig
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


class _Imported(NamedTuple):
    """The modules that were imported from a folder, and the fingerprint of the code."""

    code: str
    modules: dict[str, ModuleType]


_IMPORTED: dict[Path, _Imported] = {}

_IMPORTING = threading.RLock()
"""Held during an import: `sys.path` and `sys.modules` are those of all threads."""


def source_of(folder: Path, module: str) -> Path | None:
    """The source file of a module in a folder; nothing is imported."""
    *packages, last = module.split(".")
    for package in packages:
        folder = folder / package
        if not (folder / "__init__.py").is_file():
            return None
    return next((source for source in (folder / last / "__init__.py", folder / f"{last}.py") if source.is_file()), None)


def folder_of(module: str, folders: Iterable[Path]) -> Path | None:
    """The first of these folders that has the module, with links resolved."""
    return next((folder.resolve() for folder in folders if source_of(folder, module) is not None), None)


def fingerprint(folder: Path, module: str) -> str:
    """Identifies the code of a module and of what it imports from its folder or the current one, in 12 hex digits.

    Comments, docstrings and the layout of the code do not count.
    """
    digest = hashlib.sha256()
    for source, name in sorted((source, name) for name, source in _sources(folder, module).items()):
        where = source.relative_to(folder) if source.is_relative_to(folder) else name
        digest.update(f"{where}\n{_without_comments(source.read_bytes())}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:12]


def _sources(folder: Path, module: str) -> dict[str, Path]:
    """The source files of a module and of what it imports from its folder or the current one, by the module's name.

    If the module is installed, those of its package.
    """
    installed = folder in {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib", "stdlib")}
    found, waiting = dict[str, Path](), [module]
    while waiting:
        name = waiting.pop()
        source = source_of(folder, name) or (None if installed else source_of(Path.cwd().resolve(), name))
        is_known = source is None or source in found.values()
        if source is None or is_known or (installed and name.split(".")[0] != module.split(".")[0]):
            continue
        found[name] = source
        package = name if source.name == "__init__.py" else name.rpartition(".")[0]
        parents = name.split(".")[:-1]
        waiting += [".".join(parents[: end + 1]) for end in range(len(parents))]
        waiting += _imports(source.read_bytes(), package)
    return found


@functools.lru_cache(maxsize=1024)  # the same code is identified several times for each run
def _imports(source: bytes, package: str) -> list[str]:
    """The modules that source code may import, by their full names."""
    return list(_imported_by(_tree(source), package))


def _imported_by(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level and package else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names)
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def _tree(source: bytes) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


@functools.lru_cache(maxsize=1024)
def _without_comments(source: bytes) -> str:
    tree = _tree(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_string(line)] or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_string(line: ast.AST) -> bool:
    match line:
        case ast.Expr(ast.Constant(str())):
            return True
    return False


def import_from(folder: Path, name: str) -> ModuleType:
    """Import a module by its file in a folder, anew if its code has changed since.

    Raises
    ------
    Exception : whatever the module raises.
    """
    with _IMPORTING:
        return _imported(folder, name)


def _imported(folder: Path, name: str) -> ModuleType:
    code = fingerprint(folder, name)
    earlier = _IMPORTED.get(folder)
    own = earlier.modules if earlier is not None and earlier.code == code else {}
    for other in _IMPORTED.values():
        for key, module in other.modules.items():
            if sys.modules.get(key) is module:
                del sys.modules[key]
    displaced = _displaced(folder, name.split(".")[0]) if not own else {}
    sys.modules.update(own)
    before, path = set(sys.modules), list(sys.path)
    sys.path[:0] = [str(folder), str(Path.cwd())]
    try:
        importlib.invalidate_caches()
        imported = importlib.import_module(name)
    finally:
        sys.path[:] = path
        new = {key: sys.modules[key] for key in sys.modules.keys() - before if _is_in(sys.modules[key], folder)}
        _IMPORTED[folder] = _Imported(code, own | new)
        sys.modules.update(displaced)
    return imported


def _displaced(folder: Path, top: str) -> dict[str, ModuleType]:
    """Take a module with its submodules out of `sys.modules` if it came from another file than that in the folder."""
    present, source = sys.modules.get(top), source_of(folder, top)
    if present is None or source is None or _file_of(present) == source:
        return {}
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name == top or name.startswith(f"{top}.")}


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()


def _is_in(module: ModuleType, folder: Path) -> bool:
    file = _file_of(module)
    return file is not None and file.is_relative_to(folder)
