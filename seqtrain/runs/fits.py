"""Whether the tensors of a checkpoint fit the model and the optimizer that they are to be loaded into.

Nothing is changed before all of them fit. The errors say what is wrong; `about` adds in which file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from seqtrain.models import SequenceModel
from seqtrain.runs.checkpoint import Checkpoint
from seqtrain.system.errors import CheckpointError
from seqtrain.training.state import named_tensors


@contextmanager
def about(path: Path, cure: str) -> Iterator[None]:
    """Add the file, and what a user can do, to a CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; {cure}") from None


def check_weights(weights: Mapping[str, Tensor], like: Mapping[str, Tensor], what: str = "weights") -> None:
    """Raise a CheckpointError unless names, shapes and types are those of `like`, which may be on the meta device."""
    for name in (*like, *weights):
        if name not in weights:
            fault = f"{name} is missing"
        elif name not in like:
            fault = f"{name[:60]!r} has no place in the model"
        elif _kind(weights[name]) != _kind(like[name]):
            fault = f"{name} is {_kind(weights[name])}, it must be {_kind(like[name])}"
        else:
            continue
        raise CheckpointError(f"its {what} do not fit its own config ({fault})")


def check_training(
    checkpoint: Checkpoint, model: SequenceModel, batch_size: int, kept: Mapping[str, Tensor | None]
) -> None:
    """Raise a CheckpointError unless a run can go on from a checkpoint.

    Parameters
    ----------
    batch_size : of training: sequences in the carried state.
    kept : what the optimizer keeps for a parameter of shape `[1, 1]`, by name.
    """
    record, names = checkpoint.header.training, [name.split("/") for name in checkpoint.training]
    if record is None:
        raise CheckpointError("holds no training state (it is a best checkpoint)")
    check_weights(checkpoint.weights, model.state_dict())
    stepped = {parts[1] for parts in names if parts[0] == "optimizer" and len(parts) == 3}
    if kept and not stepped and checkpoint.header.step > record.skipped_steps:
        raise CheckpointError("its training tensors do not fit its own config (the optimizer's are missing)")
    optimizer = {
        number: {key: parameter if part is not None and part.dim() else part for key, part in kept.items()}
        for number, parameter in enumerate(model.parameters())
        if str(number) in stepped  # a parameter without a gradient has none
    }
    carried = None
    if any(parts[0] == "carried" for parts in names):
        carried = [[cell.initial_state(batch_size) for cell in layer] for layer in model.stack.cells()]
    own = dict(model.named_parameters()) if record.averaged else {}
    check_weights(checkpoint.training, named_tensors(optimizer, carried, own), "training tensors")


def _kind(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
