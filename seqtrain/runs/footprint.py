"""What arrays a training step and an evaluation need.

The model runs over two and three steps of one and two sequences. What it makes and keeps grows evenly with steps and
sequences, whatever the cell, so that the rest is arithmetic.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from seqtrain.cells import Cell
from seqtrain.models import AdaptiveHead, SequenceModel, Stack
from seqtrain.recurrence.kernels import KERNELS, kernel_of
from seqtrain.tasks import Batch, Task

NUMBER = 4
"""Bytes of a float32."""


class Footprint(NamedTuple):
    """Bytes of the arrays that are there at one time.

    engine : of those that the engine keeps to use them again, and that serve nothing else.
    heap : of all others, with the holes between them.
    """

    engine: int
    heap: int
    largest: int
    """Of the arrays in the heap."""
    matrices: int = 0
    """Of a cell's weights, as often as the backward pass needs room beside their gradients; also in the heap."""


def of_training(model: SequenceModel, task: Task, batch_size: int, *, on_heap: bool, penalised: bool) -> Footprint:
    """What a training step needs beside weights and gradients.

    Parameters
    ----------
    on_heap : the C library's, whose holes count; otherwise torch's own, of a GPU.
    penalised : the loss sees the changes from step to step.
    """
    batch = task.specimen("train", batch_size)
    T, answers = len(batch.inputs), _answers(model, batch)
    passes = {(steps, rows): _forward(model, batch, steps, rows) for steps, rows in product((2, 3), (1, 2))}
    made, outside, saved, inside = (
        _extrapolated({key: found[n] for key, found in passes.items()}, T, batch_size) for n in range(4)
    )
    every = T * batch_size * NUMBER
    scores = batch_size * answers * _scores(model, task.counts)
    scoring = scores * (4 if on_heap else 3)  # themselves (see `_reused`), their logarithms, and two gradients
    features = every * model.stack.output_size if model.every_step or penalised else 0  # their gradient
    above = features * (2 if penalised else 1)
    cells = model.stack.cells()
    matrices = max(sum(weight.nbytes for weight in cell.parameters()) for layer in cells for cell in layer)
    if _on_engine(model):
        behind = every * max(len(layer) * cell.input_size + backward_width(cell) for layer in cells for cell in layer)
        return Footprint(inside + behind, outside + max(scoring, above) + matrices, scores, matrices)
    largest, behind = max(scores, every * _projected(model)), every * _widest(model)
    if on_heap:
        reused = T * batch_size * sum(_reused(model, cell) for layer in cells for cell in layer)
        return Footprint(0, made - reused + max(behind + above, scoring) + 2 * matrices, largest, 2 * matrices)
    return Footprint(0, saved + max(behind + above, scoring), largest)


def of_evaluation(model: SequenceModel, task: Task, batch_size: int) -> Footprint:
    """What an evaluated batch needs."""
    batch = task.specimen("valid", batch_size)
    T, answers = len(batch.inputs), _answers(model, batch)
    every, scores = T * batch_size * NUMBER, batch_size * answers * _scores(model, task.counts)
    if _on_engine(model):
        return Footprint(every * _widest(model), 2 * scores, scores)
    whole = every * _widest(model, 2)  # outputs step by step, and put together
    return Footprint(0, max(whole, 2 * scores), max(scores, every * _projected(model)))


def kept_by_engine(model: SequenceModel) -> int:
    """Bytes of the room for packed weights, one for each size."""
    if not _on_engine(model):
        return 0
    return sum({packed_bytes(cell) for layer in model.stack.cells() for cell in layer})


def backward_width(cell: Cell) -> int:
    """Numbers that the backward pass fills for each step of a sequence, before those of the input's gradient."""
    return KERNELS[kernel_of(cell) or ""].blocks.total * cell.hidden_size


def packed_bytes(cell: Cell) -> int:
    """Bytes of `w_h` as the engine packs it for a walk, in rows of 16 floats."""
    return 4 * len(cell.get_parameter("w_h")) * -(-cell.hidden_size // 16) * 16


def _on_engine(model: SequenceModel) -> bool:
    return model.stack.loop.name != "reference"


def _answers(model: SequenceModel, batch: Batch) -> int:
    """Predictions about a sequence."""
    if not model.every_step:
        return 1
    return len(batch.inputs) if batch.scored is None else int(batch.scored.sum())


def _extrapolated(short: dict[tuple[int, int], int], T: int, B: int) -> int:
    """From two and three steps of one and two sequences to all."""
    one, two = (short[2, rows] + (T - 2) * (short[3, rows] - short[2, rows]) for rows in (1, 2))
    return one + (B - 1) * (two - one)


def _projected(model: SequenceModel) -> int:
    """The most numbers of a step that `project` makes."""
    return max(gates for _, gates, _ in _widths(model))


def _widest(model: SequenceModel, outputs: int = 1) -> int:
    """The most numbers of a step: of what a cell reads, `project` makes of it, and the cell gives, so many times."""
    return max(read + gates + outputs * given for read, gates, given in _widths(model))


@torch.no_grad()
def _widths(model: SequenceModel) -> list[tuple[int, int, int]]:
    """Of each cell."""
    zeros = next(model.parameters()).new_zeros
    cells = [cell for layer in model.stack.cells() for cell in layer]
    return [(c.input_size, c.project(zeros(1, 1, c.input_size)).numel(), c.hidden_size) for c in cells]


def _scores(model: SequenceModel, counts: list[int] | None) -> int:
    """Bytes of the scores of one prediction; a cluster is looked into as often as its symbols stand in the text."""
    if not isinstance(model.head, AdaptiveHead):
        return NUMBER * int(model.head(next(model.parameters()).new_zeros(1, model.stack.output_size)).shape[-1])
    clusters = model.head.clusters
    frequent, tokens = clusters.head.out_features, sum(counts or ())
    rare = sum((high - low) * sum((counts or ())[low:high]) for low, high in pairwise(clusters.cutoffs))
    return NUMBER * (frequent + (rare // tokens if tokens else clusters.n_classes))


class _Arrays(TorchFunctionMode):
    """Remembers the arrays that operations make, the weights left out.

    made : their storages in order, held so that no address is given twice.
    saved : the addresses of those that autograd keeps.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.made: dict[int, torch.UntypedStorage] = {}
        self.saved: set[int] = set()
        self._own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let an operation run, and see what it gives."""
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, Tensor):
                self.see(tensor)
        return found

    def see(self, tensor: Tensor) -> int | None:
        """The address of an array that is no weight."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self._own:
            return None
        self.made.setdefault(place, storage)
        return place

    def bytes_of(self, places: Iterator[int] | Sequence[int] | set[int]) -> int:
        """Of the arrays at these addresses."""
        return sum(self.made[place].nbytes() for place in places)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """See what the body makes and what autograd keeps of it."""

        def pack(tensor: Tensor) -> Any:
            if (place := self.see(tensor)) is not None:
                self.saved.add(place)
            return None  # an output that is handed back would hold the graph that holds it, for ever

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed), self:
            yield


def _forward(model: SequenceModel, batch: Batch, steps: int, rows: int) -> tuple[int, int, int, int]:
    """Bytes that a forward pass makes: all, those outside the stack, those that autograd keeps, and of these the
    stack's.
    """
    weight = next(model.parameters())
    inputs = torch.zeros(steps, rows, *batch.inputs.shape[2:], dtype=batch.inputs.dtype, device=weight.device)
    arrays, borders, known = _Arrays(model), list[int](), list[set[int]]()

    def at_border(*_: object) -> None:
        borders.append(len(arrays.made))
        known.append(set(arrays.saved))

    hooks = model.stack.register_forward_pre_hook(at_border), model.stack.register_forward_hook(at_border)
    with arrays.watching():
        model.train().predict(inputs, generator=torch.Generator(weight.device))
    for hook in hooks:
        hook.remove()
    made = list(arrays.made)
    outside = arrays.bytes_of([*made[: borders[0]], *made[borders[1] :]])
    inside = set(made[borders[0] : borders[1]]) & arrays.saved
    return arrays.bytes_of(made), outside, arrays.bytes_of(arrays.saved), arrays.bytes_of(inside)


def _reused(model: SequenceModel, cell: Cell) -> int:
    """Bytes of a step of one sequence that lie in the holes of larger arrays that were freed.

    The C library looks for room beside an aligned array, and cuts that off again: the hole of an array takes smaller
    ones, but none of its own size.
    """
    device = next(model.parameters()).device
    one, two = (_second_step(model.stack, cell, rows, device) for rows in (1, 2))
    sizes = [(more - less, freed) for (less, freed), (more, _) in zip(one, two, strict=False)]  # a user's cell may vary
    largest = max((size for size, freed in sizes if freed), default=0)
    holes = sum(size for size, freed in sizes if freed and size == largest)
    return min(holes, sum(size for size, _ in sizes if size < largest))


def _second_step(stack: Stack, cell: Cell, rows: int, device: torch.device) -> list[tuple[int, bool]]:
    """Bytes of the arrays that a step makes, and whether they are freed behind it; at the first, little is kept."""
    ran = stack.as_run(cell, torch.Generator(device))
    x_gates = ran.project(torch.zeros(1, rows, cell.input_size, device=device))[0]
    state = ran.step(x_gates, ran.initial_state(rows))
    arrays = _Arrays(cell)
    with arrays.watching():
        new = ran.step(x_gates, state)
    known = {part.untyped_storage().data_ptr() for part in (x_gates, *state)}
    kept = arrays.saved | {part.untyped_storage().data_ptr() for part in new}
    return [(storage.nbytes(), place not in kept) for place, storage in arrays.made.items() if place not in known]
