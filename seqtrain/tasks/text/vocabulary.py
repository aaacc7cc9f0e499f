"""A vocabulary: the tokens that a model knows, and their numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from seqtrain.system.errors import DataError

UNK = "<unk>"


class Vocabulary:
    """Tokens and their numbers; any other token becomes `<unk>`.

    Parameters
    ----------
    tokens : all different, with `<unk>` among them; the place of a token is its number.
    counts : how often each token occurs in the training text; for `<unk>`, the sum over all tokens that are left out.

    Raises
    ------
    DataError : `<unk>` is missing.
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
        tokens : of the text, or how often each occurs in it.
        min_count : rarer tokens are left out.
        max_size : the largest size, including `<unk>`; the most frequent tokens are kept, sorted by code point if they
            are equally frequent.
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
