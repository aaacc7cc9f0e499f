"""Which loop over time runs a cell."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.recurrence.fused import is_built_in, unroll_fused, why_not_fused
from seqtrain.recurrence.native import library, variant
from seqtrain.recurrence.unroll import unroll

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


def choose_unroll(engine: Engine, cell: Cell) -> Chosen:
    """The loop that `engine` asks for: `auto` is the fused one wherever it serves.

    Raises
    ------
    ValueError : `fused`, which does not serve this cell where it is.
    """
    why_not = why_not_fused(cell)
    if engine != "reference" and why_not is None:
        return Chosen(f"fused-{variant()}", unroll_fused, None)
    if engine == "fused":
        raise ValueError(why_not)
    missing = library() if engine == "auto" and is_built_in(cell) else None
    return Chosen("reference", unroll, missing if isinstance(missing, str) else None)
