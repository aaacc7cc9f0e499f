"""The tokens of a file: in memory if the file is small, in a cached and mapped file if it is large.

The name of a cache file is the SHA-256 of the text, the unit and the version of the format. Its content:

    ids      of the tokens, 32 bits each
    types    the different tokens, UTF-8, separated by zero bytes (which no text contains)
    footer   the number of ids, the bytes of types, the CRC-32 of both
"""

import hashlib
import mmap
import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.system.files import UnreadableError, open_regular
from seqtrain.system.progress import say
from seqtrain.tasks.text.token_ids import Ids, Text
from seqtrain.tasks.text.tokenizer import BLOCK, Unit, blocks_of, check_is_text, decode, size_of, tokenise, tokens_of

LARGE = 16 << 20
"""Bytes of the smallest text whose tokens are kept in a file."""

VERSION = 2
"""Of the format, and of the rules of `tokenise`."""

FOOTER = struct.Struct("<QQI")


def read_text(path: Path, unit: Unit, *, quiet: bool = False) -> Text:
    """The tokens of a text file.

    Parameters
    ----------
    unit : what a token is, see `tokenise`.
    quiet : print no progress and no remarks while a large text is read.

    Raises
    ------
    DataError : the file is missing, unreadable, not text, or empty.
    """
    if size_of(path) >= LARGE:
        return _read_large(path, unit, quiet=quiet)
    ids: list[NDArray[np.int32]] = []
    types = tokenise(decode(path, blocks_of(path, "reading", quiet=True)), unit, ids.append, path)
    return Text(Ids(np.concatenate(ids)), types)


def cache_folder() -> Path:
    """The folder for the tokens of large texts: `$SEQTRAIN_CACHE`, or `seqtrain` in the user's cache folder.

    Raises
    ------
    OSError : neither is set, and there is no home folder.
    """
    own, users = os.environ.get("SEQTRAIN_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(own) if own else Path(users or "~/.cache") / "seqtrain").expanduser()
    except RuntimeError as error:
        raise OSError(str(error)) from None


def _read_large(path: Path, unit: Unit, *, quiet: bool) -> Text:
    digest, first = hashlib.sha256(), b""
    for number, block in enumerate(blocks_of(path, "looking up", quiet=quiet)):
        first = first or block
        check_is_text(path, block, number * BLOCK)  # refuse a binary file at once, before the rest of it is read
        digest.update(block)
    entry = _entry(digest.hexdigest(), unit)
    with suppress(OSError, UnreadableError):  # missing, damaged, or perhaps made by somebody else
        _check_own(entry.parent.stat())
        with open_regular(entry) as file:
            _check_own(os.fstat(file.fileno()))
            text = _map(file)
            _check_beginning(text, first, unit)
            return text
    try:
        return _cache(path, unit, quiet=quiet)
    except OSError as error:
        say(
            f"the tokens of {path.name} cannot be kept for the next time ({_reason(error)}); "
            "set SEQTRAIN_CACHE to a folder with room for them",
            quiet=quiet,
        )
    try:
        with tempfile.TemporaryFile() as file:  # it has no name, and its space is free when the mapping ends
            _write(file, path, unit, quiet=quiet)
            return _map(file)
    except OSError as error:
        raise DataError(
            f"{path}: its tokens cannot be written to {tempfile.gettempdir()} either ({_reason(error)}); they take "
            f"about {size_of(path) * (1 if unit == 'word' else 4) >> 20} MiB; set SEQTRAIN_CACHE to a folder with room"
        ) from None


def _entry(digest: str, unit: Unit) -> Path:
    return cache_folder() / f"{digest}-{unit}-v{VERSION}.ids"


def _check_own(status: os.stat_result) -> None:
    """Raise an OSError if others can change a folder or a file of the cache: its checksum says nothing of its truth."""
    if not hasattr(os, "geteuid"):
        return
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if others_write or status.st_uid not in (os.geteuid(), 0):
        raise OSError("the folder can be changed by other users")


def _check_beginning(text: Text, first: bytes, unit: Unit) -> None:
    """Raise an OSError if the tokens are not those of the text, of which `first` is the first block.

    A whole check would take as long as to tokenise the text.
    """
    begun = first[: first.rfind(b"\n") + 1]  # whole lines
    if begun.isspace() or not begun:
        return
    wanted = tokens_of("".join(decode(Path(), [begun])), unit)
    if [text.types[number] for number in text.ids[: len(wanted)].tolist()] != wanted:
        raise OSError("the file holds other tokens")


def _reason(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _cache(path: Path, unit: Unit, *, quiet: bool) -> Text:
    """Read a text into the cache. The file gets its name when it is complete, so that nobody can read a part of it."""
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_own(folder.stat())
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".tmp", delete=False) as file:
        try:
            digest = _write(file, path, unit, quiet=quiet)  # of what was read: the text may have changed meanwhile
            text = _map(file)
            Path(file.name).replace(_entry(digest, unit))
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return text


def _write(file: IO[bytes], path: Path, unit: Unit, *, quiet: bool) -> str:
    """Write the tokens of a text to a file in the format of the cache; returns the SHA-256 of the text."""
    digest, checksum, count = hashlib.sha256(), 0, 0

    def hashed(blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            digest.update(block)
            yield block

    def write(ids: NDArray[np.int32]) -> None:
        nonlocal checksum, count
        part = ids.astype("<i4", copy=False).data
        file.write(part)
        checksum, count = zlib.crc32(part, checksum), count + len(ids)

    types = tokenise(decode(path, hashed(blocks_of(path, "reading", quiet=quiet))), unit, write, path)
    encoded = "\0".join(types).encode()
    file.write(encoded + FOOTER.pack(count, len(encoded), zlib.crc32(encoded, checksum)))
    file.flush()
    return digest.hexdigest()


def _map(file: IO[bytes]) -> Text:
    """Map a file in the format of the cache; an OSError if it is damaged."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - FOOTER.size))
    footer = file.read()
    count, length, checksum = FOOTER.unpack(footer) if len(footer) == FOOTER.size else (0, 0, 0)
    if not count or size != 4 * count + length + FOOTER.size:
        raise OSError("the file is damaged")
    file.seek(4 * count)
    encoded = file.read(length)
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    ids = Ids(np.frombuffer(mapping, "<i4", count), mapping)
    actual = 0
    for block in ids.blocks():
        actual = zlib.crc32(block.data, actual)
    if zlib.crc32(encoded, actual) != checksum:
        raise OSError("the file is damaged")
    types = encoded.decode("utf-8", "replace").split("\0")
    if any(int(block.min()) < 0 or int(block.max()) >= len(types) for block in ids.blocks()):
        raise OSError("the file is damaged")
    return Text(ids, types)
