"""What `seqtrain check` tests about a task of the user's own, beside what it tests about the model."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seqtrain.models import Prediction, SequenceModel
from seqtrain.system.rng import generator
from seqtrain.tasks import Batch, Task
from seqtrain.tasks.base import HELD_OUT
from seqtrain.training.loop import evaluate

CLOSE = 1e-4
"""Largest difference between two ways to compute the same in single precision, relative to the largest value."""


class Finding(NamedTuple):
    """Whether one promise holds, None if it does not apply here, and the observation."""

    promise: str
    holds: bool | None
    found: str


def check_task(model: SequenceModel, task: Task, batch_size: int, steps: int) -> Iterator[Finding]:
    """Test what can be tested, and name what can not.

    Parameters
    ----------
    batch_size, steps : of the training whose batches are looked at.
    """
    yield scored_steps(task, next(iter(task.eval_batches("valid", batch_size))))
    yield sums(model, task)
    yield not_proved(task, batch_size, steps)


def scored_steps(task: Task, batch: Batch) -> Finding:
    """The loss and the metrics do not depend on what a model says where it is not asked."""
    T, B = batch.inputs.shape[:2]
    ignored = torch.zeros(T, B, dtype=torch.bool) if batch.scored is None else ~batch.scored
    if batch.lengths is not None:
        ignored = ignored | (torch.arange(T)[:, None] >= batch.lengths)
    if not (task.every_step and bool(ignored.any())):
        return Finding("scored steps", None, "every prediction counts, none stands on padding or is left out")
    outputs = torch.randn(T, B, task.output_size, generator=generator("outputs"))
    others = torch.where(ignored[..., None], outputs.flip(0) + 10, outputs)
    one, other = (_figures(task, batch, values) for values in (outputs, others))
    differ = [name for name in one if abs(one[name] - other[name]) > CLOSE * max(1.0, abs(one[name]))]
    what = f"other outputs at {int(ignored.sum())} steps that are padding or not scored"
    return Finding(
        "scored steps", not differ, f"{what}: {', '.join(differ)} differ" if differ else f"{what}: the same figures"
    )


def _figures(task: Task, batch: Batch, outputs: Tensor) -> dict[str, float]:
    prediction = Prediction(nn.Identity(), outputs, outputs)
    total, count = task.loss(prediction, batch)
    return {"loss": float(total) / count, **task.measure(prediction, batch).means()}


def sums(model: SequenceModel, task: Task) -> Finding:
    """The figures on a set do not depend on how many sequences are evaluated side by side."""
    size = task.evaluated_together(None)
    small = max(1, size // 3)
    one, other = (evaluate(model, task, "valid", number) for number in (size, small))
    worst = max(one, key=lambda name: abs(one[name] - other[name]) / max(1e-12, abs(one[name])))
    off = abs(one[worst] - other[worst]) / max(1e-12, abs(one[worst]))
    what = f"the validation set evaluated {size} and {small} at a time"
    return Finding("batch size", off <= CLOSE, f"{what}: {worst} differs most, by {off:.1g}")


def not_proved(task: Task, batch_size: int, steps: int) -> Finding:
    """What only the author of a task can know, with the training sequences that are also evaluated."""
    held_out = {key for split in HELD_OUT for batch in task.eval_batches(split, batch_size) for key in _keys(batch)}
    trained = [key for step in range(steps) for key in _keys(task.train_batch(step, batch_size))]
    shared = sum(key in held_out for key in trained)
    return Finding(
        "your task",
        None,
        "not proved: that the targets are right, that the baseline is the best guess without a memory, and that "
        f"`solved` is a fair rule; {shared} of the first {len(trained)} training sequences are also in the validation "
        "or test set",
    )


def _keys(batch: Batch) -> list[bytes]:
    """Identifies each sequence of a batch with its targets."""
    columns = (batch.columns(torch.tensor([column])) for column in range(batch.size))
    own = (column if column.lengths is None else column.rows(0, 1) for column in columns)
    return [b"".join(part.contiguous().numpy().tobytes() for part in (one.inputs, one.targets)) for one in own]
