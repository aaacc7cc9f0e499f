"""A linear layer whose product is in the precision that autocast asks for, and whose result is float32."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.native.arrays import as_saved, plain
from seqtrain.native.gemm import Sources, gradients_of_weights, product
from seqtrain.native.library import library
from seqtrain.native.recording import is_recorded
from seqtrain.native.storage import Storage, is_under_autocast, storage


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`, as `F.linear`: `[..., I]` and `[O, I]` to `[..., O]`.

    Under `torch.autocast` in bfloat16, where `F.linear` rounds its result to bfloat16, the sums stay in float32 on the
    CPU, and the result is float32 everywhere.
    """
    if not is_under_autocast(x):
        return F.linear(x, weight, bias)
    tensors = [tensor for tensor in (x, weight, bias) if tensor is not None]
    is_plain = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
    chosen = storage()
    if chosen is Storage.FLOAT32 or not is_plain or isinstance(library(), str) or is_recorded(*tensors):
        return F.linear(x, weight, bias).to(x.dtype)
    rows = x.flatten(0, -2)
    result: Tensor = _Linear.apply(chosen, rows, weight, bias)  # type: ignore[no-untyped-call]
    return result.view(*x.shape[:-1], len(weight))


class _Linear(torch.autograd.Function):
    """`rows @ weight.T + bias`, with first derivatives only."""

    @staticmethod
    def forward(ctx: Any, storage: Storage, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.storage = storage
        ctx.save_for_backward(rows, weight)
        return product(plain(rows), plain(weight).t(), None if bias is None else plain(bias), storage=storage)

    @staticmethod
    def backward(ctx: Any, d_result: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # as with create_graph=True
            raise RuntimeError("products in bfloat16 have no gradients of gradients; use precision: float32")
        rows, weight = map(as_saved, ctx.saved_tensors)
        _, needs_rows, needs_weight, needs_bias = ctx.needs_input_grad
        d_result = plain(d_result)
        d_rows = product(d_result, weight, storage=ctx.storage) if needs_rows else None
        d_weight = gradients_of_weights([Sources(rows, 0)], d_result, storage=ctx.storage)[0] if needs_weight else None
        return None, d_rows, d_weight, d_result.sum(0) if needs_bias else None
