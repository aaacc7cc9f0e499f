"""How the weights of a model lie in memory. A user's own cell may have weights that no optimizer or file can hold."""

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module) -> Module:
    """A copy of a module. `deepcopy` alone refuses computed tensors, which weight norm of the old style keeps."""
    values = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    return copy.deepcopy(module, {id(value): value.detach().clone() for value in values if not value.is_leaf})


def faults_of_weights(model: nn.Module) -> Iterator[str]:
    """What is wrong with the weights and buffers that a checkpoint of the model would hold, and the cure."""
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            yield f"{name} is a {type(value).__name__}, and a checkpoint holds tensors only; make it a tensor"
        elif is_lazy(value):
            yield f"{name} has no size before the first step; give its size when the cell is made"
        elif value.is_meta:
            yield f"{name} is on the device meta, so it has no numbers; make it on the CPU"
        elif value.layout != torch.strided:
            yield (
                f"{name} is sparse, and a checkpoint holds dense tensors only; make it dense, or a buffer with "
                "persistent=False if it never changes"
            )


def make_contiguous(model: nn.Module) -> Iterator[str]:
    """Give every weight and buffer that is not contiguous its own memory; yield a fault where that changes the model.

    A checkpoint holds contiguous weights, and the fused optimizers of torch take a weight for contiguous: they would
    change the numbers beside a slice.
    """
    named = dict([*model.named_parameters(), *model.named_buffers()])
    dense = {name: tensor for name, tensor in named.items() if tensor.layout == torch.strided}
    for name, tensor in dense.items():
        if tensor.is_contiguous():
            continue
        places = _places(tensor)
        if isinstance(tensor, nn.Parameter) and len(torch.unique(places)) < len(places):
            yield f"{name} has several elements at one place in memory; make it of its true size, and expand it in step"
        for other, rival in dense.items():
            if rival is not tensor and _is_beside(tensor, rival) and bool(torch.isin(places, _places(rival)).any()):
                yield f"{name} shares memory with {other}; keep only {other}, and compute the other from it in step"
    for tensor in dense.values():
        if not tensor.is_contiguous():
            tensor.data = tensor.detach().contiguous()


def _is_beside(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one storage of numbers of one size."""
    same_size = one.element_size() == other.element_size()
    return same_size and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _places(tensor: Tensor) -> Tensor:
    """The places of a tensor's elements in its storage."""
    numbers = tensor.untyped_storage().nbytes() // tensor.element_size()
    return torch.arange(numbers).as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).flatten()
