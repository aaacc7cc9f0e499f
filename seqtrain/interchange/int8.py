"""Weights of eight bits: whole numbers from -127 to 127 with one scale for each row of a matrix.

    scale = max |w| / 127,  w ~ scale * round(w / scale)

It is symmetric, so that zero stays zero. A row makes one number of a product, or is the vector of one symbol: its scale
is a factor of the result.
"""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from seqtrain.inference.load import Trained, restore
from seqtrain.system.errors import SeqtrainError
from seqtrain.training.loop import evaluate

LARGEST = 127


class Rounded(NamedTuple):
    """A matrix in eight bits.

    numbers : `[R, C]` int8.
    scale : `[R]`.
    """

    numbers: Tensor
    scale: Tensor

    @property
    def weight(self) -> Tensor:
        """`[R, C]`, what it stands for."""
        return self.scale[:, None] * self.numbers


def rounded(weight: Tensor) -> Rounded:
    """A matrix `[R, C]` in eight bits; a row whose scale would be subnormal is zero."""
    weight = weight.detach().double()
    scale = (weight.abs().amax(1) / LARGEST).float()
    is_zero = scale < torch.finfo(torch.float32).tiny
    scale = scale.masked_fill(is_zero, 0.0)
    divisor = scale.masked_fill(is_zero, 1.0).double()[:, None]
    return Rounded((weight / divisor).round().to(torch.int8), scale)


class Losses(NamedTuple):
    """The loss of a model on the test set before and after its matrices were rounded.

    figures : `loss` by `float32` and `int8`; None if it was not measured.
    reason : why it was not.
    """

    figures: dict[str, dict[str, float | None]]
    reason: str | None = None


def losses(trained: Trained, matrices: Collection[str]) -> Losses:
    """Measure what rounding costs.

    Parameters
    ----------
    matrices : the names of the weights that are rounded.
    """
    names = ("float32", "int8")
    try:
        restored = restore(trained.path, ["device=cpu", f"engine={trained.config.engine}"], quiet=True)
        model, task = restored.model, restored.task
        model.precision = "float32"  # as C computes, whatever the training did
        batch_size = task.evaluated_together(restored.config.train.eval_batch_size)
        found = [evaluate(model, task, "test", batch_size)["loss"]]
        with torch.no_grad():
            for name in matrices:
                parameter = model.get_parameter(name)
                parameter.copy_(rounded(parameter).weight)
        found.append(evaluate(model, task, "test", batch_size)["loss"])
    except SeqtrainError as error:
        return Losses({name: {"loss": None} for name in names}, str(error))
    return Losses({name: {"loss": loss} for name, loss in zip(names, found, strict=True)})
