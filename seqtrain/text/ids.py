"""The ids of a text's tokens: one number a token."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20
"""Tokens that a pass through a whole text holds at a time."""


class Ids:
    """The ids of a text, read-only.

    Parameters
    ----------
    values : `[N]`.
    """

    def __init__(self, values: NDArray[np.int32]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        return self._values[places]

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.int32]]:
        """The ids from `start` to `stop`, some at a time."""
        stop = len(self) if stop is None else stop
        for begin in range(start, stop, BLOCK):
            yield self[begin : min(begin + BLOCK, stop)]


class Text(NamedTuple):
    """A text whose tokens are numbered.

    ids : of the tokens, in their order.
    types : the different tokens; an id is the place of its token here.
    """

    ids: Ids
    types: list[str]
