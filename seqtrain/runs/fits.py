"""Whether what a checkpoint holds fits the model, and the optimizer, that it is to go into.

Each raises a CheckpointError that says what is wrong, not where. Nothing is changed before all of it fits.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from seqtrain.models import SequenceModel
from seqtrain.system.errors import CheckpointError


def check_weights(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """The same names with the same shapes and types; the wanted ones may be on the meta device."""
    for name in (*wanted, *found):
        if name not in found:
            raise CheckpointError(f"its weights do not fit its own config ({name} is missing)")
        if name not in wanted:
            raise CheckpointError(f"its weights do not fit its own config ({name[:60]!r} has no place in the model)")
        if _kind(found[name]) != _kind(wanted[name]):
            raise CheckpointError(
                f"its weights do not fit its own config ({name} is {_told(found[name])}, it must be "
                f"{_told(wanted[name])})"
            )


def check_training(
    content: Mapping[str, Any], model: SequenceModel, optimizer: Optimizer, batch_size: int, kept: Mapping[str, Any]
) -> None:
    """All that a run goes on from.

    Parameters
    ----------
    batch_size : of training: sequences in the carried state.
    kept : what such an optimizer keeps for a parameter of shape `[1, 1]`, by name.
    """
    training, parameters = content["training"], dict(model.named_parameters())
    check_weights(content["model"], model.state_dict())
    if training["average"] is not None:
        check_weights(training["average"]["weights"], parameters)
    _check_optimizer(training["optimizer"], optimizer.state_dict()["param_groups"], list(parameters.values()), kept)
    if training["carried"] is not None:
        wanted = [[cell.initial_state(batch_size) for cell in layer] for layer in model.stack.cells()]
        _check_carried(training["carried"], wanted)


def _check_carried(found: Sequence[Any], wanted: Sequence[Any]) -> None:
    """The recurrent state; the wanted one is any state of as many sequences."""
    kinds = [[[[_kind(part) for part in cell] for cell in layer] for layer in state] for state in (found, wanted)]
    if kinds[0] != kinds[1]:
        raise CheckpointError("its carried state does not fit its own config")


def _check_optimizer(
    found: Mapping[str, Any], groups: Sequence[Mapping[str, Any]], parameters: Sequence[Tensor], kept: Mapping[str, Any]
) -> None:
    """Its settings, of which the learning rate alone may differ, and what it keeps for each parameter."""
    ((group, own),) = zip(found["param_groups"], groups, strict=True)
    if any(key in group and group[key] != value for key, value in own.items() if key != "lr"):
        raise CheckpointError("its optimizer has other settings than its own config")
    lr = group.get("lr")
    if not (isinstance(lr, float) and math.isfinite(lr) and lr >= 0):
        raise CheckpointError("its optimizer has no learning rate")
    for number, state in found["state"].items():
        if number >= len(parameters) or state.keys() != kept.keys():
            raise CheckpointError("its optimizer's state does not fit its own config")
        for name, one in kept.items():
            like = parameters[number] if one is not None and one.dim() else one
            if (None if state[name] is None else _kind(state[name])) != (None if like is None else _kind(like)):
                raise CheckpointError(f"its optimizer's state does not fit its own config ({name} of weight {number})")


def _kind(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.dtype, *tensor.shape)


def _told(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
