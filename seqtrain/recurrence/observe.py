"""The activations of a cell by name. A cell names them with `Cell.observe` as it computes them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.recurrence.reference import choose_rows, unroll_reference

OnStep = Callable[[int, dict[str, Tensor], Any], None]
"""Takes the time t, the activations `[B, ...]` by name in the order of computation, and the new state."""


class Observed(NamedTuple):
    """What a cell computed over a batch of sequences.

    outputs, state : as `unroll` gives them.
    activations : `[T, B, ...]` each, by name, without gradient and zero on padding: the gates in the cell's order, what
        else the cell names (`x_gates`, what `project` gave, if it names nothing), and the fields of the state.
    """

    outputs: Tensor
    state: Any
    activations: dict[str, Tensor]


def observe(
    cell: Cell,
    x: Tensor,
    state: Any = None,
    *,
    lengths: Tensor | None = None,
    reverse: bool = False,
    on_step: OnStep | None = None,
) -> Observed:
    """Run a cell over a batch of sequences with the plain loop, and keep its activations.

    Parameters
    ----------
    x, state, lengths, reverse : as in `unroll`.
    on_step : called after each step with its activations, with gradient and also on padding. They are not kept then,
        which saves memory.
    """
    kept: dict[str, Tensor] = {}

    def keep(t: int, activations: dict[str, Tensor], _: Any) -> None:
        for name, values in activations.items():
            if name not in kept:
                kept[name] = values.new_zeros(len(x), *values.shape)
            kept[name][t] = values.detach() if lengths is None else choose_rows(t < lengths, values.detach(), 0)

    with _names_of(cell) as named:

        def after(t: int, x_gates: Tensor, new: Any) -> None:
            (on_step or keep)(t, (named or {"x_gates": x_gates}) | new._asdict(), new)
            named.clear()

        outputs, state = unroll_reference(cell, x, state, lengths=lengths, reverse=reverse, on_step=after)
    others = [name for name in kept if name not in state._fields]
    order = dict.fromkeys([*gates_of(cell), *others, *state._fields])
    return Observed(outputs, state, {name: kept[name] for name in order if name in kept})


def gates_of(cell: Cell) -> tuple[str, ...]:
    """The names of a cell's gates in the order of their blocks, also through a wrapper; empty if it has none."""
    return next((gates for part in cell.modules() if (gates := getattr(part, "gates", ()))), ())


@contextmanager
def _names_of(cell: Cell) -> Iterator[dict[str, Tensor]]:
    """Collect what a cell, and the cells inside it, name; a name that a second cell uses gets its path, `inner.i`."""
    named: dict[str, Tensor] = {}
    owners: dict[str, str] = {}

    def collect(path: str, activations: dict[str, Tensor]) -> None:
        for name, values in activations.items():
            named[name if owners.setdefault(name, path) == path else f"{path}.{name}"] = values

    parts = {path: part for path, part in cell.named_modules() if isinstance(part, Cell)}
    before = [part.observer for part in parts.values()]
    for path, part in parts.items():
        part.observer = partial(collect, path)
    try:
        yield named
    finally:
        for part, observer in zip(parts.values(), before, strict=True):
            part.observer = observer
