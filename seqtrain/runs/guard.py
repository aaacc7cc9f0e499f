"""What torch may be given to unpickle: an archive that says no more than it holds, and in it a tree of plain values.

A checksum proves that a file is as it was written, not who wrote it. `torch.load(..., weights_only=True)` runs no code
of a file, but it believes what the file says of its sizes, and makes more than a checkpoint needs. So the archive and
its pickle are looked through first; nothing of the size that they claim is allocated for that.
"""

import pickletools
import re
import struct
import zipfile
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from seqtrain.system.errors import CheckpointError

_NAME = re.compile(r"archive/(\.?[a-z_]+(/[a-z_]+)?|data\.pkl|data/\d+)")
_SIZES = {
    "Bool": 1, "Byte": 1, "Char": 1, "Half": 2, "BFloat16": 2, "Short": 2, "Int": 4, "Float": 4,
    "Long": 8, "Double": 8, "ComplexFloat": 8, "ComplexDouble": 16,
}  # fmt: skip
_STORAGES = {f"torch {name}Storage": size for name, size in _SIZES.items()}
"""Bytes of a number, by the class of a tensor's storage."""

_END = 56 + 20 + 22
_LARGEST_DIRECTORY = 1 << 24
"""Bytes; enough for 100,000 tensors."""

_TEXT, _WHOLE, _GLOBAL = {"BINUNICODE"}, {"BININT", "BININT1", "BININT2", "LONG1"}, {"GLOBAL"}
_REDUCIBLE = {"torch._utils _rebuild_tensor_v2", "collections OrderedDict"}
_PUT, _GET = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
_ALLOWED = _TEXT | _WHOLE | _GLOBAL | _PUT | _GET | {
    "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINPERSID", "REDUCE",
}  # fmt: skip
_CONTAINERS = {"EMPTY_DICT", "EMPTY_LIST", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
_STORAGE = ({"MARK"}, _TEXT, _GLOBAL, _TEXT, _TEXT, _WHOLE, {"TUPLE"})
"""What `BINPERSID` must follow: ("storage", its class, the name of its record, "cpu", how many numbers)."""


def check_archive(file: BinaryIO, length: int) -> None:
    """Refuse an archive that torch could not have written for a checkpoint.

    Parameters
    ----------
    length : of the archive up to its comment.

    Raises
    ------
    CheckpointError : saying what is wrong, not where.
    """
    try:
        directory = _directory(file, length)
        with zipfile.ZipFile(file) as archive:
            if (len(archive.infolist()), archive.start_dir) != directory:
                raise CheckpointError("is damaged (its archive has two directories)")
            sizes = _sizes(archive, length)
            program = archive.read("archive/data.pkl")
    except CheckpointError:
        raise
    except Exception:  # zipfile fails on nonsense in any way it likes
        raise CheckpointError("is damaged (it holds no archive of PyTorch's)") from None
    try:
        _check_pickle(program, sizes)
    except (ValueError, IndexError) as error:  # pickletools: the pickle ends in the middle, or has an unknown opcode
        raise CheckpointError(f"is damaged (its pickle cannot be read: {error})") from None


def _directory(file: BinaryIO, length: int) -> tuple[int, int]:
    """How many records the archive's directory lists, and where it starts.

    Only the end that PyTorch writes will do, so that Python's reader and torch's cannot find two directories.

    [ records ] [ directory ] [ end, 64 bits: 56 bytes ] [ where that is: 20 ] [ end: 22 ]
    """
    file.seek(length - _END)
    end = file.read(_END)
    count, size, start = struct.unpack_from("<QQQ", end, 32)
    (found_at,) = struct.unpack_from("<Q", end, 64)
    signatures = end[:4] + end[56:60] + end[76:80]
    if (start + size, found_at, signatures) != (length - _END, length - _END, b"PK\x06\x06PK\x06\x07PK\x05\x06"):
        raise CheckpointError("is damaged (its archive has not the end that PyTorch gives one)")
    if size > _LARGEST_DIRECTORY:
        raise CheckpointError("has more records than any checkpoint")
    return count, start


def _sizes(archive: zipfile.ZipFile, length: int) -> dict[str, int]:
    """Bytes of each record, by its name without the folder."""
    records = archive.infolist()
    if any(one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size for one in records):
        raise CheckpointError("has compressed records, which no checkpoint has")
    if sum(one.file_size for one in records) > length:
        raise CheckpointError("claims to hold more than its size")
    names = {one.filename for one in records}
    if len(names) < len(records) or not all(_NAME.fullmatch(name) for name in names):
        raise CheckpointError("has records that no checkpoint has")
    return {one.filename.removeprefix("archive/"): one.file_size for one in records}


def _check_pickle(program: bytes, sizes: Mapping[str, int]) -> None:
    """Read the instructions without following any.

    Allowed is what makes a tree of dicts, lists, tuples, strings, numbers and dense tensors, each with a record of its
    own. Only a string or a name may be used again (`_GET`): so there are no cycles, and no few bytes that unfold into
    a structure without end.
    """
    memo: dict[int, tuple[str, Any]] = {}
    # The last instructions, with what they push; `_GET` as what it gets.
    before: deque[tuple[str, Any]] = deque(maxlen=len(_STORAGE))
    used: set[str] = set()
    containers = 1000 + 20 * len(sizes)  # one of a byte takes dozens in memory; a tensor needs five
    argument: Any
    for opcode, argument, _ in pickletools.genops(program):
        name = opcode.name
        if name not in _ALLOWED:
            raise CheckpointError(f"asks for what no checkpoint needs ({name})")
        if name in _GLOBAL and argument not in _REDUCIBLE and argument not in _STORAGES:
            raise CheckpointError(f"asks for what no checkpoint needs ({argument[:60]!r})")
        containers -= name in _CONTAINERS
        if containers < 0:
            raise CheckpointError("holds more lists than any checkpoint")
        if name in _PUT:
            memo[argument] = before[-1]
            continue
        if name in _GET:
            name, argument = memo.get(argument, ("", None))
            if name not in _TEXT | _GLOBAL:
                raise CheckpointError("holds one thing in several places")
        if name == "BINPERSID":
            used.add(_check_storage(before, sizes, used))
        before.append((name, argument))


def _check_storage(before: Sequence[tuple[str, Any]], sizes: Mapping[str, int], used: set[str]) -> str:
    """The record behind a tensor, which must be as large as the tensor says, and of no other."""
    as_wanted = all(name in wanted for (name, _), wanted in zip(before, _STORAGE, strict=True))
    record = f"data/{before[3][1]}"
    if not as_wanted or before[1][1] != "storage" or before[4][1] != "cpu" or record in used:
        raise CheckpointError("has tensors that no checkpoint has")
    if sizes.get(record) != before[5][1] * _STORAGES.get(before[2][1], 0):
        raise CheckpointError("has a tensor of another size than its record")
    return record
