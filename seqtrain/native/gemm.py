"""Matrix products by the engine, which is faster than torch for the tall, thin matrices of a sequence."""

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.native.buffer_pool import empty
from seqtrain.native.library import call
from seqtrain.native.storage import Storage


class _Matrix(ctypes.Structure):
    """A matrix with any strides; `Matrix` in csrc/panels.h."""

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
    """The inputs of a product with weights: a matrix with `values` `[n, I]` from row `begin` on, and zero elsewhere."""

    values: Tensor
    begin: int


def product(
    a: Tensor, b: Tensor, bias: Tensor | None = None, *, storage: Storage = Storage.FLOAT32, out: Tensor | None = None
) -> Tensor:
    """`a @ b (+ bias)`, into `out` if it is given; its factors are stored as `storage` says."""
    out = a.new_empty(a.shape[0], b.shape[1]) if out is None else out
    if a.shape[1]:
        _multiply([_Factor(len(a), _matrix(a), 0, a.shape[1], out.data_ptr())], b, bias, storage)
    else:
        out.zero_()
    return out


def gradients_of_weights(
    sources: Sequence[Sources], d_outputs: Tensor, *, storage: Storage = Storage.FLOAT32
) -> list[Tensor]:
    """`d_outputs.T @ inputs` for each of the inputs, `[N, O]` and `[N, I]` to `[O, I]`.

    The engine computes the transpose, `inputs.T @ d_outputs`, which is faster, and all products in one call, so that it
    packs `d_outputs` once.
    """
    O = d_outputs.shape[1]
    gradients = [empty(O, values.shape[1]) for values, _ in sources]
    transposes = [torch.empty_like(gradient) for gradient in gradients]
    factors = [
        _Factor(values.shape[1], _matrix(values.t()), begin, begin + len(values), c.data_ptr(), gradient.data_ptr())
        for (values, begin), c, gradient in zip(sources, transposes, gradients, strict=True)
    ]
    _multiply(factors, d_outputs, None, storage)
    return gradients


def _matrix(tensor: Tensor) -> _Matrix:
    return _Matrix(tensor.data_ptr(), *tensor.stride())


def _multiply(factors: list[_Factor], b: Tensor, bias: Tensor | None, storage: Storage) -> None:
    call(
        "seqtrain_product",
        *map(ctypes.c_int64, b.shape),
        ctypes.byref(_matrix(b)),
        ctypes.c_void_p(None if bias is None else bias.data_ptr()),
        (_Factor * len(factors))(*factors),
        len(factors),
        torch.get_num_threads(),
        storage,
    )
