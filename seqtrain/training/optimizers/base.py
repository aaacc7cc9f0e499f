"""What an optimizer is: a section of a config that builds one of torch's."""

import inspect
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from seqtrain.system.settings import Fraction, Named, Positive


class Optimizer(Named):
    """What all optimizers take. Except for `clip_norm`, the settings are those of the torch class."""

    torch_class: ClassVar[Any]
    """The class of `torch.optim`."""
    form: ClassVar[str] = "fused"
    """The fastest form that torch has of it."""
    moments: ClassVar[int] = 0
    """Numbers that it keeps for each weight, momentum aside."""

    lr: Positive = 1e-3
    """Learning rate, before the schedule."""
    clip_norm: Positive | None = 1.0
    """Largest global gradient norm; null for no clipping."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Pull of the weights to zero: decoupled in adamw, in the gradient elsewhere."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in self.options().items()}
        del options["clip_norm"]
        weights = list(parameters)
        form = {self.form: not any(weight.is_complex() for weight in weights)}  # those forms take real numbers only
        built: torch.optim.Optimizer = eager(self.torch_class)(weights, **options, **form)
        return built

    def numbers_per_weight(self) -> int:
        """Numbers that it keeps for each weight."""
        return self.moments + (getattr(self, "momentum", 0) > 0)


@cache
def eager(torch_class: Any) -> Any:
    """The same class of optimizers, which does not load PyTorch's compiler.

    PyTorch loads it to exclude methods of optimizers from compilation. That takes nearly as long as to load the rest of
    PyTorch, and nothing is compiled here. If another version of PyTorch does it in another way, the compiler is loaded.
    """
    for method in (one for parent in torch_class.__mro__ for one in vars(parent).values()):
        if "disable_fn" in getattr(getattr(method, "__code__", None), "co_varnames", ()):
            method.__wrapped__.__dynamo_disable = method.__wrapped__  # where PyTorch keeps the method that it excluded
    step = torch.no_grad()(inspect.unwrap(torch_class.step))  # its wrapper asks the compiler for breaks in a graph
    return type(torch_class.__name__, (torch_class,), {"step": step})


class Momentum(Optimizer):
    """What optimizers with momentum take."""

    momentum: Fraction = 0.0
    """Decay of the running gradient."""


class Moments(Optimizer):
    """What optimizers with two running moments take."""

    moments = 2

    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]  # noqa: RUF012
    """Decay of the two running moments."""
    eps: Positive = 1e-8
    """Added to the denominator."""
