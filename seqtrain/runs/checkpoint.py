"""Checkpoints: tensors and plain values in one file, sealed with a checksum, loaded without running code from it."""

import io
import stat
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from seqtrain.runs.contents import check_contents
from seqtrain.runs.guard import check_archive
from seqtrain.runs.seal import OtherFormat, check_seal, seal
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import write_whole

FORMAT = 3
"""Raised whenever an older seqtrain could not read the file, or this one not an older file."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint with the entries of `Contents` but `format`. The same content gives the same bytes."""
    buffer = io.BytesIO()  # saving to a path would store the file's name inside
    torch.save(_canonical({"format": FORMAT} | content), buffer)
    seal(buffer, FORMAT)
    write_whole(path, buffer.getbuffer())


def _canonical(value: Any) -> Any:
    """The value built anew, so that its bytes depend on what it says and not on which objects happen to be shared.

    Pickle writes an object it has met before as a reference: equal strings must be one object (also with those that
    torch writes, such as "cpu"), and everything else an object of its own.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {_canonical(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = (_canonical(item) for item in value)
        return list(items) if isinstance(value, list) else tuple(items)
    return value


def load_checkpoint(path: Path, otherwise: str = "use last.pt or best.pt of a run") -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Nothing in the file is believed before the checksum over all of it fits, and nothing of a size that it claims is
    allocated before the file has been found to hold as much.

    Parameters
    ----------
    otherwise : what a person can do if the file is of no use.

    Raises
    ------
    CheckpointError : there is none, or the file is something else.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise CheckpointError(f"{path}: is not a file; give a run directory or a .pt file in one")
        file = path.open("rb")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; give a run directory or a .pt file in one") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise CheckpointError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    try:
        with file:
            return _read(file)
    except OtherFormat as error:
        raise CheckpointError(f"{path}: {error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; {otherwise}") from None


def _read(file: BinaryIO) -> dict[str, Any]:
    """The contents of a checkpoint; a CheckpointError says what is wrong, not where."""
    check_archive(file, check_seal(file, FORMAT))
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign files; the message below says it better
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # what is foreign makes the unpickler fail in any way it likes, also with an OSError
        raise CheckpointError("is damaged (PyTorch cannot read it)") from None
    check_contents(content)
    return content
