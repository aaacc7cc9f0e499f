"""Dynamic evaluation: a model goes on learning from a text while it is evaluated on it."""

import torch
from torch import Tensor, nn

from seqtrain.system.errors import Diverged


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
        self.model = model
        self.lr = lr
        self.decay = decay
        self.clip_norm = clip_norm
        self.trained = [parameter.detach().clone() for parameter in model.parameters()]

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
        self.model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = list(self.model.parameters())
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        with torch.no_grad():
            for parameter, trained in zip(parameters, self.trained, strict=True):
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-self.lr)
                if self.decay:
                    parameter.lerp_(trained, self.decay)
