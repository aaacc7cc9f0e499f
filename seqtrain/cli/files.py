"""Files that a verb writes beside its result, as their options name them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from seqtrain.system.errors import ConfigError

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


def check_output(option: str, path: Path | None, endings: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a file that could not be written, before any work.

    Raises
    ------
    ConfigError : it has another ending, exists already, or its folder does not.
    """
    if path is None:
        return
    if path.suffix.lower().removeprefix(".") not in endings:
        wanted = ", ".join(f".{ending}" for ending in endings)
        raise ConfigError(f"{option} is {str(path)!r}; its ending says what to write, so choose one of {wanted}")
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise ConfigError(f"{path}: is no file that {option} could write; choose another name")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; replace it with --overwrite, or choose another name with {option}")


def check_overwrite(overwrite: bool, outputs: Mapping[str, Path | None]) -> None:
    """Raise a ConfigError if there is no file to replace: `outputs` has the files by their options."""
    if overwrite and all(path is None for path in outputs.values()):
        files = " and ".join(outputs)
        raise ConfigError(f"--overwrite is for the files of {files}; give one of them, or leave it out")


def write_output(path: Path, content: bytes) -> None:
    """Write a file whole, and its folder if that does not exist.

    Raises
    ------
    SeqtrainError : it cannot be written.
    """
    from seqtrain.system.files import UnwritableError, write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(path, error) from None
    write_whole(path, content)
