"""What a cell keeps: the unit, the state and the gate from which a hidden fact can be read, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seqtrain.inspection.predictions import lengths_of
from seqtrain.inspection.probes import Labels, Learn, Probe, linear, one_unit, probe
from seqtrain.inspection.traces import Traces, traces
from seqtrain.inspection.watch import Place, Step, cells_of, watch
from seqtrain.models import SequenceModel
from seqtrain.recurrence import gates_of
from seqtrain.system.rng import generator
from seqtrain.tasks import Batch, Task
from seqtrain.tasks.facts import HiddenFact

PARTS = 8
"""The time from the first step of a fact to the last one is read in so many parts, besides its first three steps."""

EXAMPLES = 2
"""Sequences that are shown for a fact, each with another class."""


@dataclass(frozen=True)
class Reading:
    """How well a fact can be read from one activation of one cell.

    place, name : the cell, and the activation as the cell names it.
    is_state : it is a part of the state, not a gate.
    one : the single unit that is best over all steps.
    every : a linear read-out of all units, over all steps.
    one_at, every_at : likewise at each step alone, where another unit may be best; None where there are too few
        samples. The linear read-out at each step is that of states only.
    """

    place: Place
    name: str
    is_state: bool
    one: Probe
    every: Probe
    one_at: list[Probe | None]
    every_at: list[Probe | None]


@dataclass(frozen=True)
class Example:
    """The unit that keeps a fact, over one sequence.

    label : the class of the fact, or its first and last number.
    start, end : the steps at which the fact is told and used.
    inputs : what the model reads, in words.
    unit : the activations `[T]` of the unit, by name.
    """

    label: str
    start: int
    end: int
    inputs: list[str]
    unit: dict[str, Tensor]


@dataclass(frozen=True)
class Kept:
    """Where a cell keeps a fact.

    fact : its name.
    classes : the names of its classes; empty for numbers.
    is_constant : in each sequence it has one value.
    sequences : how many have the fact.
    steps : `[K]`, since the fact was told.
    readings : of each gate and each part of the state of each cell.
    examples : the best unit of a state, over sequences with different classes.
    """

    fact: str
    classes: tuple[str, ...]
    is_constant: bool
    sequences: int
    steps: list[int]
    readings: list[Reading]
    examples: list[Example]

    def best(self, *, state: bool) -> Reading | None:
        """The state, or the gate, with the unit from which the fact can best be read."""
        return max(
            (each for each in self.readings if each.is_state == state), key=lambda each: each.one.learnt, default=None
        )


class _Samples:
    """The activations at some steps after a fact was told."""

    def __init__(self, fact: HiddenFact, *, in_order: bool) -> None:
        self.columns = fact.known.any(0).nonzero()[:, 0]
        known, values = fact.known[:, self.columns], fact.values[:, self.columns]
        start = known.long().argmax(0)
        first = values.gather(0, start[None])
        self.is_constant = bool(((values == first) | ~known).all())
        longest = int((known * torch.arange(len(known))[:, None] - start).amax()) if len(self.columns) else 0
        self.steps = sorted({*range(min(3, longest + 1)), *(round(longest * k / PARTS) for k in range(PARTS + 1))})
        self.at = start + torch.tensor(self.steps)[:, None]  # [K, N]
        inside = self.at.clamp(max=len(known) - 1)
        is_known = known.gather(0, inside) & (self.at < len(known))
        self.labels = Labels(values.gather(0, inside), is_known, len(fact.classes), in_order)
        self.kept: dict[tuple[Place, str], Tensor] = {}
        self.states: set[str] = set()

    def see(self, step: Step, gates: tuple[str, ...]) -> None:
        """Keep what is asked for of one step."""
        k, n = (self.at == step.t).nonzero(as_tuple=True)
        self.states |= {*step.state._fields}
        for name in dict.fromkeys([*gates, *step.state._fields]):
            values = step.activations.get(name)
            is_doubled = name not in step.state._fields and any(values is part for part in step.state)
            if values is not None and values.dim() == 2 and not is_doubled:  # the `h` of a plain network is its state
                shape = (*self.at.shape, values.shape[1])
                table = self.kept.setdefault((step.place, name), torch.zeros(shape))
                table[k, n] = values[self.columns[n]].float()


@torch.no_grad()
def what_is_kept(
    model: SequenceModel,
    task: Task,
    batch: Batch,
    facts_of: Callable[[Batch], Sequence[HiddenFact]],
    *,
    advance: Callable[[], object] = lambda: None,
) -> list[Kept]:
    """Where each fact can be read, from the step that tells it to that of its use.

    Parameters
    ----------
    batch : many sequences: half of them teach the probes, the others judge them.
    facts_of : the facts of a batch.
    advance : called after each fact.
    """
    if not task.carries_state:  # those of a text stay in its order, so that its two halves teach and judge
        batch = batch.columns(torch.randperm(batch.size, generator=generator(0, "kept")))
    inside = torch.arange(len(batch.inputs))[:, None] < lengths_of(batch)
    facts = [fact._replace(known=fact.known & inside) for fact in facts_of(batch)]
    samples = [_Samples(fact, in_order=task.carries_state) for fact in facts]
    gates = {place: gates_of(cell) for place, cell in cells_of(model).items()}

    def see(step: Step) -> None:
        for one in samples:
            one.see(step, gates[step.place])

    watch(model, batch, see)
    found = []
    for fact, one in zip(facts, samples, strict=True):
        readings = [_reading(place, name, values, one) for (place, name), values in one.kept.items()]
        if readings_found := [each for each in readings if each is not None]:
            kept = Kept(fact.name, fact.classes, one.is_constant, len(one.columns), one.steps, readings_found, [])
            found.append(_with_examples(kept, model, task, batch, fact))
        advance()
    return found


def _reading(place: Place, name: str, values: Tensor, samples: _Samples) -> Reading | None:
    labels = samples.labels
    one, every = probe(one_unit, values, labels), probe(linear, values, labels)
    if one is None or every is None:
        return None
    is_state, parts = name in samples.states, [slice(k, k + 1) for k in range(len(samples.steps))]

    def at_each_step(learn: Learn) -> list[Probe | None]:
        return [probe(learn, values[part], labels.at(part, slice(None))) for part in parts]

    return Reading(place, name, is_state, one, every, at_each_step(one_unit), at_each_step(linear) if is_state else [])


def _with_examples(kept: Kept, model: SequenceModel, task: Task, batch: Batch, fact: HiddenFact) -> Kept:
    """Add the best unit of a state over a few sequences, each with another class at the step that tells the fact."""
    best = kept.best(state=True)
    if best is None:
        return kept
    start, columns = fact.known.long().argmax(0), fact.known.any(0).nonzero()[:, 0]
    first = fact.values.gather(0, start[None])[0]
    chosen: dict[float, int] = {}
    for column in columns.tolist():
        chosen.setdefault(float(first[column]) if fact.classes else 0.0, column)
        if len(chosen) == EXAMPLES:
            break
    found = traces(model, task, batch.columns(torch.tensor([*chosen.values()])))
    examples = [_example(kept, best, found, n, fact, column) for n, column in enumerate(chosen.values())]
    return replace(kept, examples=examples)


def _example(kept: Kept, best: Reading, found: Traces, n: int, fact: HiddenFact, column: int) -> Example:
    at = fact.known[:, column].nonzero()[:, 0]
    first, last = fact.values[at[0], column].item(), fact.values[at[-1], column].item()
    names = [kept.classes[int(value)] if kept.classes else f"{value:.3g}" for value in (first, last)]
    label = names[0] if first == last else f"{names[0]}, at the end {names[1]}"
    length, unit = int(found.lengths[n]), best.one.unit
    activations = {name: values[:length, n, unit] for name, values in found.activations[best.place].items()
                   if values.shape[2] > (unit or 0)}  # fmt: skip
    return Example(label, int(at[0]), int(at[-1]), found.inputs[n], activations)
