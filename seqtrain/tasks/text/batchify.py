"""A long text in columns that a recurrent network reads in parallel, window after window.

text      a b c d e f g h i j k l m n
columns   a e i        window 1   a e i      inputs; the targets are one token further: b f j
          b f j                   b f j                                                  c g k
          c g k        window 2   c g k      continues with the state after window 1
          d h l
"""

import numpy as np
import torch
from torch import Tensor

from seqtrain.tasks.text.corpus import Tokens


class Columns:
    """Contiguous pieces of a text in parallel, all of one length; the last ones may be shorter or missing.

    Every token except the first one is a target exactly once.

    Parameters
    ----------
    tokens : of the text.
    count : the columns at most.

    Attributes
    ----------
    begins : `[B]`, the place in the text where each column begins.
    lengths : `[B]`, predictions in each column: L, or less in the last columns.
    length : L.
    """

    def __init__(self, tokens: Tokens, count: int) -> None:
        predictions = len(tokens) - 1
        self.length = -(-predictions // count)  # rounded up
        self.begins = np.arange(0, predictions, self.length)
        self.lengths = torch.from_numpy(predictions - self.begins).clamp(max=self.length)
        self._tokens = tokens

    def window(self, start: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and targets `[T, B]` from step `start` on, T at most `size`, and their lengths `[B]`."""
        stop = min(start + size, self.length)
        tokens = self._tokens.at(self.begins[:, None] + np.arange(start, stop + 1)).t()  # [T + 1, B]
        return tokens[:-1], tokens[1:], (self.lengths - start).clamp(0, stop - start)

    def starts(self, size: int) -> range:
        """The first steps of the windows of a size."""
        return range(0, self.length, size)
