"""Files that a user names for a result."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from seqtrain.system.errors import ConfigError
from seqtrain.system.files import UnwritableError, write_whole


def check_output(option: str, path: Path | None, endings: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a file that could not be written, before any work.

    Raises
    ------
    ConfigError : it has another ending, or exists already, or is no file.
    """
    if path is None:
        return
    if path.suffix.lower().removeprefix(".") not in endings:
        *others, last = (f".{ending}" for ending in endings)
        wanted = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"{option} is {str(path)!r}; its ending says what to write, so let it end in {wanted}")
    check_replaced(option, path, overwrite=overwrite)


def check_replaced(option: str, path: Path, *, overwrite: bool) -> None:
    """Refuse to replace a file unasked, and to replace what is no file.

    Raises
    ------
    ConfigError : that would happen.
    """
    exists = path.exists() or path.is_symlink()  # a link may point to nothing
    if path.is_dir() or (path.exists() and not path.is_file()):
        raise ConfigError(f"{path}: is no file that {option} could write; choose another name")
    if exists and not overwrite:
        raise ConfigError(f"{path}: exists already; replace it with --overwrite, or choose another name with {option}")


def write_outputs(contents: Mapping[Path, bytes]) -> None:
    """Write several files. If one cannot be written, or Ctrl-C comes between, the new files and folders are removed.

    Raises
    ------
    SeqtrainError : one cannot be written.
    """
    new = [path for path in contents if not path.exists()]
    new_folders = {path.parent for path in contents if not path.parent.exists()}
    try:
        for path, content in contents.items():
            write_output(path, content)
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        for folder in new_folders:
            with suppress(OSError):  # it was never made, or has files of somebody else
                folder.rmdir()
        raise


def write_output(path: Path, content: bytes) -> None:
    """Write a file whole, and its folder if that does not exist.

    Raises
    ------
    SeqtrainError : it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(path, error) from None
    write_whole(path, content)
