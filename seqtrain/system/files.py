"""Write files so that a reader never sees half of one, and read files that may be something else than expected."""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from seqtrain.system.errors import SeqtrainError
from seqtrain.system.lease import HELD

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""Numbers of the errors with which a file system says that it has no locks, or that it flushes no folders."""


class UnwritableError(SeqtrainError):
    """A file that cannot be written: the disk is full, or the folder is missing or not writable."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"{path}: cannot be written ({error.strerror or error}); what was saved before is whole; correct that and "
            "repeat the command, or go on with a training by --resume"
        )


class UnreadableError(SeqtrainError):
    """A file of seqtrain that cannot be read, or holds something else."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")


def check_name(path: Path | str) -> None:
    """Raise a `SeqtrainError` if a name is not UTF-8, as on a disk of an old system: JSON and YAML cannot hold it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        name = str(path).encode("utf-8", "backslashreplace").decode().replace(r"\udc", r"\x")  # how Python holds a byte
        raise SeqtrainError(
            f"{name}: is not UTF-8; rename the file or folder, e.g. with convmv -f latin1 -t utf8, or convert the text"
        ) from None


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read bytes; a pipe or a device, which may never end, is refused at once.

    Raises
    ------
    UnreadableError : it is not a regular file, or cannot be read.
    SeqtrainError : its name is not UTF-8.
    """
    check_name(path)
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115
    except FileNotFoundError:
        raise UnreadableError(path, "no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise UnreadableError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnreadableError(path, "is not a regular file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    """An opener for `open` that does not wait for the writer of a pipe. Windows has no such pipes."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_whole(path: Path, largest: int) -> bytes:
    """All of a regular file of at most `largest` bytes.

    Raises
    ------
    UnreadableError : it is not a regular file, cannot be read, or is larger.
    """
    try:
        with open_regular(path) as file:
            content = file.read(largest + 1)
    except OSError as error:
        raise UnreadableError(path, f"cannot be read ({error.strerror or error})") from None
    if len(content) > largest:
        raise UnreadableError(path, f"is larger than {largest >> 10} KiB, as no such file of seqtrain is")
    return content


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Write beside the file, flush to the disk, then rename: `path` holds the old content or the new.

    In a folder that this process holds (see `lease`), the rename fails once another process has taken it.

    Parameters
    ----------
    parts : of the content, in order.

    Raises
    ------
    UnwritableError : it cannot be written; `path` is as it was.
    SeqtrainError : its name is not UTF-8.
    """
    check_name(path)
    lease = HELD.get(path.parent.absolute())
    beside = path.with_name(path.name + ".tmp") if lease is None else lease.through(path.name)
    try:
        beside.unlink(missing_ok=True)  # a link would be followed, and a pipe would block
        with beside.open("xb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _flush_folder(path.parent)
    except BaseException as error:  # also Ctrl-C
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        if lease is not None and not lease.is_own() and path.parent.exists():
            error = OSError(error.errno, "the folder is no longer held by this process")
        raise UnwritableError(path, error) from None


def append_line(path: Path, line: str, check: Callable[[], None] = lambda: None) -> None:
    """Add a line to a file.

    check : called once the file is open and nothing is written yet; see `RunDir.check_still_own`.

    Raises
    ------
    UnwritableError : it cannot be written; the file may end in a part of the line.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            check()
            file.write(line + "\n")
    except OSError as error:
        raise UnwritableError(path, error) from None


def flush_to_disk(path: Path) -> None:
    """Wait until what was appended to a file is on the disk, where it survives a power cut.

    Raises
    ------
    UnwritableError : it cannot be written there.
    """
    try:
        with path.open("ab") as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise UnwritableError(path, error) from None


def _flush_folder(folder: Path) -> None:
    """Flush the new name of a file too, where the system can: Windows cannot open folders, some disks flush none."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


def split_file(folder: Path, split: str) -> Path:
    """Where a folder of text holds its `train`, `valid` or `test` part: in `train.txt`, or as it was published.

    The Penn Treebank has `ptb.train.txt`, WikiText `wiki.train.tokens` and `wiki.train.raw`.
    """
    names = (f"{split}.txt", f"ptb.{split}.txt", f"wiki.{split}.tokens", f"wiki.{split}.raw")
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])
