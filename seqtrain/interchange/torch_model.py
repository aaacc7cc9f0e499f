"""The config and the weights of a model of seqtrain that computes what a PyTorch model does."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqtrain.config import Config, config_from
from seqtrain.config.diff import differences
from seqtrain.config.resolve import resolved
from seqtrain.interchange.given_settings import check_changes
from seqtrain.interchange.torch_cells import settings_of, weights_of_cell, why_not
from seqtrain.interchange.torch_file import shown
from seqtrain.interchange.torch_parts import Parts
from seqtrain.interchange.torch_recurrent import Recurrent
from seqtrain.system.errors import ConfigError

ZONEOUT = ("zoneout_hidden", "zoneout_memory")
"""Settings that change the outputs of a model in evaluation too, and that no model of `torch.nn` has."""


def in_float32(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights in single precision, in memory of their own; and a remark if they were in another.

    What holds no real numbers stays as it is: it is no weight of a model (see `check_numbers`).

    Raises
    ------
    ConfigError : a number is not finite, or of a kind that cannot be converted.
    """
    single: dict[str, Tensor] = {}
    faults: list[str] = []
    for name, tensor in tensors.items():
        try:
            single[name] = tensor.float() if tensor.is_floating_point() else tensor
            is_finite = bool(torch.isfinite(single[name]).all())
        except RuntimeError:  # PyTorch cannot compute with this kind of number
            faults.append(f"{shown(name)} holds {_kind_of(tensor)}, and weights are real numbers")
        else:
            faults += [] if is_finite else [f"{shown(name)} has numbers that are not finite"]
    if faults:
        cure = "give weights in single precision, of a training that did not diverge"
        raise ConfigError([*faults[:10], cure])
    kinds = {_kind_of(tensor) for tensor in tensors.values() if tensor.is_floating_point()}
    others = sorted(kinds - {"float32"})
    return single, [f"converted from {' and '.join(others)} to float32"] if others else []


def _kind_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def check_numbers(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights of whole or complex numbers.

    Raises
    ------
    ConfigError : there are some.
    """
    faults = [
        f"{shown(name)} holds {_kind_of(tensor)}, and weights are real numbers"
        for name, tensor in tensors.items()
        if not tensor.is_floating_point()
    ]
    if faults:
        raise ConfigError(faults)


def check_fits(config: Config, recurrent: Recurrent) -> None:
    """Refuse a config whose cell or task cannot have recurrent layers of a kind.

    Raises
    ------
    ConfigError : it cannot.
    """
    faults, task = [], config.task.owner
    if (reason := why_not(config.model.cell, recurrent.kind)) is not None:
        faults.append(reason)
    if config.model.softmax.name == "adaptive":
        faults.append(
            "model.softmax is 'adaptive', whose clusters have other weights than a head; use model.softmax=full"
        )
    if recurrent.is_bidirectional and task is not None and (reason := task.why_forward_only(config.task)):
        faults.append(f"the layers read in both directions, which in task {task.name!r} {reason}; give another config")
    if faults:
        raise ConfigError(faults)


def with_sizes(
    config: Config, source: Path, recurrent: Recurrent, parts: Parts, given: Collection[str]
) -> tuple[Config, list[str]]:
    """The config of a model with these weights, and a remark about the settings that are not those of `config`.

    Parameters
    ----------
    source : the file of the config, for messages.
    given : the settings that the user gives on the command line, by dotted key.

    Raises
    ------
    ConfigError : the user gives another size, or other settings do not work with these sizes.
    """
    data = config.model_dump()
    data["model"] |= _of_layers(config, recurrent, given) | {
        "embedding_size": None if parts.embedding is None else parts.embedding.shape[1],
        "tied": parts.tied,
    }
    data["model"]["cell"] |= settings_of(config.model.cell, has_biases=recurrent.has_biases)
    made = config_from(data, str(source))
    changes = differences(resolved(config).model_dump(), resolved(made).model_dump())
    check_changes(changes, given, "the weights say")
    settings = [f"{key}={new}" for key, (_, new) in changes.items()]
    return made, [f"set as the weights are: {', '.join(settings)}"] if settings else []


def _of_layers(config: Config, recurrent: Recurrent, given: Collection[str]) -> dict[str, Any]:
    """The settings of the layers, and of what acts on them without a trace in the weights, if the user gives it not."""
    sizes, both, model = recurrent.hidden_sizes, recurrent.is_bidirectional, config.model
    backward = model.direction == "backward" and "model.direction" in given
    own: dict[str, Any] = {
        "direction": "bidirectional" if both else "backward" if backward else "forward",
        "merge": "concat" if both else None,
    }
    if model.hidden_sizes() != sizes:
        own |= {"hidden_size": sizes[0] if len(set(sizes)) == 1 else sizes, "depth": len(sizes)}
    if len(sizes) == 1:  # dropout acts between layers
        own |= {
            "dropout": 0.0,
            "locked_dropout": model.locked_dropout and model.input_dropout + model.output_dropout > 0,
        }
    return own | {name: 0.0 for name in ZONEOUT if f"model.{name}" not in given}


def weights_for(cell: str, recurrent: Recurrent, parts: Parts, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the names of a seqtrain model; what PyTorch has not is zero: peepholes, learnt initial states.

    Parameters
    ----------
    like : the weights of a new model.
    """
    ours: dict[str, Tensor | None] = {
        "encoder.weight": parts.embedding,
        "head.weight": None if parts.tied else parts.head,
        "head.bias": parts.bias,
        "head.projection.weight": parts.projection,
    }
    for depth, layer in enumerate(recurrent.layers):
        for place, cell_weights in enumerate(layer):
            own = weights_of_cell(cell, cell_weights)
            ours |= {f"stack.layers.{depth}.{place}.{name}": one for name, one in own.items()}
    given = {name: one for name, one in ours.items() if one is not None}
    return {name: torch.zeros_like(one) for name, one in like.items()} | given


def remarks_on(config: Config, recurrent: Recurrent, parts: Parts) -> Iterator[str]:
    """What a user should know of the model."""
    for name in ZONEOUT:
        if value := getattr(config.model, name):
            yield f"model.{name}={value:g} changes the outputs of the model, as no layer of PyTorch does"
    if config.model.direction == "backward":
        yield "the layers read each sequence from its end, as model.direction says; those of PyTorch read it forward"
    if not recurrent.has_biases:
        yield "the recurrent layers have no biases; they are zero here, and further training changes them"
    if parts.bias is None:
        yield "the head has no bias; it is zero here, and further training changes it"
    if recurrent.kind == "rnn":
        nonlinearity = config.model.cell.options()["nonlinearity"]
        other = "relu" if nonlinearity == "tanh" else "tanh"
        yield (
            f"no file says the nonlinearity of nn.RNN; it is taken to be {nonlinearity}, "
            f"model.cell.nonlinearity={other} says the other"
        )
