"""Tensors as the engine reads them: raw memory of float32 on the CPU."""

from typing import overload

import torch
from torch import Tensor


def plain(tensor: Tensor) -> Tensor:
    """Contiguous, with a pending negation applied."""
    return tensor.resolve_neg().contiguous()


@overload
def as_saved(tensor: Tensor) -> Tensor: ...
@overload
def as_saved(tensor: None) -> None: ...
def as_saved(tensor: Tensor | None) -> Tensor | None:
    """A tensor that was saved for a backward pass, checked: `saved_tensors_hooks` of the user may have changed it.

    Raises
    ------
    RuntimeError : it is not float32 on the CPU any more.
    """
    if tensor is None:
        return None
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
        raise RuntimeError(f"a saved tensor came back as {tensor.dtype} on {tensor.device}; it was float32 on cpu")
    return plain(tensor)
