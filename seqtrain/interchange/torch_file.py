"""Read the weights in a file of PyTorch, or of safetensors. Nothing in such a file is run, and no size is believed."""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from seqtrain.runs.checkpoint import KEY, MOST_TENSORS
from seqtrain.system.errors import CheckpointError, plain, short
from seqtrain.system.files import UnreadableError, open_regular
from seqtrain.system.ignoring import warnings_ignored
from seqtrain.system.words import counted

CURE = "give a file that torch.save(model.state_dict(), FILE) or safetensors wrote"

WRAPPERS = ("state_dict", "model_state_dict")
"""What programs call the weights in a file that holds more than these."""

DEEPEST = 50
"""Mappings in one another."""

SHOWN = 5
"""Names in a message."""


class Weights(NamedTuple):
    """Tensors by their names, in the order of the file.

    source : what to call the file in messages.
    remarks : what a user should know.
    in_order : whether the order may be that of the modules; it is not where the names are sorted, as in safetensors.
    """

    source: str
    tensors: dict[str, Tensor]
    remarks: list[str]
    in_order: bool


def read_weights(source: str | Path | Mapping[str, Any]) -> Weights:
    """The weights in a file, or in the `state_dict()` of a module.

    The weights may be in mappings in one another, whose keys are put together with dots. They may stand beside other
    things, under a name in `WRAPPERS`. What `torch.compile`, `DataParallel` and `DistributedDataParallel` put before
    the names is left out.

    Raises
    ------
    CheckpointError : it is no such file, or it is damaged, or it holds anything but weights and plain values.
    """
    if not isinstance(source, str | Path | Mapping):
        cure = "give its .state_dict()" if isinstance(source, torch.nn.Module) else "give a file, or a state_dict()"
        raise CheckpointError(f"the weights are a {type(source).__name__}; {cure}")
    name = "a state_dict" if isinstance(source, Mapping) else str(source)
    try:
        if isinstance(source, Mapping):
            return _weights(name, source, None)
        with open_regular(Path(source)) as file:
            size = file.seek(0, 2)
            file.seek(0)
            return _weights(name, _content(file, Path(source), size), size)
    except UnreadableError as error:
        raise CheckpointError(f"{error}; {CURE}") from None
    except OSError as error:
        raise CheckpointError(f"{name}: cannot be read ({error.strerror or error}); {CURE}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None


BEGINNINGS = {
    b"\x93NUMPY": "is an array of NumPy",
    b"\x89HDF": "is an HDF5 file, as Keras writes",
    b"version https://git-lfs": "is a pointer of Git LFS, which git lfs pull replaces by the file",
}
"""How files of other kinds begin."""

ARCHIVES = {
    "/constants.pkl": "is a program of TorchScript; write its weights with "
    "torch.save(torch.jit.load(FILE).state_dict(), OTHER)",
    ".npy": f"is an archive of NumPy (.npz); {CURE}",
    "archive_format": "is a program of torch.export; write its weights with "
    "torch.save(torch.export.load(FILE).state_dict, OTHER)",
}
"""How the name of an entry ends in archives of other kinds."""


def _content(file: BinaryIO, path: Path, size: int) -> Any:
    """What a file holds, as its first bytes say."""
    head = file.read(32)
    file.seek(0)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(b"PK\x03\x04"):
        _check_archive(file, size)
        return _loaded(file)
    if head.startswith(b"\x80"):  # a pickle, as torch.save wrote before its version 1.6
        return _loaded(file)
    known = [kind for start, kind in BEGINNINGS.items() if head.startswith(start)]
    raise CheckpointError(f"{known[0] if known else 'is no file of PyTorch or safetensors'}; {CURE}")


def _check_archive(file: BinaryIO, size: int) -> None:
    """Refuse programs, and archives that would become larger in memory than they are."""
    with _whole():
        entries = zipfile.ZipFile(file).infolist()
    file.seek(0)
    for ending, kind in ARCHIVES.items():
        if any(entry.filename.endswith(ending) for entry in entries):
            raise CheckpointError(kind)
    if sum(entry.file_size for entry in entries) > size:
        raise CheckpointError(f"claims more bytes than it has; {CURE}")


def _loaded(file: BinaryIO) -> Any:
    """What torch.save wrote, if that is weights and plain values."""
    with _whole(), warnings_ignored():
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"[Uu]nsupported (?:global: )?GLOBAL (\S+) (?:was not|whose module)", str(error))
            if found is None:
                raise
            raise CheckpointError(
                f"holds {plain(found[1])} beside weights, and seqtrain loads no code; write the weights alone: "
                "torch.save(model.state_dict(), FILE)"
            ) from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _whole(), safe_open(path, "pt") as file:
        if KEY in (file.metadata() or {}):
            raise CheckpointError("is a checkpoint of seqtrain, which every verb takes as it is: seqtrain eval FILE")
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping


@contextmanager
def _whole() -> Iterator[None]:
    """Whatever a reader raises means that the file is damaged: readers of hostile files raise errors of many types."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception:
        raise CheckpointError(f"is damaged, or was written by another program; {CURE}") from None


def _weights(source: str, content: Any, size: int | None) -> Weights:
    """The tensors in what was read from a file of that many bytes."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"holds a {type(content).__name__}, not weights by their names; {CURE}")
    within, remarks = _unwrapped(content)
    tensors: dict[str, Tensor] = {}
    others: list[str] = []
    for name, value in _flat(within, "", 0, count()):
        if not isinstance(value, Tensor):
            others.append(name)
        elif name in tensors:
            raise CheckpointError(f"holds two weights called {plain(name)}; {CURE}")
        else:
            _check(name, value, size)
            tensors[name] = value.detach()
    if not tensors:
        raise CheckpointError(f"holds no weights; {CURE}")
    if others:
        remarks.append(f"not read, as they are no weights: {listed(others)}")
    tensors = _own_names(_without_wrapper(within, tensors) if len(content) > 1 else tensors)
    return Weights(source, tensors, remarks, [*tensors] != sorted(tensors))


def _unwrapped(content: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[str]]:
    """The weights in a file that holds more than these, and a remark about the rest."""
    names = list(WRAPPERS)
    if any(isinstance(key, str) and key.startswith("optim") for key in content):
        names.append("model")  # else it may be a part of the model
    for name in names:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            others = [_key(key) for key in content if key != name]
            return inner, [f"read {name!r} alone, and not {listed(others)} beside it"] if others else []
    return content, []


def _is_of_optimizer(content: Mapping[Any, Any]) -> bool:
    """Whether it is what `state_dict()` of an optimizer gives."""
    return "param_groups" in content and "state" in content


def _without_wrapper(content: Mapping[Any, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names inside of a mapping that holds all tensors."""
    for key, value in content.items():
        before = f"{_key(key)}."
        if isinstance(value, Mapping) and all(name.startswith(before) for name in tensors):
            return {name.removeprefix(before): tensor for name, tensor in tensors.items()}
    return tensors


def _key(key: Any) -> str:
    return key if isinstance(key, str) else short(key)


def _flat(content: Mapping[Any, Any], before: str, depth: int, visited: Iterator[int]) -> Iterator[tuple[str, Any]]:
    """Values by their names, those of an inner mapping behind the name of this one and a dot.

    visited : counts the values and mappings, of which a small file may claim any number: one mapping in many places.
    """
    if depth > DEEPEST:
        raise CheckpointError(f"holds more than {DEEPEST} mappings in one another; {CURE}")
    for key, value in content.items():
        if next(visited) >= MOST_TENSORS:
            raise CheckpointError(f"holds more than {MOST_TENSORS:,} values; {CURE}")
        name = before + _key(key)
        if isinstance(value, Mapping) and not _is_of_optimizer(value):
            yield from _flat(value, f"{name}.", depth + 1, visited)
        else:
            yield name, value


def _check(name: str, tensor: Tensor, size: int | None) -> None:
    """Refuse what is no array of numbers that are in the file."""
    if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
        raise CheckpointError(f"{plain(name)} is no dense tensor; {CURE}")
    if tensor.is_meta or (size is not None and tensor.numel() * tensor.element_size() > size):
        raise CheckpointError(f"{plain(name)} claims more numbers than the file holds; {CURE}")


def _own_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names that the module itself gives."""
    names = [".".join(part for part in name.split(".") if part != "_orig_mod") for name in tensors]
    while all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    own = dict(zip(names, tensors.values(), strict=True))
    return own if len(own) == len(tensors) else tensors


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """The first of some names, and how many there are beside them."""
    more = len(names) - most
    first = ", ".join(map(shown, names[:most]))
    return f"{first} and {counted(more, 'other')}" if more > 0 else first


def shown(name: str) -> str:
    """A name in a message."""
    return plain(name) if name else "''"
