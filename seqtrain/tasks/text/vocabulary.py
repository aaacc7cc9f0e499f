"""Tokens and their numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from seqtrain.system.errors import DataError

UNK = "<unk>"


class Vocabulary:
    """A two-way table of tokens; whatever is not in it becomes `<unk>`.

    Parameters
    ----------
    tokens : all different; the place of each is its number. Must hold `<unk>`.
    counts : how often each stands in the training text, `<unk>` for all that is left out.

    Raises
    ------
    DataError : there is no `<unk>` among the tokens.
    """

    def __init__(self, tokens: Sequence[str], counts: Sequence[int]) -> None:
        if UNK not in tokens:
            raise DataError(f"the vocabulary of a text model must hold {UNK}; use an undamaged checkpoint")
        self.tokens = list(tokens)
        self.counts = list(counts)
        self.numbers = {token: number for number, token in enumerate(self.tokens)}

    @classmethod
    def count(cls, tokens: Iterable[str] | Mapping[str, int], *, min_count: int, max_size: int | None) -> Self:
        """The vocabulary of a training text.

        Parameters
        ----------
        tokens : of the text, or how often each stands in it.
        min_count : tokens seen less often are left out.
        max_size : keep the most frequent, so many with `<unk>` counted in; equally frequent ones by code point.
        """
        counts = Counter(tokens)
        total = counts.total()
        counts.pop(UNK, None)
        frequent = sorted((t for t, n in counts.items() if n >= min_count), key=lambda t: (-counts[t], t))
        kept = frequent[: None if max_size is None else max_size - 1]
        known = [counts[token] for token in kept]
        return cls([UNK, *kept], [total - sum(known), *known])

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, tokens: Iterable[str]) -> Tensor:
        """Numbers of tokens, `[N]`."""
        unknown = self.numbers[UNK]
        return torch.tensor([self.numbers.get(token, unknown) for token in tokens], dtype=torch.long)
