"""The running mean of a model's weights, which often predicts better than the weights themselves."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from seqtrain.models.layout import copied


def averaged(model: nn.Module) -> AveragedModel:
    """A copy of a model whose weights become the mean of all later weights (Polyak & Juditsky 1992).

    `update_parameters(model)` adds the weights of the model to the mean.
    """
    return AveragedModel(copied(model), multi_avg_fn=_add)


@torch.no_grad()
def _add(means: tuple[Tensor, ...] | list[Tensor], weights: tuple[Tensor, ...] | list[Tensor], n: Tensor | int) -> None:
    """mean = mean + (weights - mean) / (n + 1), with a quotient in double precision (PyTorch's own is in single)."""
    if means[0].is_floating_point() or means[0].is_complex():  # they have one type; whole numbers are not trained
        torch._foreach_lerp_(means, weights, 1 / (int(n) + 1))
