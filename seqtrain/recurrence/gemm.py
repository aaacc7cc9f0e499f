"""Matrix products by the engine, which is ahead of torch on the tall, thin matrices of a sequence."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.recurrence.buffer_pool import empty
from seqtrain.recurrence.library import call


class _Matrix(ctypes.Structure):
    """Any layout of two dimensions; `Matrix` in csrc/panels.h."""

    _fields_ = (("data", ctypes.c_void_p), ("row_step", ctypes.c_int64), ("column_step", ctypes.c_int64))


class _Factor(ctypes.Structure):
    """`Factor` in csrc/product.h."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("a", _Matrix),
        ("begin", ctypes.c_int64),
        ("end", ctypes.c_int64),
        ("c", ctypes.c_void_p),
        ("turned", ctypes.c_void_p),
    )


class Sources(NamedTuple):
    """What weights were multiplied by: a matrix that is `values` `[n, I]` from row `begin` on, and zero elsewhere."""

    values: Tensor
    begin: int


def product(a: Tensor, b: Tensor, bias: Tensor | None = None, *, out: Tensor | None = None) -> Tensor:
    """`a @ b (+ bias)`, into `out` if it is given."""
    out = a.new_empty(a.shape[0], b.shape[1]) if out is None else out
    if a.shape[1]:
        _multiply([_Factor(len(a), _matrix(a), 0, a.shape[1], out.data_ptr())], b, bias)
    else:
        out.zero_()
    return out


def gradients_of_weights(sources: Sequence[Sources], d_outputs: Tensor) -> list[Tensor]:
    """`d_outputs.T @ inputs` for each of the inputs, `[N, O]` and `[N, I]` to `[O, I]`.

    They are computed the other way round, `inputs.T @ d_outputs`, which is faster, and together, so that `d_outputs` is
    rearranged once.
    """
    O = d_outputs.shape[1]
    found = [empty(O, values.shape[1]) for values, _ in sources]
    rooms = [torch.empty_like(gradient) for gradient in found]
    factors = [
        _Factor(values.shape[1], _matrix(values.t()), begin, begin + len(values), room.data_ptr(), gradient.data_ptr())
        for (values, begin), room, gradient in zip(sources, rooms, found, strict=True)
    ]
    _multiply(factors, d_outputs, None)
    return found


def _matrix(tensor: Tensor) -> _Matrix:
    return _Matrix(tensor.data_ptr(), *tensor.stride())


def _multiply(factors: list[_Factor], b: Tensor, bias: Tensor | None) -> None:
    call(
        "seqtrain_product",
        *map(ctypes.c_int64, b.shape),
        ctypes.byref(_matrix(b)),
        ctypes.c_void_p(None if bias is None else bias.data_ptr()),
        (_Factor * len(factors))(*factors),
        len(factors),
        torch.get_num_threads(),
    )
