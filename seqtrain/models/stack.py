"""Depth and direction: layers of cells that run forward, backward, or both ways."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seqtrain.cells import Cell
from seqtrain.models.dropout import NO_DROPOUT, Dropout, drop
from seqtrain.models.zoneout import Zoneout
from seqtrain.recurrence import Loop, Unroll, unroll_reference

Direction = Literal["forward", "backward", "bidirectional"]
Merge = Literal["concat", "sum"]
MERGE: Merge = "concat"
"""The default merge of two directions."""

StackState = list[list[Any]]
"""For each layer, the state of its forward cell, of its backward cell, or of both in this order."""


class Stack(nn.Module):
    """L layers of one kind of cell, each running forward, backward or both ways.

        x --> [ layer 1 ] -- dropout --> [ layer 2 ] -- dropout --> ... [ layer L ] --> outputs
               forward  \\
                          merge (concat: 2H, sum: H)
               backward /

    Parameters
    ----------
    make_cell : builds one cell from an input size and a hidden size.
    input_size : I of the first layer.
    hidden_sizes : H of each layer and direction; L numbers, at least 1.
    direction : in which the cells read the sequence.
    merge : of the two directions of a layer, if there are two; None for `MERGE`.
    dropout : the stack uses `dropout` (between layers, not after the last), `weight_drop` and zoneout.

    Attributes
    ----------
    loop : runs the cells over time; by default the plain loop.
    """

    def __init__(
        self,
        make_cell: Callable[[int, int], Cell],
        input_size: int,
        hidden_sizes: Sequence[int],
        *,
        direction: Direction,
        merge: Merge | None = None,
        dropout: Dropout = NO_DROPOUT,
    ) -> None:
        super().__init__()
        self.reversed = {"forward": [False], "backward": [True], "bidirectional": [False, True]}[direction]
        self.merge = merge or MERGE
        self.dropout = dropout
        self.loop = Loop("reference", unroll_reference)
        self.layers = nn.ModuleList()
        size = input_size
        for hidden_size in hidden_sizes:
            cells = [make_cell(size, hidden_size) for _ in self.reversed]
            self.layers.append(nn.ModuleList(cells))
            size = sum(cell.hidden_size for cell in cells) if self.merge == "concat" else cells[0].hidden_size
        self.input_size = input_size
        self.output_size = size

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        state: StackState | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor, StackState]:
        """Run all layers.

        Parameters
        ----------
        x : `[T, B, I]`.
        lengths : `[B]` or None, as in `unroll`.
        state : the start of each cell; None for the initial states of the cells.
        generator : draws the dropout masks; needed in training if there is dropout.

        Returns
        -------
        outputs : `[T, B, output_size]` of the last layer.
        final : `[B, output_size]`, the last layer after the whole sequence: forward cells at each sequence's own
            last step, backward cells at its first.
        state : of every cell.

        Raises
        ------
        ValueError : the inputs have the wrong size.
        """
        if x.shape[-1] != self.input_size:
            raise ValueError(f"the inputs have {x.shape[-1]} numbers in each step; this model needs {self.input_size}")
        dropout = self.dropout if self.training else NO_DROPOUT
        states: StackState = []
        outputs = final = x
        for depth, cells in enumerate(self.cells()):
            if depth > 0:
                outputs = dropout.features(outputs, dropout.dropout, generator)
            before = [None] * len(cells) if state is None else state[depth]
            ran = [
                self._run(partial(self.loop.unroll, lengths=lengths, reverse=reverse), cell, outputs, start, generator)
                for cell, start, reverse in zip(cells, before, self.reversed, strict=True)
            ]
            states.append([after for _, after in ran])
            outputs = self._merged([output for output, _ in ran])
            final = self._merged([after.hidden for _, after in ran])
        return outputs, final, states

    def cells(self) -> list[list[Cell]]:
        """The cells of each layer, in the order of `StackState`."""
        return [[*layer] for layer in self.layers]  # type: ignore[misc]  # each layer is a ModuleList

    def as_run(self, cell: Cell, generator: torch.Generator | None = None) -> Cell:
        """The cell itself, or with zoneout around it."""
        hidden, memory = self.dropout.zoneout_hidden, self.dropout.zoneout_memory
        return Zoneout(cell, hidden, memory, generator, training=self.training) if hidden or memory else cell

    def _run(
        self, unroll: Unroll, cell: Cell, x: Tensor, state: Any, generator: torch.Generator | None
    ) -> tuple[Tensor, Any]:
        """Run a cell over time, in training without the dropped entries of its `w_h`; the cell stays as it is."""
        run = partial(unroll, self.as_run(cell, generator), x, state)
        if not (self.training and self.dropout.weight_drop):
            return run()
        w_h = drop(cell.get_parameter("w_h"), self.dropout.weight_drop, generator)
        outputs, last = functional_call(_Run(cell, run), {"cell.w_h": w_h})
        return outputs, last

    def _merged(self, parts: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts, -1) if self.merge == "concat" else parts[0] + parts[1]


class _Run(nn.Module):
    """A function that runs a cell, as a module: `functional_call` replaces weights of modules."""

    def __init__(self, cell: Cell, function: Callable[[], Any]) -> None:
        super().__init__()
        self.cell = cell
        self.function = function

    def forward(self) -> Any:
        return self.function()


def detach_state(state: StackState) -> StackState:
    """Cut the gradient between two windows of a text (truncated back-propagation through time).

    The state is contiguous, as it is when it is read from a checkpoint: otherwise the last bits could differ.
    """
    return [[type(cell)(*(part.detach().contiguous() for part in cell)) for cell in layer] for layer in state]
