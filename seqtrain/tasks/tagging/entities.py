"""Entities in tags such as `B-PER I-PER O`, and how many are found, by the definition of `conlleval`.

The script `conlleval` of the shared tasks of CoNLL 2000 to 2003 (Tjong Kim Sang & Buchholz 2000) counts an entity as
found if its first word, its last word and its type are right. A word goes on with the entity of the word before if

    the tag before begins with B or I, its own with I, E or L, and both have the same type;

every other tag but `O` begins an entity. So `O I-PER` begins one, too. E and S end an entity (IOBES), as do L and U
(BILOU); in IOB and IOB2 there is neither.
"""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

OUTSIDE = "O"
TAG = re.compile(r"([BIESLU])(?:-(.+))?")
SCHEMES = (frozenset("BI"), frozenset("BIES"), frozenset("BILU"))
GOES_ON, CONTINUES = "BI", "IEL"
"""Prefixes of a tag after which an entity may go on, and of one that continues it."""


def are_entities(tags: Sequence[str]) -> bool:
    """Whether all tags are those of one scheme, so that they mark entities."""
    matches = [TAG.fullmatch(tag) for tag in tags if tag != OUTSIDE]
    prefixes = {match[1] for match in matches if match}
    typed = {match[2] is not None for match in matches if match}
    return all(matches) and len(typed) == 1 and any(prefixes <= scheme for scheme in SCHEMES)


class Entities:
    """Counts entities.

    Parameters
    ----------
    tags : their names; a tag that is not of a scheme is outside of all entities.
    """

    def __init__(self, tags: Sequence[str]) -> None:
        parts = [match.groups() if (match := TAG.fullmatch(tag)) else None for tag in tags]
        self.outside = len(tags)
        names = {part[1]: number for number, part in enumerate(parts) if part}
        self._type = torch.tensor([*(names[part[1]] if part else -1 for part in parts), -1])
        joins = torch.zeros(len(tags) + 1, len(tags) + 1, dtype=torch.bool)
        for before, first in enumerate(parts):
            for own, second in enumerate(parts):
                if first and second and first[1] == second[1]:
                    joins[before, own] = first[0] in GOES_ON and second[0] in CONTINUES
        self._joins = joins

    def spans(self, tags: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where entities begin, the last step of each, and its type, given `[T, B]` tags; `outside` for padding.

        All three are `[T, B]`; the last two have a meaning where an entity begins.
        """
        T = len(tags)
        is_part = self._type[tags] >= 0
        joined = torch.zeros_like(is_part)
        joined[1:] = self._joins[tags[:-1], tags[1:]]
        ends = is_part.clone()
        ends[:-1] &= ~joined[1:]
        steps = torch.arange(T)[:, None].expand(T, tags.shape[1])
        last = steps.where(ends, T).flip(0).cummin(0).values.flip(0)
        return is_part & ~joined, last, self._type[tags]

    def count(self, guess: Tensor, gold: Tensor, scored: Tensor) -> tuple[int, int, int]:
        """How many entities are right, how many are guessed, and how many there are, given `[T, B]` tags."""
        (first, last, kind), (gold_first, gold_last, gold_kind) = (
            self.spans(tags.where(scored, self.outside)) for tags in (guess, gold)
        )
        right = first & gold_first & (last == gold_last) & (kind == gold_kind)
        return int(right.sum()), int(first.sum()), int(gold_first.sum())
