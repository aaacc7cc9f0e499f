"""The running mean of a model's weights, which often predicts better than where the weights happen to stand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn


class Average:
    """The mean of the weights after each of some training steps (Polyak & Juditsky 1992).

    Attributes
    ----------
    count : weights averaged so far.
    weights : their mean, by the names of the parameters; empty at first.
    """

    def __init__(self, count: int = 0, weights: dict[str, Tensor] | None = None) -> None:
        self.count = count
        self.weights = weights or {}

    @torch.no_grad()
    def add(self, model: nn.Module) -> None:
        """Take the weights as they are now into the mean."""
        self.count += 1
        for name, parameter in model.named_parameters():
            if self.count == 1:
                self.weights[name] = parameter.clone()
            else:
                self.weights[name].lerp_(parameter, 1 / self.count)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """Give the model the mean for the body, and then its own weights back."""
        own = {name: parameter.data for name, parameter in model.named_parameters()}
        for name, parameter in model.named_parameters():
            parameter.data = self.weights.get(name, own[name])
        try:
            yield
        finally:
            for name, parameter in model.named_parameters():
                parameter.data = own[name]

    def content(self, model: nn.Module) -> dict[str, Any]:
        """For a checkpoint whose model is the mean: how many weights are in it, and the model's own."""
        return {"count": self.count, "weights": dict(model.named_parameters())}

    @classmethod
    @torch.no_grad()
    def restore(cls, content: dict[str, Any], model: nn.Module) -> Self:
        """The mean that the model now holds, and the model's own weights back in it."""
        average = cls(content["count"])
        for name, parameter in model.named_parameters():
            if average.count:
                average.weights[name] = parameter.clone()
            parameter.copy_(content["weights"][name])
        return average
