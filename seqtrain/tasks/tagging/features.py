"""What a model reads of a word: the word, its last characters, and its shape, each a symbol of an alphabet of its own.

    Hopping     the word Hopping     -g     -ng     -ing     capital

The alphabets are joined into one, in this order, and a model adds the vectors of the symbols, as fastText does
(Bojanowski et al. 2017). Each alphabet has an `<unk>` of its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from seqtrain.tasks.text.vocabulary import Vocabulary

MOST_SUFFIXES = 5


def shape_of(word: str) -> str:
    """The shape of a word: its capitals, and whether it has a digit, a hyphen, or other characters."""
    letters = [letter for letter in word if letter.isalpha()]
    if not letters:
        case = "none"
    elif all(letter.isupper() for letter in letters):
        case = "capitals" if len(letters) > 1 else "capital"
    elif word[0].isupper():
        case = "capital"
    else:
        case = "mixed" if any(letter.isupper() for letter in letters) else "lower"
    other = any(not character.isalnum() and character != "-" for character in word)
    marks = (("digit", any(map(str.isdigit, word))), ("hyphen", "-" in word), ("other", other))
    return " ".join([case, *(name for name, has in marks if has)])


def parts_of(word: str, suffixes: int, *, shape: bool) -> list[str]:
    """The word, its last 1 to `suffixes` characters, and its shape if that is asked for."""
    ends = [word[-size:] for size in range(1, suffixes + 1)]
    return [word, *ends, *([shape_of(word)] if shape else [])]


def count_alphabets(
    words: Mapping[str, int], suffixes: int, *, shape: bool, min_count: int, max_size: int | None
) -> list[list[str]]:
    """The alphabets of a training text.

    Parameters
    ----------
    words : how often each occurs in it.
    min_count : rarer words, suffixes and shapes become `<unk>`.
    max_size : the largest size of the alphabet of words.
    """
    counters = [Counter[str]() for _ in range(1 + suffixes + shape)]
    for word, count in words.items():
        for counter, part in zip(counters, parts_of(word, suffixes, shape=shape), strict=True):
            counter[part] += count
    limits = [max_size, *[None] * (len(counters) - 1)]
    return [
        Vocabulary.count(counter, min_count=min_count, max_size=limit).tokens
        for counter, limit in zip(counters, limits, strict=True)
    ]


def symbols_of(types: Sequence[str], alphabets: Sequence[Sequence[str]], suffixes: int, *, shape: bool) -> Tensor:
    """The symbols of words in the joint alphabet, `[N, F]`, or `[N]` if that is only the word."""
    known = [Vocabulary(alphabet, [0] * len(alphabet)) for alphabet in alphabets]
    starts = np.cumsum([0, *map(len, known)])[:-1].tolist()
    columns = zip(*(parts_of(word, suffixes, shape=shape) for word in types), strict=True)
    encoded = [own.encode(column) + start for own, column, start in zip(known, columns, starts, strict=True)]
    return torch.stack(encoded, 1) if len(encoded) > 1 else encoded[0]
