"""A text as ids of its tokens, in memory or in a mapped file."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqtrain.tasks.text.tokenizer import EOS

BLOCK = 1 << 20
"""Tokens in memory at a time while a whole text is read."""

BEGINNING = 1 << 16
"""Characters by which a text is judged."""


@dataclass(frozen=True, eq=False)
class Ids:
    """The ids of a text, read-only.

    values : `[N]`.
    mapping : the file that holds `values`; None if memory holds them. Pages that were read count as memory of the
        process until it releases them. This is done before each reading, so that its memory does not grow to the size
        of the file.
    """

    values: NDArray[np.int32]
    mapping: mmap.mmap | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        if self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)
        return self.values[places]

    def blocks(self, start: int = 0) -> Iterator[NDArray[np.int32]]:
        """The ids from `start` on, in blocks."""
        for _, block in self.numbered_blocks(start):
            yield block

    def numbered_blocks(self, start: int = 0) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Likewise, each with its place in the text."""
        for begin in range(start, len(self), BLOCK):
            yield begin, self[begin : begin + BLOCK]


class Text(NamedTuple):
    """A text, or a part of one, as numbered tokens.

    ids : of the tokens, in their order.
    types : the different tokens of the whole text; an id is a place in this list.
    """

    ids: Ids
    types: list[str]

    def part(self, start: int, stop: int) -> "Text":
        """The tokens from `start` to `stop`."""
        return Text(Ids(self.ids.values[start:stop], self.ids.mapping), self.types)

    def places_of(self, token: str) -> NDArray[np.int64]:
        """Where a token stands, `[N]`; nowhere if it is not in the text."""
        number = self.types.index(token) if token in self.types else -1
        parts = [start + np.flatnonzero(block == number) for start, block in self.ids.numbered_blocks()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def characters(self, first: int = 1) -> int:
        """Characters of its words from the token `first` on, with one for the space or line end after each word."""
        sizes = np.array([0 if token == EOS else len(token) + 1 for token in self.types])
        line_end = np.array([token == EOS for token in self.types])
        count = 0
        before = first == 0 or bool(line_end[self.ids[first - 1 : first]].all())
        for block, ends, after in self._with_previous(line_end, before, first):
            count += int(sizes[block].sum()) + int((ends & after).sum())  # an empty line has its line end only
        return count

    def words(self, first: int = 1) -> int:
        """Words and line ends from the token `first` on in a part of characters; a word counts where it begins."""
        space = np.array([character.isspace() for character in self.types])
        line_end = np.array([character == "\n" for character in self.types])
        count = 0
        for block, spaces, after in self._with_previous(space, True, first):
            count += int((~spaces & after).sum()) + int(line_end[block].sum())
        return count

    def beginning(self) -> str:
        """The first characters of a part of characters."""
        return "".join(map(self.types.__getitem__, self.ids[:BEGINNING].tolist()))

    def _with_previous(self, flags: NDArray[np.bool_], before: bool, first: int) -> Iterator[tuple[NDArray[Any], ...]]:
        """Blocks of ids from `first` on, the flag of each, and that of the id before (`before` at the start)."""
        for block in self.ids.blocks(first):
            current = flags[block]
            yield block, current, np.concatenate(([before], current[:-1]))
            before = bool(current[-1])

    def counts(self) -> dict[str, int]:
        """How often each token occurs."""
        counts = np.zeros(len(self.types), np.int64)
        for block in self.ids.blocks():
            counts += np.bincount(block, minlength=len(self.types))
        return {token: count for token, count in zip(self.types, counts.tolist(), strict=True) if count}
