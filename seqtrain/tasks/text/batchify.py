"""A long text in columns that a recurrent network reads in parallel, window after window.

text      a b c d e f g h i j k l m n
columns   a e i        window 1   a e i      inputs; the targets are one token further: b f j
          b f j                   b f j                                                  c g k
          c g k        window 2   c g k      continues with the state after window 1
          d h l
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.tasks.text.corpus import Tokens


class Columns(NamedTuple):
    """Contiguous pieces of a text in parallel.

    Every token except the first one is a target exactly once.

    tokens : of the text.
    begins : `[B]`, the place in the text where each column begins.
    lengths : `[B]`, predictions in each column: L, or less in the last columns.
    """

    tokens: Tokens
    begins: NDArray[np.int64]
    lengths: Tensor

    def window(self, start: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets `[T, B]` from step `start` on, T at most `size`, and their lengths `[B]`."""
        stop = min(start + size, self.length)
        tokens = self.tokens.at(self.begins[:, None] + np.arange(start, stop + 1)).t()  # [T + 1, B]
        return tokens[:-1], tokens[1:], (self.lengths - start).clamp(0, stop - start)

    def starts(self, size: int) -> range:
        """The first steps of the windows of a size."""
        return range(0, self.length, size)

    @property
    def length(self) -> int:
        """L, the predictions in the longest column."""
        return int(self.lengths[0])


def make_columns(tokens: Tokens, count: int) -> Columns:
    """Cut a text into at most `count` columns of equal length; the last ones may be shorter or missing."""
    predictions = len(tokens) - 1
    length = -(-predictions // count)  # rounded up
    used = -(-predictions // length)
    begins = np.arange(used) * length
    return Columns(tokens, begins, torch.from_numpy(predictions - begins).clamp(max=length))
