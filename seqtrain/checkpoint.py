"""Checkpoints: tensors and plain values in one file, loaded without running code from it."""

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtrain.errors import CheckpointError
from seqtrain.files import write_whole

FORMAT = 2
"""Raised whenever an older seqtrain could not read the file."""

KEYS = {
    "config": dict,
    "variant": str,
    "fingerprints": dict,
    "spec": tuple,
    "vocabulary": list | None,
    "counts": list | None,
    "model": dict,
    "training": dict,
}
"""What a checkpoint holds: the resolved config, the task's variant, hashes of its fixed sets, its spec, the
tokens of a text model and how often each stood in its training text, the weights, and the rest of the training
state."""


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint with the entries of `KEYS`. The same content gives the same bytes."""
    buffer = io.BytesIO()  # saving to a path would store the file's name inside
    torch.save(_canonical({"format": FORMAT} | content), buffer)
    write_whole(path, buffer.getvalue())


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

    Parameters
    ----------
    otherwise : what a person can do if the file is of no use.

    Raises
    ------
    CheckpointError : there is none, or the file is something else.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; give a run directory or a .pt file in one") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        with file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign files; the message below says it better
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # a foreign or torn file makes the unpickler fail in any way it likes, also with an OSError
        raise CheckpointError(
            f"{path}: is not a seqtrain checkpoint (damaged, or written by another program); {otherwise}"
        ) from None
    if not isinstance(content, dict) or "format" not in content:
        raise CheckpointError(f"{path}: holds no seqtrain checkpoint; {otherwise}")
    if not isinstance(content["format"], int) or content["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: has format {content['format']!r}, this seqtrain reads {FORMAT}; use the seqtrain that wrote it"
        )
    for key, kind in KEYS.items():
        if not isinstance(content.get(key), kind):
            raise CheckpointError(f"{path}: is damaged ({key!r} is missing); {otherwise}")
    plain = all(isinstance(token, str) for token in content["vocabulary"] or [])
    plain = plain and all(isinstance(count, int) for count in content["counts"] or [])
    plain = plain and len(content["vocabulary"] or []) == len(content["counts"] or content["vocabulary"] or [])
    if not (plain and isinstance(content["training"].get("step"), int) and len(content["spec"]) == 5):
        raise CheckpointError(f"{path}: is damaged (its contents make no sense); {otherwise}")
    return content
