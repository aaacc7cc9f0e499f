"""A vocabulary: the tokens that a model knows, and their numbers."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from seqtrain.system.errors import DataError

UNK = "<unk>"


class Vocabulary:
    """Tokens and their numbers; any other token becomes `<unk>`, if it is one of them.

    Parameters
    ----------
    tokens : all different; the place of a token is its number. That of a text has `<unk>`, that of stories has not.
    counts : how often each token occurs in the training text; for `<unk>`, the sum over all tokens that are left out.
    """

    def __init__(self, tokens: Sequence[str], counts: Sequence[int]) -> None:
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
        """Numbers of tokens, `[N]`.

        Raises
        ------
        DataError : a token is unknown, and there is no `<unk>`.
        """
        tokens, unknown = list(tokens), self.numbers.get(UNK)
        if unknown is None and (strange := [token for token in tokens if token not in self.numbers]):
            names = ", ".join(map(repr, dict.fromkeys(strange)))
            raise DataError(
                f"not in the vocabulary: {names}; the model has no {UNK}: use words of its stories, which it writes "
                "without a prompt"
            )
        return torch.tensor([self.numbers.get(token, unknown) for token in tokens], dtype=torch.long)
