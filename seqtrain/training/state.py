"""Everything that training changes."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seqtrain.models import SequenceModel, StackState, pack_state, unpack_state
from seqtrain.training.averaging import Average


@dataclass
class TrainState:
    """Everything that training changes: what a checkpoint holds, and all that it holds.

    There is no generator among it: every random draw is named by the seed and the step (see `rng`).

    step : training steps done, the skipped among them.
    skipped_steps : how many of them changed nothing, since the loss or gradient was not finite.
    evaluated_at : the step of the last evaluation.
    best_step, best_value : of the best evaluation so far; one that solves the task is better than any that does not.
    stalled : evaluations since then.
    cuts, stalled_since_cut : of the plateau schedule.
    solved_at_step : of the first evaluation that met the task's rule.
    window_loss, window_norm, window_steps : sums since the last training record.
    carried : the recurrent state that the next window of a text starts from.
    losses : of all evaluations, in order.
    average : the mean of the weights since an evaluation was worse than the best of all but the last `average_after`
        before it; None until then. It is what is evaluated and kept as the model.
    """

    model: SequenceModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    skipped_steps: int = 0
    evaluated_at: int = 0
    best_step: int | None = None
    best_value: float | None = None
    stalled: int = 0
    cuts: int = 0
    stalled_since_cut: int = 0
    solved_at_step: int | None = None
    window_loss: float | Tensor = 0.0
    window_norm: float | Tensor = 0.0
    window_steps: int = 0
    carried: StackState | None = None
    losses: list[float] = field(default_factory=list)
    average: Average | None = None

    _PLAIN = (
        "step", "skipped_steps", "evaluated_at", "best_step", "best_value", "stalled", "cuts", "stalled_since_cut",
        "solved_at_step", "window_steps", "losses",
    )  # fmt: skip

    def content(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint: the entries `model` and `training`."""
        training = {name: getattr(self, name) for name in self._PLAIN} | {
            "window_loss": float(self.window_loss),
            "window_norm": float(self.window_norm),
            "carried": pack_state(self.carried),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.content(self.model),
        }
        with self.evaluated():
            return {"model": self.model.state_dict(), "training": training}

    def restore(self, content: dict[str, Any], device: torch.device) -> None:
        """Become what `content` described, which must fit."""
        self.model.load_state_dict(content["model"])
        training = content["training"]
        (group,), (saved,) = self.optimizer.state_dict()["param_groups"], training["optimizer"]["param_groups"]
        groups = [group | {"lr": saved["lr"]}]  # all else follows from the config
        self.optimizer.load_state_dict({"state": training["optimizer"]["state"], "param_groups": groups})
        for name in (*self._PLAIN, "window_loss", "window_norm"):
            setattr(self, name, training[name])
        self.carried = unpack_state(training["carried"], self.model.stack, device)
        if training["average"] is not None:
            self.average = Average.restore(training["average"], self.model)

    def evaluated(self) -> AbstractContextManager[None]:
        """The body sees the model as it is evaluated: with the mean of its weights, if there is one."""
        return nullcontext() if self.average is None else self.average.in_place(self.model)
