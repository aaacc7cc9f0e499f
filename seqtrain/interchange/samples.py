"""What an exported model takes, and inputs to try it on."""

import math
from collections.abc import Iterable
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.config.schema import UserTask
from seqtrain.inference.load import Trained, restore
from seqtrain.models import SequenceModel
from seqtrain.models.stack import StackState
from seqtrain.system.rng import generator

TRIED = ((1, 1), (7, 3))
"""Steps and sequences on which an exported model is run beside the model."""


class Inputs(NamedTuple):
    """What a model takes at a step.

    symbols : whole numbers below `size`, rather than `size` real numbers.
    together : F, symbols a step whose vectors are added; None if there is one, so that the inputs are `[T, B]`.
    """

    symbols: bool
    size: int
    together: int | None = None

    def draw(self, steps: int, batch_size: int, seed: int = 0) -> Tensor:
        """`[T, B, I]` real numbers, or symbols `[T, B]` or `[T, B, F]`."""
        draw = generator("export", seed)
        if not self.symbols:
            return torch.randn(steps, batch_size, self.size, generator=draw)
        shape = (steps, batch_size) if self.together is None else (steps, batch_size, self.together)
        return torch.randint(self.size, shape, generator=draw)


def inputs_of(trained: Trained) -> Inputs:
    """What a trained model takes. Of symbols in a user's own task, a sequence is drawn to see how many a step has.

    Raises
    ------
    SeqtrainError : such a task cannot be built.
    """
    spec, task = trained.header.spec, trained.config.task
    together = None
    if spec.symbols and task.name == "tagging":
        alphabets = (trained.header.fitted or {}).get("alphabets")
        count = len(alphabets) if isinstance(alphabets, list) else 1
        together = count if count > 1 else None
    elif spec.symbols and isinstance(task, UserTask):
        inputs = restore(trained.path, ["device=cpu", "engine=auto"], quiet=True).task.specimen("test", 1).inputs
        together = inputs.shape[2] if inputs.dim() == 3 else None
    return Inputs(spec.symbols, spec.input_size, together)


def draw_state(model: SequenceModel, batch_size: int, seed: int = 0) -> StackState:
    """A state that is not the initial one: numbers within (-1, 1), as most states are; whole numbers stay."""
    draw = generator("state to export", seed)

    def drawn(state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return type(state)(*map(drawn_part, state))

    def drawn_part(part: Tensor) -> Tensor:
        return torch.rand(part.shape, generator=draw) * 2 - 1 if part.is_floating_point() else part

    return [[drawn(cell.initial_state(batch_size)) for cell in layer] for layer in model.stack.cells()]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, divided by the largest number of ours where that is above 1; NaN if one is not finite."""
    if ours.shape != theirs.shape:
        return float("nan")
    if not ours.numel():
        return 0.0
    return float((ours.double() - theirs.double()).abs().max() / ours.double().abs().max().clamp(min=1))


def largest(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """The largest difference of several outputs, ours and theirs; infinite if one is not finite."""
    differences = [difference(ours, theirs) for ours, theirs in pairs]
    return max(float("inf") if math.isnan(value) else value for value in differences)


def rounding_of(model: SequenceModel, x: Tensor, lengths: Tensor | None, state: StackState | None) -> float:
    """How far a model in float32 is from itself in float64: the `largest` difference of outputs and states.

    It is 0 if a cell of the user cannot compute in float64.
    """

    def exact(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    double = deepcopy(model).double()
    given = state and [[type(one)(*map(exact, one)) for one in layer] for layer in state]
    with torch.inference_mode():
        ours, after = model(x, lengths, state)
        try:
            wanted, ended = double(exact(x), lengths, given)
        except RuntimeError:
            return 0.0
    pairs = zip(named_states(ended).values(), named_states(after).values(), strict=True)
    return largest([(wanted, ours), *pairs])


def named_states(state: StackState) -> dict[str, Tensor]:
    """The states of all layers as other programs get them: `hidden_0` of the lowest layer is `[D, B, H]`, and so on."""
    return {
        f"{field}_{depth}": torch.stack([getattr(one, field) for one in layer])
        for depth, layer in enumerate(state)
        for field in layer[0]._fields
    }
