"""Run a model with the plain loop and look at every step of every cell."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.models import SequenceModel, StackState
from seqtrain.recurrence import observe
from seqtrain.tasks import Batch

TOGETHER = 1 << 15
"""Steps of all sequences together whose activations are in memory at a time, of a model that reads forward."""

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


def watch(
    model: SequenceModel, batch: Batch, see: Callable[[Step], None], state: StackState | None = None
) -> StackState | None:
    """Read a batch in windows, and see every step; returns the state after it."""
    start = 0
    with watched(model, lambda step: see(step._replace(t=start + step.t))):
        for start, part in windows(model, batch):  # noqa: B007  # `see` gets it
            _, state = model.predict(part.inputs, part.lengths, state)
    return state


def windows(model: SequenceModel, batch: Batch) -> Iterator[tuple[int, Batch]]:
    """Parts of a batch that fit into memory, with the step at which each starts; all of it if a cell walks backward."""
    T = len(batch.inputs)
    size = T if True in model.stack.reversed else max(1, TOGETHER // batch.size)
    for start in range(0, T, size):
        yield start, steps_of(batch, start, min(start + size, T), every_step=model.every_step)


def steps_of(batch: Batch, start: int, stop: int, *, every_step: bool) -> Batch:
    """The steps of a batch from `start` to `stop`.

    Parameters
    ----------
    every_step : the targets are those of the steps.
    """
    lengths = None if batch.lengths is None else (batch.lengths - start).clamp(0, stop - start)
    by_step = ("inputs", "scored", "marks", *(("targets",) if every_step else ()))
    cut: dict[str, Any] = {name: value[start:stop] for name, value in batch.tensors().items() if name in by_step}
    return replace(batch, lengths=lengths, **cut)


def cells_of(model: SequenceModel) -> dict[Place, Cell]:
    """The cells of a model by their place, in the order in which they run."""
    directions: list[Direction] = ["backward" if reverse else "forward" for reverse in model.stack.reversed]
    return {
        Place(depth + 1, direction): cell
        for depth, layer in enumerate(model.stack.cells())
        for direction, cell in zip(directions, layer, strict=True)
    }
