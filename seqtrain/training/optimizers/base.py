"""What an optimizer is: a section of a config that builds one of torch's."""

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqtrain.system.settings import Fraction, Named, Positive


class Optimizer(Named):
    """What all optimizers take. Except for `clip_norm`, the settings are those of the torch class."""

    torch_class: ClassVar[Any]
    """The class of `torch.optim`."""
    form: ClassVar[str] = "fused"
    """The fastest form that torch has of it."""
    quick_step: ClassVar[Callable[[Any], None] | None] = None
    """A quicker way to do its step in the fused form, for weights of one type on one device."""
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
        are_alike = len({(weight.dtype, weight.device) for weight in weights}) == 1
        torch_class = eager(self.torch_class, type(self).quick_step if are_alike and form.get("fused") else None)
        built: torch.optim.Optimizer = torch_class(weights, **options, **form)
        return built

    def numbers_per_weight(self) -> int:
        """Numbers that it keeps for each weight."""
        return self.moments + (getattr(self, "momentum", 0) > 0)


@cache
def eager(torch_class: Any, step: Callable[[Any], None] | None = None) -> Any:
    """The same class of optimizers, which does not load PyTorch's compiler, perhaps with another way to do its step.

    PyTorch loads it to exclude methods of optimizers from compilation. That takes nearly as long as to load the rest of
    PyTorch, and nothing is compiled here. If another version of PyTorch does it in another way, the compiler is loaded.
    """
    for method in (one for parent in torch_class.__mro__ for one in vars(parent).values()):
        if "disable_fn" in getattr(getattr(method, "__code__", None), "co_varnames", ()):
            method.__wrapped__.__dynamo_disable = method.__wrapped__  # where PyTorch keeps the method that it excluded
    step = step or inspect.unwrap(torch_class.step)  # its wrapper asks the compiler for breaks in a graph
    own: Any = torch.no_grad()(step)
    own.hooked = True  # by a profiler, as PyTorch reads it; the hook takes as long as a small update
    return type(torch_class.__name__, (torch_class,), {"step": own})


def fused_step(optimizer: torch.optim.Adam) -> None:
    """A step of Adam or AdamW in a third of the time: PyTorch's own sorts the weights by type and device first."""
    (group,) = optimizer.param_groups
    beta1, beta2 = group["betas"]
    lists: tuple[list[Tensor], ...] = ([], [], [], [], [], [])  # weights, gradients, moments, steps
    optimizer._init_group(group, *lists)  # type: ignore[no-untyped-call]
    if not lists[0]:
        return
    update = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    torch._foreach_add_(lists[-1], 1)
    update(
        *lists,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


class Momentum(Optimizer):
    """What optimizers with momentum take."""

    momentum: Fraction = 0.0
    """Decay of the running gradient."""


class Moments(Optimizer):
    """What optimizers with two running moments take."""

    quick_step = fused_step
    moments = 2

    betas: Annotated[list[Fraction], Field(min_length=2, max_length=2)] = [0.9, 0.999]  # noqa: RUF012
    """Decay of the two running moments."""
    eps: Positive = 1e-8
    """Added to the denominator."""
