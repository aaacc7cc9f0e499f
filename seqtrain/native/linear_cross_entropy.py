"""The cross-entropy of a linear output layer in one call of the engine, which never stores all scores of a batch."""

import ctypes
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from seqtrain.native.arrays import as_saved, plain
from seqtrain.native.buffer_pool import empty
from seqtrain.native.library import call, library
from seqtrain.native.linear import linear
from seqtrain.native.recording import NOT_RECORDED, is_recorded
from seqtrain.native.storage import Storage, is_under_autocast, storage

FEWEST_WORDS, FEWEST_ROWS = 1024, 64
"""With fewer, torch is as fast or faster, and the scores need little memory."""
ROWS_TOGETHER = 256
"""Whose scores are kept at a time; `kChunkRows` in csrc/cross_entropy.h."""


class _Call(ctypes.Structure):
    """The arguments of one call; `CrossEntropy` in csrc/cross_entropy.h says what they are."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "hidden", "words")),
        *((name, ctypes.c_void_p) for name in ("features", "weight", "bias", "targets", "scales")),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("threads", "storage")),
        *((name, ctypes.c_void_p) for name in ("losses", "d_features", "d_weight", "d_bias")),
    )


def linear_cross_entropy(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *, reduction: Literal["sum", "none"] = "sum"
) -> Tensor:
    """`cross_entropy(linear(features, weight, bias), targets, reduction=reduction)`, by the engine or by torch.

    The engine computes the gradients of the sum together with it, while the scores are in the cache.

    Parameters
    ----------
    features, weight, bias, targets : `[N, H]`, `[V, H]`, `[V]` or None, `[N]`.
    reduction : `sum`, or `none` for `[N]` nats; if these are differentiated, they are computed once more.
    """
    given = (features, weight, bias)
    if not _is_faster(*given, targets):
        return F.cross_entropy(linear(*given), targets, reduction=reduction)
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in given):
        nats: Tensor = _LinearCrossEntropy.apply(*given, targets, reduction, storage())  # type: ignore[no-untyped-call]
        return nats
    losses, _ = _run(given, targets, storage())
    return _total(losses) if reduction == "sum" else losses


def _is_faster(features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> bool:
    """Whether the engine can compute a layer on these inputs, in less time or memory than torch.

    Targets that are not numbers of words are left to torch, which ignores -100 and refuses the others.
    """
    given = [features, weight] if bias is None else [features, weight, bias]
    if is_recorded(*given, targets) or isinstance(library(), str):
        return False
    if is_under_autocast(features) and storage() is Storage.FLOAT32:
        return False
    if any(one.dtype != torch.float32 or one.device.type != "cpu" for one in given):
        return False
    if targets.dtype != torch.int64 or targets.device.type != "cpu" or features.dim() != 2 or 0 in features.shape:
        return False
    (N, H), V = features.shape, len(weight)
    if not is_large(N, V):
        return False
    if weight.shape != (V, H) or targets.shape != (N,) or (bias is not None and bias.shape != (V,)):
        return False
    least, most = targets.aminmax()
    return int(least) >= 0 and int(most) < len(weight)


def is_large(rows: int, words: int) -> bool:
    """Whether the engine gains time or memory on a layer of this size."""
    return rows >= FEWEST_ROWS and words >= FEWEST_WORDS


class _LinearCrossEntropy(torch.autograd.Function):
    """The layer with its derivatives; those of the second order are torch's."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        reduction: str,
        storage: Storage,
    ) -> Tensor:
        ctx.reduction, ctx.storage, ctx.ready = reduction, storage, None
        ctx.save_for_backward(features, weight, bias, targets)
        if reduction == "none":
            losses, _ = _run((features, weight, bias), targets, storage)
            return losses
        scale = float(1 / torch.tensor(float(len(targets))))  # as that of the mean, which is usually wanted
        losses, gradients = _run((features, weight, bias), targets, storage, scale, ctx.needs_input_grad)
        ctx.ready = scale, gradients
        return _total(losses)

    @staticmethod
    def backward(ctx: Any, d_nats: Tensor) -> tuple[Tensor | None, ...]:
        *given, targets = ctx.saved_tensors
        ready, ctx.ready = ctx.ready, None  # the gradients are given away, so a second backward pass computes its own
        if torch.is_grad_enabled():  # as with create_graph=True
            return *_differentiable(given, targets, ctx.reduction, d_nats), None, None, None
        if is_recorded(d_nats):
            raise RuntimeError(NOT_RECORDED)
        if ready is None:
            scales = plain(d_nats) if ctx.reduction == "none" else float(d_nats)
            _, gradients = _run([as_saved(one) for one in given], targets, ctx.storage, scales, ctx.needs_input_grad)
        else:
            scale, gradients = ready
            if (factor := float(d_nats) / scale) != 1:
                gradients = [None if one is None else one.mul_(factor) for one in gradients]
        return *gradients, None, None, None


def _differentiable(
    given: Sequence[Tensor | None], targets: Tensor, reduction: str, d_nats: Tensor
) -> list[Tensor | None]:
    """The gradients by torch, which can be differentiated again."""
    features, weight, bias = given
    assert features is not None
    assert weight is not None
    nats = F.cross_entropy(F.linear(features, weight, bias), targets, reduction=reduction)
    wanted = [one for one in given if one is not None and one.requires_grad]
    found = iter(torch.autograd.grad(nats, wanted, d_nats, create_graph=True))
    return [next(found) if one is not None and one.requires_grad else None for one in given]


def _run(
    given: Sequence[Tensor | None],
    targets: Tensor,
    storage: Storage,
    scales: Tensor | float = 1.0,
    wanted: Sequence[bool] = (False, False, False),
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss of each row, and the wanted gradients of the sum of all losses times `scales`."""
    features, weight, bias = (None if one is None else plain(one.detach()) for one in given)
    assert features is not None
    assert weight is not None
    (N, H), V = features.shape, len(weight)
    losses = empty(N)
    shapes = ((N, H), (V, H), None if bias is None else (V,))
    gradients = [empty(*shape) if needed and shape else None for needed, shape in zip(wanted, shapes, strict=False)]
    targets = targets.contiguous()
    arrays = {"features": features, "weight": weight, "bias": bias, "targets": targets, "losses": losses}
    arrays |= dict(zip(("d_features", "d_weight", "d_bias"), gradients, strict=True))
    if isinstance(scales, Tensor):
        arrays["scales"] = scales
    arguments = _Call(
        rows=N,
        hidden=H,
        words=V,
        scale=1.0 if isinstance(scales, Tensor) else scales,
        threads=torch.get_num_threads(),
        storage=storage,
        **{name: array.data_ptr() for name, array in arrays.items() if array is not None},
    )
    call("seqtrain_cross_entropy", ctypes.byref(arguments))
    return losses, gradients


def _total(losses: Tensor) -> Tensor:
    return losses.sum(dtype=torch.float64).float()
