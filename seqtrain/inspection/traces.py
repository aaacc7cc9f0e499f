"""Every activation of a few sequences, with the words or symbols that the model reads."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqtrain.inspection.predictions import lengths_of, scored_steps
from seqtrain.inspection.watch import Place, Step, cells_of, steps_of, watched
from seqtrain.models import SequenceModel
from seqtrain.recurrence import gates_of
from seqtrain.tasks import Batch, Task

STEPS = 1024
"""Steps of a sequence that are kept at most."""


@dataclass(frozen=True)
class Traces:
    """What a model computes on N sequences of at most T steps.

    activations : by cell and name, `[T, N, H]`: the gates in the cell's order, what else it names, and its state. Zero
        on padding.
    states : by cell, the names of those that are its state.
    lengths : `[N]`, steps of each sequence.
    inputs : for each sequence, what the model reads at each step, in words.
    surprisal : `[T, N]` bits of the next word of a text, given all before; NaN on padding. None without words.
    """

    activations: dict[Place, dict[str, Tensor]]
    states: dict[Place, list[str]]
    lengths: Tensor
    inputs: list[list[str]]
    surprisal: Tensor | None

    def surprise_by_token(self) -> list[list[tuple[str, float | None]]]:
        """For each sequence of words, each token with its surprisal in bits, None for the first one."""
        if self.surprisal is None:
            return []
        columns = self.surprisal.t().tolist()
        return [[*zip(tokens, [None, *bits], strict=False)] for tokens, bits in zip(self.inputs, columns, strict=True)]


@torch.no_grad()
def traces(model: SequenceModel, task: Task, batch: Batch) -> Traces:
    """The activations on a batch, which should have few sequences: all of them are kept, of the first `STEPS` steps."""
    batch = steps_of(batch, 0, STEPS, every_step=model.every_step)
    T, lengths = len(batch.inputs), lengths_of(batch)
    kept: dict[Place, dict[str, Tensor]] = {place: {} for place in cells_of(model)}
    states: dict[Place, list[str]] = {}

    def see(step: Step) -> None:
        states[step.place] = [name for name in step.state._fields if step.activations[name].dim() == 2]
        inside = (step.t < lengths)[:, None]
        for name, values in step.activations.items():
            if values.dim() == 2:
                table = kept[step.place].setdefault(name, torch.zeros(T, *values.shape))
                table[step.t] = values.float() * inside

    with watched(model, see):
        prediction, _ = model.predict(batch.inputs, batch.lengths)
    surprisal = None
    if task.words:
        nats = -torch.log_softmax(prediction.outputs.double(), -1).gather(-1, batch.targets[..., None])[..., 0]
        surprisal = (nats / math.log(2)).where(scored_steps(batch), math.nan)
    ordered = {
        place: _in_order(own, gates_of(cell))
        for (place, cell), own in zip(cells_of(model).items(), kept.values(), strict=True)
    }
    return Traces(ordered, states, lengths, _inputs(task, batch, lengths), surprisal)


def _in_order(own: dict[str, Tensor], gates: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: own[name] for name in dict.fromkeys([*(gate for gate in gates if gate in own), *own])}


def _inputs(task: Task, batch: Batch, lengths: Tensor) -> list[list[str]]:
    """What is read at each step of each sequence, in words."""
    return [task.read_in_words(batch.rows(n, n + 1))[:length] for n, length in enumerate(lengths.tolist())]
