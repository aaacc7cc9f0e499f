"""A long text as columns that a recurrent network reads side by side, window after window.

text      a b c d e f g h i j k l m n
columns   a e i        window 1   a e i      inputs; the targets are one token further: b f j
          b f j                   b f j                                                  c g k
          c g k        window 2   c g k      here the state after window 1 goes on
          d h l
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Columns(NamedTuple):
    """Contiguous pieces of a text side by side.

    inputs, targets : `[L, B]`; every token but the first is a target exactly once.
    lengths : `[B]`, tokens in each column: L, but for the last columns.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor

    def window(self, start: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets `[T, B]` from step `start` on, T at most `size`, and the lengths `[B]` within."""
        inputs, targets = self.inputs[start : start + size], self.targets[start : start + size]
        return inputs, targets, (self.lengths - start).clamp(0, len(inputs))

    def starts(self, size: int) -> range:
        """Where the windows of a given size start."""
        return range(0, len(self.inputs), size)


def make_columns(tokens: Tensor, count: int) -> Columns:
    """Cut `tokens` `[N]` into at most `count` columns of equal length, the last ones shorter or left out."""
    predictions = len(tokens) - 1
    length = -(-predictions // count)  # rounded up
    used = -(-predictions // length)
    padded = torch.zeros(length * used + 1, dtype=tokens.dtype)
    padded[: len(tokens)] = tokens
    starts = torch.arange(used) * length
    return Columns(
        padded[:-1].view(used, length).t(),
        padded[1:].view(used, length).t(),
        (predictions - starts).clamp(max=length),
    )
