"""Run a model with the plain loop and look at every step of every cell."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.models import SequenceModel
from seqtrain.recurrence import observe

Direction = Literal["forward", "backward"]


class Place(NamedTuple):
    """One cell of a stack.

    layer : from 1, the lowest.
    direction : in which it walks through time.
    """

    layer: int
    direction: Direction

    def __str__(self) -> str:
        return f"layer {self.layer}, {self.direction}"


class Step(NamedTuple):
    """What a cell computed at one time step.

    place : the cell.
    t : the time, from 0.
    activations : `[B, ...]` by name, the fields of the new state among them; also on padding.
    state : the new state itself.
    """

    place: Place
    t: int
    activations: dict[str, Tensor]
    state: Any


@contextmanager
def watched(model: SequenceModel, see: Callable[[Step], None]) -> Iterator[None]:
    """While this is open, the plain loop runs the cells of a model, and `see` is called after each step."""
    stack, loop = model.stack, model.stack.loop
    places = [*cells_of(model)]
    runs = 0

    def unroll(cell: Cell, x: Tensor, state: Any = None, **options: Any) -> tuple[Tensor, Any]:
        nonlocal runs  # a stack runs its cells in the order of their places
        place, runs = places[runs % len(places)], runs + 1

        def on_step(t: int, activations: dict[str, Tensor], new: Any) -> None:
            see(Step(place, t, activations, new))

        return observe(cell, x, state, on_step=on_step, **options)[:2]

    stack.loop = loop._replace(unroll=unroll)
    try:
        yield
    finally:
        stack.loop = loop


def cells_of(model: SequenceModel) -> dict[Place, Cell]:
    """The cells of a model by their place, in the order in which they run."""
    directions: list[Direction] = ["backward" if reverse else "forward" for reverse in model.stack.reversed]
    return {
        Place(depth + 1, direction): cell
        for depth, layer in enumerate(model.stack.cells())
        for direction, cell in zip(directions, layer, strict=True)
    }
