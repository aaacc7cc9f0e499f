"""The whole model: encoder, stack, head."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqtrain.models.stack import Stack, StackState


class OneHot(nn.Module):
    """Symbols `[T, B]` to one-hot vectors `[T, B, V]`; no parameters."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.rows: Tensor
        self.register_buffer("rows", torch.eye(symbols), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[T, B]` whole numbers below V to `[T, B, V]` zeros and ones."""
        return F.embedding(x, self.rows)


class SequenceModel(nn.Module):
    """Sequences in, one prediction a sequence or one a step out.

    Parameters
    ----------
    encoder : turns the task's inputs into vectors: identity for reals `[T, B, I]`, one-hot or an embedding for
        symbols `[T, B]`.
    stack : the recurrent layers.
    output_size : O, numbers in a prediction (values or class scores).
    every_step : predict at every step rather than after the last.
    """

    def __init__(self, encoder: nn.Module, stack: Stack, output_size: int, *, every_step: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.stack = stack
        self.head = nn.Linear(stack.output_size, output_size)
        self.every_step = every_step

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        state: StackState | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, StackState]:
        """Predict.

        Parameters
        ----------
        inputs : `[T, B, I]` reals or `[T, B]` symbols.
        lengths, state, generator : as in `Stack.forward`.

        Returns
        -------
        outputs : `[T, B, O]` if `every_step`, else `[B, O]`.
        state : where a following window continues.
        """
        outputs, final, state = self.stack(self.encoder(inputs), lengths, state, generator)
        return self.head(outputs if self.every_step else final), state


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers in a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
