"""The evaluation of a checkpoint on a split of its task: what `seqtrain eval` does."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import torch
from torch import Tensor, nn

from seqtrain.config.describe import affects_of
from seqtrain.inference.load import Restored, restore
from seqtrain.inference.predictions.evaluated import check_picture, draw_evaluation
from seqtrain.native.storage import Precision
from seqtrain.system.errors import ConfigError, Diverged
from seqtrain.system.progress import Progress, figure, say
from seqtrain.system.runtime import settings_restored
from seqtrain.system.settings import NO_RESULT, beyond_float32
from seqtrain.tasks import LanguageModel, Split
from seqtrain.tasks.metrics import Metric
from seqtrain.training import loop

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Dynamic(NamedTuple):
    """How a model goes on learning while it is evaluated; see `DynamicEvaluation`."""

    lr: float
    decay: float = 0.0


class DynamicEvaluation:
    """A step of gradient descent after each window, once the window has been counted (Krause et al. 2018, section 3).

        w <- w - lr * gradient + decay * (trained - w)

    Parameters
    ----------
    model : its weights are updated.
    lr : the learning rate, for the mean loss of a window.
    decay : the fraction of the way back to the trained weights in each step.
    clip_norm : largest global norm of a gradient; None for no limit.
    """

    def __init__(self, model: nn.Module, *, lr: float, decay: float = 0.0, clip_norm: float | None = None) -> None:
        self.parameters: list[Tensor] = [*model.parameters()]
        self.trained = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.SGD(self.parameters, lr)
        self.decay = decay
        self.clip_norm = clip_norm

    def __call__(self, loss: Tensor) -> None:
        """Learn from the mean loss of a window.

        Raises
        ------
        Diverged : it is not finite.
        """
        if not torch.isfinite(loss.detach()):
            raise Diverged(
                f"dynamic evaluation diverged: the loss of a window is {float(loss.detach()):g}; lower --dynamic"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        if self.decay:
            with torch.no_grad():
                for parameter, trained in zip(self.parameters, self.trained, strict=True):
                    parameter.lerp_(trained, self.decay)


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    step : training steps that the checkpoint had done.
    changed : settings that differ from those of the training, by dotted key.
    dynamic : how the model learned on the way; None if it did not.
    figures : the loss and the metrics.
    conversions : the loss in other units.
    baseline : the metrics that the best model without a memory would reach.
    draw : a function that draws what the model said beside the truth, if that was asked for.
    solved : whether the figures meet the task's rule; None if it has none.
    """

    checkpoint: str
    step: int
    task: str
    variant: str
    changed: Mapping[str, object]
    cell: str
    split: Split
    dynamic: Dynamic | None
    metric: Metric
    figures: dict[str, float]
    conversions: dict[str, float]
    data: Mapping[str, str | float]
    engine: str
    precision: Precision
    baseline: dict[str, float]
    solved: bool | None
    draw: "Callable[[], Figure] | None" = field(default=None, repr=False, compare=False)

    def as_json(self) -> dict[str, object]:
        """The result as `seqtrain eval --json` prints it: figures and conversions beside the other keys."""
        dynamic = None if self.dynamic is None else self.dynamic._asdict()
        values = vars(self) | {"dynamic": dynamic, "metric": self.metric._asdict()}
        del values["draw"]
        flat: dict[str, object] = {}
        for key, value in values.items():
            flat |= value if key in ("figures", "conversions") else {key: value}
        return flat


@settings_restored()
def evaluate(
    run_or_checkpoint: str | Path,
    overrides: Sequence[str] = (),
    *,
    split: Split = "test",
    dynamic: float | None = None,
    dynamic_decay: float | None = None,
    picture: bool = False,
    quiet: bool = True,
) -> Evaluation:
    """Evaluate a trained model, rebuilt from its checkpoint alone.

    Parameters
    ----------
    run_or_checkpoint : a checkpoint, or a run directory, which stands for its best one.
    overrides : settings to change, each `KEY=VALUE`: those that affect the data, the evaluation, the speed or the
        machine, as far as the weights allow.
    split : `train` only of a text.
    dynamic, dynamic_decay : continue to learn from a text while it is evaluated; see `DynamicEvaluation`.
    picture : make the result's `draw`, which draws what the model said beside the truth.
    quiet : no progress and no remarks on stderr.

    Raises
    ------
    SeqtrainError : the checkpoint cannot be used, or does not allow what is asked.
    """
    if split not in get_args(Split):
        raise ConfigError(f"--split is {split!r}; choose one of test, valid, or train (of a text)")
    learning = _dynamic(dynamic, dynamic_decay)
    restored = restore(Path(run_or_checkpoint), overrides, quiet=quiet)
    task, config = restored.task, restored.config
    if split == "train" and not task.has_epochs:
        raise ConfigError(
            f"--split is 'train', but task {task.name} has no fixed training set to evaluate; choose one of test, valid"
        )
    if picture:
        check_picture(task)
    learn = _learner(restored, learning)
    batch_size = task.evaluated_together(config.train.eval_batch_size)
    batches = task.count_eval_batches(split, batch_size)
    with Progress(batches, label=f"eval {restored.path.parent.name}", unit="batch", quiet=quiet) as progress:
        figures = loop.evaluate(restored.model, task, split, batch_size, learn, progress.advance)
    for remark in task.remarks_on_evaluation(split):
        say(remark, quiet=quiet)
    baseline, name = task.baseline(split), task.metric.name
    learned = task.metric.better(figures[name], baseline.get(name))
    if learning is not None and not learned:  # also true of a model that was hardly trained
        say(
            f"--dynamic {learning.lr:g}: {name} {figure(figures[name])} is no better than the baseline's "
            f"{figure(baseline.get(name))}; the learning rate is too large, lower it "
            "(unless it is as bad without --dynamic)",
            quiet=quiet,
        )
    return Evaluation(
        checkpoint=str(restored.path),
        step=restored.step,
        task=config.task.name,
        variant=task.definition,
        changed={key: new for key, (_, new) in restored.changes.items() if affects_of(key, config) not in NO_RESULT},
        cell=config.model.cell.name,
        split=split,
        dynamic=learning,
        metric=task.metric,
        figures=figures,
        conversions=task.conversions(split, figures["loss"]),
        data=task.facts(split),
        engine=restored.model.stack.loop.name,
        precision=restored.model.precision,
        baseline=baseline,
        solved=task.solved(figures) and learned if task.solvable else None,  # at some lengths, a guess would do
        draw=(lambda: draw_evaluation(restored.path, task, split)) if picture else None,
    )


def _dynamic(lr: float | None, decay: float | None) -> Dynamic | None:
    """The settings of dynamic evaluation; None without a learning rate."""
    if lr is None and decay is not None:
        raise ConfigError(f"--dynamic-decay is {decay:g}, but there is no --dynamic to decay; add --dynamic LR")
    if lr is not None and not (isfinite(lr) and lr >= 0):
        raise ConfigError(f"--dynamic is {lr:g}; it must be a finite learning rate from 0")
    for option, number in (("--dynamic", lr), ("--dynamic-decay", decay)):
        if number is not None and (message := beyond_float32(number)):
            raise ConfigError(f"{option} {message}")
    if decay is not None and not 0 <= decay <= 1:
        raise ConfigError(f"--dynamic-decay is {decay:g}; it must be from 0 to 1")
    return None if lr is None else Dynamic(lr, decay or 0.0)


def _learner(restored: Restored, dynamic: Dynamic | None) -> DynamicEvaluation | None:
    """The dynamic evaluation, if it is asked for."""
    task = restored.task
    if dynamic is None and "task.window" in restored.changes:
        raise ConfigError(
            "task.window changes nothing in an evaluation that does not learn; remove it, or add --dynamic LR"
        )
    if dynamic is None:
        return None
    if not isinstance(task, LanguageModel):
        raise ConfigError(f"--dynamic learns from a text as it is read, and task {task.name} has none; remove it")
    task.eval_window = task.window
    clip_norm = restored.config.optimizer.clip_norm
    return DynamicEvaluation(restored.model, lr=dynamic.lr, decay=dynamic.decay, clip_norm=clip_norm)
