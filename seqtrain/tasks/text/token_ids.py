"""The ids of the tokens in a text, in memory or in a mapped file."""

import mmap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20
"""Tokens in memory at a time while a whole text is read."""


class Ids:
    """The ids of a text, read-only.

    Parameters
    ----------
    values : `[N]`.
    mapping : the file that holds `values`; None if memory holds them. Pages that were read count as memory of the
        process until it releases them. This is done before each reading, so that its memory does not grow to the size
        of the file.
    """

    def __init__(self, values: NDArray[np.int32], mapping: mmap.mmap | None = None) -> None:
        self._values, self._mapping = values, mapping

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return self._values[places]

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.int32]]:
        """The ids from `start` to `stop`, in blocks."""
        stop = len(self) if stop is None else stop
        for begin in range(start, stop, BLOCK):
            yield self[begin : min(begin + BLOCK, stop)]


class Text(NamedTuple):
    """A text as numbered tokens.

    ids : of the tokens, in their order.
    types : the different tokens; an id is a place in this list.
    """

    ids: Ids
    types: list[str]
