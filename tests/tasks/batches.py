"""What the tests of tasks share: make a task, read its batches, and answer them."""

import inspect

import torch

from seqtrain.tasks import TASKS, Batch

NUMBERS = ("adding", "multiplication")
"""Tasks whose targets are real numbers."""


def make(name, options, seed=5, **sizes):
    """A task; sizes of fixed sets that it does not have are ignored."""
    allowed = inspect.signature(TASKS[name]).parameters
    return TASKS[name](seed=seed, **options, **{size: n for size, n in sizes.items() if size in allowed})


def columns(batch):
    """Each sequence as lists of inputs and targets, without padding."""
    for column in range(batch.size):
        length = len(batch.inputs) if batch.lengths is None else int(batch.lengths[column])
        by_step = batch.targets.shape[:2] == batch.inputs.shape[:2]
        targets = batch.targets[:length, column] if by_step else batch.targets[column]
        yield batch.inputs[:length, column].tolist(), targets.tolist()


def same(a, b):
    """Whether two batches are equal."""
    parts = ((getattr(a, f), getattr(b, f)) for f in Batch.__dataclass_fields__)
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in parts)


def perfect(task, batch):
    """Outputs that are right at every step."""
    if task.name in NUMBERS:
        return batch.targets.clone()
    if batch.targets.dtype.is_floating_point and task.spec.every_step:
        return batch.targets * 100 - 50
    if batch.targets.dtype.is_floating_point:
        return batch.targets[:, 1:].clone()
    return torch.nn.functional.one_hot(batch.targets, task.spec.output_size) * 50.0
