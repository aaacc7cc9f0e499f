"""Everything that training changes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, cast

import torch
from pydantic import ConfigDict, Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from seqtrain.models import SequenceModel, Stack, StackState
from seqtrain.training.averaging import averaged

Whole = Annotated[int, Field(ge=0, le=2**40)]


@dataclass(kw_only=True)
class Counters:
    """What training counts and remembers beside its tensors.

    skipped_steps : steps that changed nothing, since the loss or gradient was not finite.
    evaluated_at : the step of the last evaluation.
    best_step, best_value : of the best evaluation so far; one that solves the task is better than any that does not.
    lost_best_step : of a better evaluation whose checkpoint was removed, so that the best of the later ones counts.
    stalled : evaluations since then.
    cuts, stalled_since_cut : of the plateau schedule.
    solved_at_step : of the first evaluation that met the task's rule.
    window_loss, window_norm, window_steps : sums since the last training record.
    losses : of all evaluations, in order.
    """

    skipped_steps: Whole = 0
    evaluated_at: Whole = 0
    best_step: Whole | None = None
    best_value: float | None = None
    lost_best_step: Whole | None = None
    stalled: Whole = 0
    cuts: Whole = 0
    stalled_since_cut: Whole = 0
    solved_at_step: Whole | None = None
    window_loss: float = 0.0
    window_norm: float = 0.0
    window_steps: Whole = 0
    losses: Annotated[list[float], Field(fail_fast=True)] = field(default_factory=list)


@dataclass(kw_only=True)
class TrainingRecord(Counters):
    """The plain values of a training state, as a checkpoint holds them.

    lr : of the last step.
    averaged : weights in the running mean; None if there is no mean.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

    lr: Annotated[float, Field(ge=0)]
    averaged: Whole | None


@dataclass
class TrainState(Counters):
    """Everything that training changes: what a checkpoint holds.

    It holds no generator: every random draw is named by the seed and the step (see `rng`).

    step : training steps done, with the skipped ones.
    carried : the recurrent state that the next window of a text starts from.
    average : the mean of the weights since an evaluation was worse than the best of all but the last `average_after`
        before it; None until then. It is what is evaluated and saved as the model.
    """

    model: SequenceModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    carried: StackState | None = None
    average: AveragedModel | None = None

    @property
    def weights(self) -> list[Tensor]:
        """All that the optimizer changes; faster than a walk through the model."""
        weights: list[Tensor] = self.optimizer.param_groups[0]["params"]
        return weights

    @property
    def evaluated(self) -> SequenceModel:
        """The model that is evaluated and saved: with the mean of the weights, if there is one."""
        return self.model if self.average is None else cast(SequenceModel, self.average.module)

    def forget_best(self) -> None:
        """Go on without the best evaluation so far, whose checkpoint is gone; evaluate at the end again."""
        self.lost_best_step, self.best_step, self.best_value = self.best_step, None, None
        self.evaluated_at = max(0, min(self.evaluated_at, self.step - 1))

    def record(self) -> TrainingRecord:
        """The plain values but `step`."""
        values = {one.name: getattr(self, one.name) for one in fields(Counters)}
        count = None if self.average is None else int(self.average.n_averaged)
        return TrainingRecord(**values, lr=self.optimizer.param_groups[0]["lr"], averaged=count)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors but the weights of the evaluated model."""
        own = dict(self.model.named_parameters()) if self.average is not None and self.average.n_averaged else {}
        return named_tensors(self.optimizer.state_dict()["state"], self.carried, own)

    def restore(
        self, step: int, record: TrainingRecord, weights: dict[str, Tensor], tensors: dict[str, Tensor]
    ) -> None:
        """Become the state that was saved; what is given must fit."""
        self.step = step
        for one in fields(Counters):
            setattr(self, one.name, getattr(record, one.name))
        self.model.load_state_dict(weights)
        if record.averaged is not None:
            self.average = averaged(self.model)
            self.average.n_averaged.fill_(record.averaged)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if f"own/{name}" in tensors:
                    parameter.copy_(tensors[f"own/{name}"])
        (group,) = self.optimizer.state_dict()["param_groups"]  # all but lr follows from the config
        optimizer: dict[int, dict[str, Tensor]] = {}
        for name in tensors:
            if name.startswith("optimizer/"):
                _, number, key = name.split("/")
                optimizer.setdefault(int(number), {})[key] = tensors[name]
        self.optimizer.load_state_dict({"state": optimizer, "param_groups": [group | {"lr": record.lr}]})
        self.carried = carried_state(tensors, self.model.stack)


def named_tensors(
    optimizer: Mapping[int, Mapping[str, Tensor | None]], carried: StackState | None, own: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The optimizer's state by the number of the parameter, the carried state and the weights, under one name each."""
    named = {f"optimizer/{n}/{key}": part for n, kept in optimizer.items() for key, part in kept.items()}
    for layer, cells in enumerate(carried or []):
        for place, state in enumerate(cells):
            named |= {f"carried/{layer}/{place}/{key}": part for key, part in state._asdict().items()}
    named |= {f"own/{name}": weight for name, weight in own.items()}
    return {name: part for name, part in named.items() if part is not None}


def carried_state(tensors: Mapping[str, Tensor], stack: Stack) -> StackState | None:
    """The carried state from its tensors, which `named_tensors` named; None if there are none."""
    if not any(name.startswith("carried/") for name in tensors):
        return None
    carried: StackState = [[cell.initial_state(1) for cell in layer] for layer in stack.cells()]
    for layer, cells in enumerate(carried):
        for place, state in enumerate(cells):
            named = {key: tensors[f"carried/{layer}/{place}/{key}"] for key in state._fields}
            cells[place] = state._replace(**{key: part.to(getattr(state, key).device) for key, part in named.items()})
    return carried
