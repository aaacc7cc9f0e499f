"""Checkpoints: one safetensors file each, with all plain values as one JSON string in its header.

    [ 8 bytes: length of the header ]
    [ header: {"__metadata__": {"seqtrain": JSON of a `Header`}, name, type, shape and place of each tensor } ]
    [ data of the tensors ]

    encoder.*  stack.*  head.*       the model's weights, under the names of its state_dict()
    training/optimizer/3/exp_avg     what the optimizer keeps for parameter 3       \\
    training/carried/0/1/hidden      state of layer 0, cell 1, between two windows   } what a resumed run needs,
    training/own/head.weight         weights being trained, if the model's weights   } only in last.safetensors
                                     are their running mean                         /

So `safetensors.torch.load_file` of a best checkpoint gives the state_dict of the model, and no more. A checksum covers
every byte. It proves that a file is as it was written, not who wrote it: therefore all values are validated too, and
nothing is allocated for a size that the file only claims.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import from_json
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from seqtrain.config import Config
from seqtrain.system.errors import CheckpointError
from seqtrain.system.files import UnreadableError, open_regular, write_whole
from seqtrain.tasks import Spec, Task
from seqtrain.tasks.text.vocabulary import UNK, Vocabulary
from seqtrain.training.state import TrainingRecord, Whole

FORMAT: Literal[4] = 4
"""Raised whenever an older seqtrain could not read the file, or this one not an older file."""

KEY, PREFIX = "seqtrain", "training/"
"""The name of the plain values, and how the names of training tensors begin; no weight has such a name."""

LARGEST_HEADER, MOST_VALUES, MOST_TENSORS = 1 << 25, 4_000_000, 100_000
"""Bytes, plain values and tensors in a header: limits to the memory that a hostile file can cost (a value of two bytes
takes about a hundred in memory). A vocabulary of two million words is within them."""

RARE = ("fitted", "imported")
"""Plain values that are in a file only where a run has them."""

_ZEROS = "0" * 64
_START = re.compile(
    rb'.{8}\{"__metadata__":\{"seqtrain":"\{\\"format\\":(?P<format>\d{1,9}),\\"sha256\\":\\"(?P<digest>[0-9a-f]{64})',
    re.DOTALL,
)


def _check_sizes(spec: Spec) -> Spec:
    if not all(1 <= size <= 2**31 for size in (spec.input_size, spec.output_size)):
        raise ValueError("sizes must be at least 1, at most 2**31")
    return spec


class Header(BaseModel):
    """The plain values of a checkpoint.

    format : of the file.
    sha256 : of the file with zeros in place of these 64 digits.
    config : the resolved config.
    variant : of the task.
    fingerprints : hashes of the task's fixed sets.
    lost_best_step : of a better evaluation of the run whose checkpoint was removed.
    spec : what the model takes and gives.
    vocabulary, counts : the tokens of a text model and how often each stood in its training text.
    fitted : what the task measured on its training data, such as the scaling of a table.
    imported : the name of the file that the first weights of the run came from; None if they were drawn.
    step : training steps done.
    training : the rest of the training state; None in a checkpoint that training cannot go on from.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)

    format: Literal[4] = FORMAT
    sha256: str = _ZEROS
    config: dict[str, JsonValue]
    variant: str
    fingerprints: dict[str, str]
    spec: Annotated[Spec, AfterValidator(_check_sizes)]
    vocabulary: Annotated[list[str], Field(fail_fast=True)] | None
    counts: Annotated[list[Whole], Field(fail_fast=True)] | None
    fitted: dict[str, JsonValue] | None = None
    imported: str | None = None
    step: Whole = 0
    lost_best_step: Whole | None = None
    training: TrainingRecord | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        tokens, counts, task, one = self.vocabulary, self.counts, self.config.get("task"), self.training
        if isinstance(task, dict) and task.get("name") == "language_model" and None in (tokens, counts):
            raise ValueError("a language model needs a vocabulary with counts")
        if counts is not None and UNK not in (tokens or []):
            raise ValueError(f"the vocabulary of a text must hold {UNK}")
        if tokens is not None and not len(set(tokens)) == len(tokens) == self.spec.input_size == self.spec.output_size:
            raise ValueError("the vocabulary does not fit the model, or holds a token twice")
        if counts is not None and len(counts) != len(tokens or []):
            raise ValueError("the vocabulary does not fit its counts")
        if one and not max(one.best_step or 0, one.solved_at_step or 0) <= one.evaluated_at <= self.step:
            raise ValueError("an evaluation comes after the last step")
        if one and (one.best_step is None) != (one.best_value is None):
            raise ValueError("the best evaluation needs a step and a value")
        return self

    def known_words(self) -> Vocabulary | None:
        """The vocabulary of a text model."""
        return None if self.counts is None else Vocabulary(self.vocabulary or [], self.counts)


class Checkpoint(NamedTuple):
    """What a file holds: plain values, the model's weights, and the other tensors of the training state."""

    header: Header
    weights: dict[str, Tensor]
    training: dict[str, Tensor]

    def for_evaluation(self) -> "Checkpoint":
        """The same model without the training state."""
        return Checkpoint(self.header.model_copy(update={"training": None}), self.weights, {})


def header_of(config: Config, task: Task, imported: str | None = None) -> Header:
    """What every checkpoint of a run says, before the first step; for `imported` see `Header`."""
    return Header(
        config=config.model_dump(mode="json"),
        variant=task.definition,
        fingerprints=task.fingerprints(),
        spec=task.spec,
        vocabulary=task.vocabulary if task.spec.words else None,
        counts=task.counts,
        fitted=task.fitted,
        imported=imported,
    )


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint. The same content gives the same bytes.

    Raises
    ------
    SeqtrainError : it cannot be encoded, or the file cannot be written.
    """
    write_whole(path, *parts_of_file(checkpoint))


def parts_of_file(checkpoint: Checkpoint) -> tuple[memoryview, bytes, memoryview]:
    """The bytes of a file: what stands before its checksum, the checksum, and what stands behind it.

    Raises
    ------
    CheckpointError : it cannot be encoded.
    """
    content = encoded(checkpoint)
    start = _START.match(content)
    assert start is not None
    view, (begin, end) = memoryview(content), start.span("digest")
    return view[:begin], hashlib.sha256(content).hexdigest().encode(), view[end:]


def encoded(checkpoint: Checkpoint) -> bytes:
    """The bytes of a file, with zeros in place of the checksum.

    Raises
    ------
    CheckpointError : the vocabulary is too large, or a weight is of a kind that safetensors does not have.
    """
    tensors = checkpoint.weights | {PREFIX + name: tensor for name, tensor in checkpoint.training.items()}
    try:
        header = checkpoint.header.model_copy(update={"sha256": _ZEROS})
        text = header.model_dump_json(exclude={name for name in RARE if getattr(header, name) is None})
        content = save(_separate(tensors), {KEY: text})
    except (AttributeError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"safetensors cannot store {_first_fault(tensors)} ({error}); use dense tensors of usual types"
        ) from None
    if int.from_bytes(content[:8], "little") > LARGEST_HEADER or _count(text) > MOST_VALUES:
        raise CheckpointError(
            f"a vocabulary of {_words_in(checkpoint.header):,} tokens is too large for a checkpoint; use a "
            "smaller task.max_size or a larger task.min_count"
        )
    return content


def _words_in(header: Header) -> int:
    """The words that a header holds."""
    known = (header.fitted or {}).get("words")
    return len(header.vocabulary or (known if isinstance(known, dict) else []))


def _first_fault(tensors: dict[str, Tensor]) -> str:
    """The name of the first tensor that cannot be stored."""
    for name, tensor in tensors.items():
        try:
            save(_separate({name: tensor}))
        except (AttributeError, KeyError, RuntimeError, ValueError):
            return name
    return "its config"


def _count(text: str) -> int:
    """An upper bound of the values in a JSON text; a list or an object counts as five, as it takes more memory."""
    return text.count(",") + 4 * (text.count("[") + text.count("{"))


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU that share no memory, as safetensors requires."""
    memory: set[int] = set()
    separate = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if address in memory else tensor
        memory.add(address)
    return separate


def load_checkpoint(path: Path, cure: str = "use another checkpoint, or train anew") -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Parameters
    ----------
    cure : what a user can do if the file cannot be used.

    Raises
    ------
    CheckpointError : there is no such file, or it is not a whole checkpoint of this format.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        raise CheckpointError(f"{path}: is a config, no checkpoint; give the run directory that a training of it made")
    try:
        with open_regular(path) as file:
            _check_digest(file)
        return _read(path)
    except UnreadableError as error:
        raise CheckpointError(f"{error}; give a run directory or a .safetensors file in one") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); {cure}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; {cure}") from None


def _check_digest(file: BinaryIO) -> None:
    """Check that a file is a checkpoint of this format, and whole."""
    head = file.read(200)
    start = _START.match(head)
    if head.startswith(b"PK\x03\x04"):
        raise CheckpointError("is an archive of torch.save, as an older seqtrain wrote and reads (this one: format 4)")
    if start is None:
        raise CheckpointError("is not a seqtrain checkpoint (damaged, or written by another program)")
    if int(start["format"]) != FORMAT:
        raise CheckpointError(
            f"has format {int(start['format'])}, which another version of seqtrain wrote and reads (this one: {FORMAT})"
        )
    if int.from_bytes(head[:8], "little") > LARGEST_HEADER:
        raise CheckpointError("is damaged (its header is larger than that of any checkpoint)")
    begin, end = start.span("digest")
    digest = hashlib.sha256(head[:begin] + _ZEROS.encode() + head[end:])
    while block := file.read(1 << 20):
        digest.update(block)
    if digest.hexdigest().encode() != start["digest"]:
        raise CheckpointError("is damaged (its checksum does not fit its contents)")


def _read(path: Path) -> Checkpoint:
    """The contents of a file whose checksum fits."""
    try:
        with safe_open(path, "pt") as file:
            text, names = file.metadata()[KEY], file.keys()
            if _count(text) > MOST_VALUES or len(names) > MOST_TENSORS:
                raise CheckpointError("is damaged (it holds more values than any checkpoint)")
            header = Header.model_validate_json(text)
            tensors = {name: file.get_tensor(name).clone() for name in names}  # else in the memory of the file
    except (CheckpointError, MemoryError):
        raise
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = f"{'.'.join(map(str, fault['loc']))[:80]!r}: " if fault["loc"] else ""
        raise CheckpointError(f"is damaged ({where}{fault['msg'].removeprefix('Value error, ')})") from None
    except Exception:  # safetensors raises errors of many types
        raise CheckpointError("is damaged (safetensors cannot read it)") from None
    return _checkpoint(header, tensors)


def _checkpoint(header: Header, tensors: Mapping[str, Tensor]) -> Checkpoint:
    """The checkpoint with these plain values and all these tensors."""
    training = {name.removeprefix(PREFIX): one for name, one in tensors.items() if name.startswith(PREFIX)}
    return Checkpoint(header, {name: one for name, one in tensors.items() if not name.startswith(PREFIX)}, training)


def decoded(content: bytes) -> Checkpoint:
    """The checkpoint in what `encoded` gave.

    Raises
    ------
    CheckpointError : its plain values cannot be read back.
    """
    size = int.from_bytes(content[:8], "little")
    try:
        header = Header.model_validate_json(from_json(content[8 : 8 + size])["__metadata__"][KEY])
    except ValidationError as error:
        raise CheckpointError(f"its plain values cannot be read back ({error})") from None
    return _checkpoint(header, load(content))
