"""What a tagger knows from its training text, and keeps in its checkpoint: symbols, tags, and the tags of words."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from seqtrain.system.errors import DataError
from seqtrain.tasks.text.vocabulary import UNK


class Learnt(BaseModel):
    """Values that were counted on the training text.

    alphabets : the words, the suffixes of each length, and the shapes that are symbols (see `features`).
    tags : the most frequent one first.
    words : the tags of each word, by their numbers, the most frequent one first; rare words are among them.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    alphabets: list[list[str]]
    tags: list[str]
    words: dict[str, list[int]]

    @classmethod
    def read(cls, fitted: dict[str, Any], alphabets: int) -> Self:
        """From a checkpoint.

        Parameters
        ----------
        alphabets : how many the task needs.

        Raises
        ------
        DataError : the values are not those of such a task.
        """
        try:
            found = cls.model_validate(fitted)
        except ValidationError:
            raise DataError("the checkpoint holds no words and tags; use another checkpoint") from None
        if not found._fits(alphabets):
            raise DataError("the words and tags in the checkpoint do not fit the task; use another checkpoint")
        return found

    def _fits(self, alphabets: int) -> bool:
        known = all(UNK in one and len(set(one)) == len(one) for one in self.alphabets)
        numbers = all(own and all(0 <= tag < len(self.tags) for tag in own) for own in self.words.values())
        return known and numbers and len(self.alphabets) == alphabets and 0 < len(set(self.tags)) == len(self.tags)

    @classmethod
    def count(cls, alphabets: list[list[str]], words: Sequence[str], tags: Sequence[str]) -> Self:
        """From the words of a training text and their tags."""
        frequent = _by_frequency(Counter(tags))
        number = {tag: n for n, tag in enumerate(frequent)}
        seen: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for word, tag in zip(words, tags, strict=True):
            seen[word][number[tag]] += 1
        return cls(
            alphabets=alphabets, tags=frequent, words={word: _by_frequency(own) for word, own in sorted(seen.items())}
        )


def _by_frequency(counts: Counter[Any]) -> list[Any]:
    return sorted(counts, key=lambda one: (-counts[one], one))
