"""Which loop over time runs a cell."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.recurrence.fused import has_kernel, unroll_fused, why_not_fused
from seqtrain.recurrence.library import library, variant
from seqtrain.recurrence.reference import unroll_reference as unroll

Engine = Literal["auto", "reference", "fused"]
Unroll = Callable[..., tuple[Tensor, Any]]


class Chosen(NamedTuple):
    """A loop over time.

    name : `fused-avx512` and the like, or `reference`.
    unroll : the loop itself, to be called like `unroll`.
    missing : why there is no compiled engine, if `auto` looked for it in vain; else None.
    """

    name: str
    unroll: Unroll
    missing: str | None


def unroll_fastest(cell: Cell, x: Tensor, state: Any = None, **options: Any) -> tuple[Tensor, Any]:
    """The fused loop as long as it serves; the plain one for a model that has since been moved or converted.

    The plain one also for a single step of a single sequence, as when a text is generated: packing the weights for
    the engine takes longer than the step.
    """
    served = why_not_fused(cell) is None and x.dtype == torch.float32 and x.device.type == "cpu"
    served = served and x.shape[:2] != (1, 1)
    return (unroll_fused if served else unroll)(cell, x, state, **options)


def choose_unroll(engine: Engine, cell: Cell) -> Chosen:
    """The loop that `engine` asks for: `auto` is the fused one wherever it serves.

    Raises
    ------
    ValueError : `fused`, which does not serve this cell where it is.
    """
    why_not = why_not_fused(cell)
    if engine != "reference" and why_not is None:
        return Chosen(f"fused-{variant()}", unroll_fused if engine == "fused" else unroll_fastest, None)
    if engine == "fused":
        raise ValueError(why_not)
    missing = library() if engine == "auto" and has_kernel(cell) else None
    return Chosen("reference", unroll, missing if isinstance(missing, str) else None)
