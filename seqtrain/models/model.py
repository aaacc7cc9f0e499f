"""The model: encoder, stack, head."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from seqtrain.models.dropout import NO_DROPOUT, Dropout, embed
from seqtrain.models.head import TiedHead, cross_entropy
from seqtrain.models.stack import Stack, StackState
from seqtrain.native.storage import Precision

Products = Callable[[], AbstractContextManager[Any]]


class OneHot(nn.Module):
    """Symbols `[T, B]` to one-hot vectors `[T, B, V]`, or `[T, B, F]` to sums of F such vectors; without parameters."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.symbols = symbols
        self.one: Tensor
        self.register_buffer("one", torch.ones(()), persistent=False)  # of the type and on the device of the model

    def forward(self, x: Tensor) -> Tensor:
        """Whole numbers below V to `[T, B, V]`: how often each is at a step, which is 0 or 1 for `[T, B]`."""
        several = x if x.dim() == 3 else x.unsqueeze(-1)
        one = self.one.expand(several.shape)
        return self.one.new_zeros(*several.shape[:-1], self.symbols).scatter_add_(-1, several, one)


class Prediction:
    """The predictions of a model for a batch; the scores are computed when they are first used.

    Attributes
    ----------
    features : `[T, B, H]` or `[B, H]`, the input of the head.
    activations : `[T, B, H]` outputs of the last layer, before output dropout.
    products : a context in which the head computes its products, see `SequenceModel.products`.
    fused_loss : as that of `SequenceModel`.
    """

    def __init__(
        self,
        head: nn.Module,
        features: Tensor,
        activations: Tensor,
        products: Products = nullcontext,
        *,
        fused_loss: bool = False,
    ) -> None:
        self.features = features
        self.activations = activations
        self._head = head
        self._products = products
        self._fused_loss = fused_loss

    @cached_property
    def outputs(self) -> Tensor:
        """`[T, B, O]` or `[B, O]`."""
        return self.score(self.features)

    def score(self, features: Tensor) -> Tensor:
        """The head's scores for any features: `[..., H]` to `[..., O]`."""
        with self._products():
            outputs: Tensor = self._head(features)
        return outputs

    def cross_entropy(self, targets: Tensor, scored: Tensor | None = None) -> tuple[Tensor, int]:
        """Sum in nats over the targets `[T, B]` or `[B]` that `scored` selects, and their number."""
        if scored is None:
            features, targets = self.features.flatten(0, -2), targets.flatten()
        else:
            features, targets = self.features[scored], targets[scored]
        with self._products():
            return cross_entropy(self._head, features, targets, fused=self._fused_loss), targets.numel()


class SequenceModel(nn.Module):
    """Gives one prediction for each sequence, or one for each step.

    Parameters
    ----------
    encoder : from the inputs of a task to vectors: identity for real numbers `[T, B, I]`, one-hot or an embedding for
        symbols `[T, B]`, or a sum of these for `[T, B, F]`.
    stack : the recurrent layers.
    head : from features to O numbers (values, class scores, or log-probabilities).
    every_step : predict at every step rather than after the last one.
    dropout : before and after the stack; the stack has its own.

    Attributes
    ----------
    precision : of the factors of matrix products; sums, states and weights are float32.
    fused_loss : compute the head and the cross-entropy together in the engine where that is faster; by default not.
    """

    def __init__(
        self,
        encoder: nn.Module,
        stack: Stack,
        head: nn.Module,
        *,
        every_step: bool,
        dropout: Dropout = NO_DROPOUT,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.stack = stack
        self.head = head
        self.every_step = every_step
        self.dropout = dropout
        self.precision: Precision = "float32"
        self.fused_loss = False

    def forward(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        state: StackState | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, StackState]:
        """Outputs `[T, B, O]` if `every_step`, else `[B, O]`, and the state; see `predict`."""
        prediction, state = self.predict(inputs, lengths, state, generator)
        return prediction.score(prediction.features), state  # torch.export cannot follow a cached property

    def predict(
        self,
        inputs: Tensor,
        lengths: Tensor | None = None,
        state: StackState | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Prediction, StackState]:
        """Predict; the scores are computed when they are first used.

        Parameters
        ----------
        inputs : `[T, B, I]` real numbers, `[T, B]` symbols, or `[T, B, F]` symbols whose vectors are added.
        lengths, state : as in `Stack.forward`.
        generator : draws the dropout masks; needed in training if there is dropout.

        Returns
        -------
        prediction : at every step or after the last one.
        state : the start of the next window.
        """
        dropout, head = self.dropout if self.training else NO_DROPOUT, self.head
        if isinstance(self.encoder, nn.Embedding):
            weight, sparse = self.encoder.weight, False
            if self.fused_loss and isinstance(head, TiedHead) and head.can_share():
                weight, head, sparse = *head.share(), True
            x = embed(inputs, weight, dropout.embedding_dropout, generator, sparse=sparse)
        else:
            x = self.encoder(inputs)
        x = dropout.features(x, dropout.input_dropout, generator)
        with self.products():
            outputs, final, state = self.stack(x, lengths, state, generator)
        features = dropout.features(outputs if self.every_step else final, dropout.output_dropout, generator)
        return Prediction(head, features, outputs, self.products, fused_loss=self.fused_loss), state

    def products(self) -> AbstractContextManager[Any]:
        """A context in which matrix products have the model's precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(next(self.parameters()).device.type, torch.bfloat16)


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers in a model."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
