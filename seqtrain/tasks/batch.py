"""A batch: sequences side by side, and what to predict about them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Sequences padded to one length, and what to predict about them.

    inputs : `[T, B, I]` real numbers, or `[T, B]` symbols.
    targets : `[T, B]` symbols, `[T, B, V]` sets of symbols (1 for a symbol in the set, else 0), `[B]` classes, or
        `[B, O]` real numbers.
    lengths : `[B]`; None if every sequence has T steps.
    scored : `[T, B]` bool, the steps that count in the loss; None for all.
    marks : `[T, B]` whole numbers with a meaning that the task defines; None if it needs none.
    fresh : False if the sequences continue those of the previous batch, so that the state is carried over.
    lr_factor : factor on the learning rate of a training step with this batch.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    scored: Tensor | None = None
    marks: Tensor | None = None
    fresh: bool = True
    lr_factor: float = 1.0

    @property
    def size(self) -> int:
        """B."""
        return self.inputs.shape[1]

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by the name of their field, without those that are None."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def rows(self, start: int, stop: int) -> Self:
        """The sequences from `start` to `stop`, cut to the longest of them."""
        whole = self.inputs.shape[:2]
        T = whole[0] if self.lengths is None else int(self.lengths[start:stop].max())
        return self._map(lambda x: x[:T, start:stop] if x.shape[:2] == whole else x[start:stop])

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        return self._map(lambda x: x.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The batch with every tensor changed."""
        changed: Any = {name: change(tensor) for name, tensor in self.tensors().items()}
        return replace(self, **changed)
