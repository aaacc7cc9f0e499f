"""How open the gates of a cell are, and how long it keeps its state."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqtrain.cells import Cell
from seqtrain.inspection.watch import Place, Step, cells_of, watch
from seqtrain.models import SequenceModel
from seqtrain.recurrence import gates_of
from seqtrain.tasks import Batch

LOW, HIGH = 0.1, 0.9
"""Below, a gate is left-saturated, above right-saturated (Karpathy, Johnson & Fei-Fei 2015, section 4.3)."""


@dataclass(frozen=True)
class Activation:
    """One activation of a cell over a set of sequences, by unit; padding does not count.

    name : as the cell names it.
    is_gate : it is one of the cell's blocks, and all values lie from 0 to 1.
    mean, low, high : `[H]`, the mean, the share of values below `LOW`, and the share above `HIGH`; of a value that is
        no gate, the shares below `-HIGH` and above `HIGH`.
    least, most : of all values.
    """

    name: str
    is_gate: bool
    mean: Tensor
    low: Tensor
    high: Tensor
    least: float
    most: float


@dataclass(frozen=True)
class Gates:
    """The activations of one cell.

    activations : in the order of the cell's blocks, then its state.
    keeps : the gate that multiplies the old state; None if none does.
    half_life : `[H]` steps after which half of the old state is left, from the mean of the gate that multiplies it, and
        from zoneout;
        infinite if the gate is 1. None if no gate does.
    spectral_radius : largest absolute eigenvalue of `w_h` `[H, H]`, of a cell without gates; None for others.
    peepholes : `[H]` each, the weights by the gate that they feed; empty without peepholes.
    """

    place: Place
    activations: dict[str, Activation]
    keeps: str | None
    half_life: Tensor | None
    spectral_radius: float | None
    peepholes: dict[str, Tensor]


@torch.no_grad()
def gates(model: SequenceModel, batches: Iterable[Batch]) -> list[Gates]:
    """The gates of every cell, over all steps of the batches, in memory that does not grow with their number or T."""
    sums: dict[tuple[Place, str], _Sums] = {}
    state = None
    for batch in batches:
        lengths = batch.lengths

        def see(step: Step, lengths: Tensor | None = lengths) -> None:
            inside = None if lengths is None else step.t < lengths
            for name, values in step.activations.items():
                if values.dim() == 2:
                    rows = values if inside is None else values[inside]
                    sums.setdefault((step.place, name), _Sums()).add(rows.double())

        state = watch(model, batch, see, None if batch.fresh else state)
    return [_gates_of(place, cell, sums, _zoneout(model, cell)) for place, cell in cells_of(model).items()]


def _zoneout(model: SequenceModel, cell: Cell) -> float:
    """The share of the old value that zoneout keeps in the part of the state that a gate multiplies."""
    dropout = model.stack.dropout
    return dropout.zoneout_memory if len(cell.initial_state(1)) > 1 else dropout.zoneout_hidden


class _Sums:
    """Running sums of an activation, by unit."""

    def __init__(self) -> None:
        self.count, self.least, self.most = 0, math.inf, -math.inf
        self.total: Tensor | float = 0.0
        self.below = {bound: torch.zeros(()) for bound in (-HIGH, LOW)}
        self.above: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Count values `[N, H]`."""
        if not len(values):
            return
        self.count += len(values)
        self.total = self.total + values.sum(0)
        self.below = {bound: before + (values < bound).sum(0) for bound, before in self.below.items()}
        self.above = self.above + (values > HIGH).sum(0)
        self.least, self.most = min(self.least, values.min().item()), max(self.most, values.max().item())


def _gates_of(place: Place, cell: Cell, sums: dict[tuple[Place, str], _Sums], zoneout: float) -> Gates:
    blocks, activations = gates_of(cell), {}
    own = {name: kept for (where, name), kept in sums.items() if where == place and kept.count}
    for name in dict.fromkeys([*(block for block in blocks if block in own), *own]):
        kept = own[name]
        is_gate = name in blocks and kept.least >= 0 and kept.most <= 1
        mean, low, high = (
            torch.as_tensor(total) / kept.count
            for total in (kept.total, kept.below[LOW if is_gate else -HIGH], kept.above)
        )
        activations[name] = Activation(name, is_gate, mean, low, high, kept.least, kept.most)
    keeping = activations.get(cell.keeps or "")
    if keeping is not None and (keeping.least < 0 or keeping.most > 1):
        keeping = None  # what it multiplies need not get smaller
    gated = any(activation.is_gate for activation in activations.values())
    peepholed = _peepholed(blocks)
    w_h, p = _weights(cell, "w_h", cell.hidden_size), _weights(cell, "p", len(peepholed))
    return Gates(
        place,
        activations,
        None if keeping is None else keeping.name,
        None if keeping is None else half_life(zoneout + (1 - zoneout) * keeping.mean),
        None if gated or w_h is None else torch.linalg.eigvals(w_h.double()).abs().max().item(),
        {} if p is None else dict(zip(peepholed, p, strict=True)),
    )


def _weights(cell: Cell, name: str, rows: int) -> Tensor | None:
    """Weights `[rows, H]` of a built-in cell; None if a cell means something else by the name."""
    weights = getattr(cell, name, None)
    if isinstance(weights, Tensor) and weights.shape == (rows, cell.hidden_size):
        return weights.detach()
    return None


def _peepholed(blocks: tuple[str, ...]) -> list[str]:
    """The gates that peepholes feed, in the order of the rows of `p`: all blocks but the candidate."""
    return [block for block in blocks if block != "g"]


def half_life(factor: Tensor) -> Tensor:
    """Steps after which half of a value is left that is multiplied by `factor`, from 0 to 1, at each step.

    `ln(1/2) / ln(factor)`: 0 for a factor of 0, infinite for 1.
    """
    return math.log(2) / factor.double().log().abs()
