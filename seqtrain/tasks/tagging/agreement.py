"""Write a planted corpus of tagged sentences: `python -m seqtrain.tasks.tagging.agreement FILE` gives the same bytes.

    the grey sheep near the old barns often are quiet .        a clause: a subject, 2 to 12 words, a verb, ...
    DT.p JJ.p NN.p IN DT.p JJ.p NN.p RB VB.p JJ.p .            .s singular, .p plural

The words of a noun phrase have its number in their tags. Some words do not show it: `the`, an adjective, and nouns such
as `sheep`. The number of the subject shows at the verb, `is` or `are`, which is later; phrases of either number stand
between. That of another phrase shows at its noun (`the old barns`), or at its first word (`these old sheep`).

Both numbers are equally likely in each phrase, whatever the words before it. So a reader who has seen nothing that
shows the number is right about half of such words; `share_of_forward_reader` computes what that means for all words.
One who sees the whole sentence can be right about each word.
"""

import argparse
from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from seqtrain.system.rng import generator

SENTENCES = 2400

SHORTEST, LONGEST = 2, 12
"""Words between the subject and its verb."""

PIECES = (1, 2, 3, 4)
"""Words of the phrases between them: an adverb, a time, a noun phrase without and with an adjective."""

ADJECTIVES = ("old", "grey", "quiet", "young", "small", "brown")
SAME = ("sheep", "fish", "deer", "moose", "salmon", "trout", "bison", "squid")
"""Nouns with one form for both numbers."""
SINGULAR = ("barn", "tree", "river", "tower", "boat", "farmer", "bridge", "wall")
PREPOSITIONS = ("near", "behind", "under", "beside", "above")
TIMES = ("night", "dawn", "noon", "dusk")
ADVERBS = ("often", "still", "always", "perhaps")
VERBS = (("is", "are"), ("was", "were"))


class Expected(NamedTuple):
    """Mean numbers of words in a sentence.

    words : all of them.
    unclear : those whose number has not shown yet.
    varied : those that the corpus has with two tags.
    """

    words: Fraction
    unclear: Fraction
    varied: Fraction

    def plus(self, other: "Expected", weight: Fraction = Fraction(1)) -> "Expected":
        """The sum, the other one times a weight."""
        return Expected(*(a + weight * b for a, b in zip(self, other, strict=True)))


class _Writer:
    """Draws one sentence after another."""

    def __init__(self) -> None:
        self._draw = generator("agreement corpus")

    def below(self, count: int) -> int:
        return int(torch.randint(count, (1,), generator=self._draw))

    def one_of(self, words: Sequence[str]) -> str:
        return words[self.below(len(words))]

    def sentence(self) -> str:
        """A line of the corpus."""
        mark = "sp"[number := self.below(2)]
        subject = ["the/DT", *([f"{self.one_of(ADJECTIVES)}/JJ"] if self.below(2) else []), f"{self.one_of(SAME)}/NN"]
        left, between = SHORTEST + self.below(LONGEST - SHORTEST + 1), list[str]()
        while left:
            size = allowed(left)[self.below(len(allowed(left)))]
            between += self.phrase(size)
            left -= size
        verb, last = VERBS[self.below(len(VERBS))][number], self.one_of(ADJECTIVES)
        return " ".join([*(f"{word}.{mark}" for word in subject), *between, f"{verb}/VB.{mark} {last}/JJ.{mark} ./."])

    def phrase(self, size: int) -> list[str]:
        """A phrase of so many words between the subject and the verb."""
        if size == 1:
            return [f"{self.one_of(ADVERBS)}/RB"]
        if size == 2:
            return ["at/IN", f"{self.one_of(TIMES)}/NN.s"]
        mark = "sp"[number := self.below(2)]
        adjective = [f"{self.one_of(ADJECTIVES)}/JJ.{mark}"] if size == 4 else []
        if self.below(2):
            first, noun = "the", self.one_of(SINGULAR) + "s" * number
        else:
            first, noun = ("this", "these")[number], self.one_of(SAME)
        return [f"{self.one_of(PREPOSITIONS)}/IN", f"{first}/DT.{mark}", *adjective, f"{noun}/NN.{mark}"]


def allowed(left: int) -> list[int]:
    """The sizes of the next phrase if so many words are left."""
    return [size for size in PIECES if size <= left]


@cache
def expected_between(left: int) -> Expected:
    """Of so many words between the subject and its verb."""
    total = Expected(Fraction(0), Fraction(0), Fraction(0))
    for size in allowed(left):
        total = total.plus(_of_phrase(size).plus(expected_between(left - size)), Fraction(1, len(allowed(left))))
    return total


def _of_phrase(size: int) -> Expected:
    """Half of the noun phrases begin with `the`; only there the number does not show before the noun."""
    if size < 3:
        return Expected(Fraction(size), Fraction(0), Fraction(0))
    before_noun = Fraction(size - 2)  # the article, and perhaps an adjective
    adjective = Fraction(size - 3)
    return Expected(Fraction(size), before_noun / 2, (before_noun + adjective + 1) / 2)


def expected() -> Expected:
    """Of a sentence: a subject of 2 or 3 words, the words between, the verb, an adjective, a full stop."""
    subject, rest = Fraction(5, 2), Expected(Fraction(3), Fraction(0), Fraction(1))
    total, lengths = Expected(subject, subject, subject).plus(rest), range(SHORTEST, LONGEST + 1)
    for length in lengths:
        total = total.plus(expected_between(length), Fraction(1, len(lengths)))
    return total


def share_of_forward_reader(*, varied: bool = False) -> Fraction:
    """The largest accuracy of a reader who has not seen the words that follow; or that on words with two tags."""
    mean = expected()
    return 1 - mean.unclear / 2 / (mean.varied if varied else mean.words)


def write_corpus(file: Path, sentences: int = SENTENCES) -> None:
    """Write the corpus, a sentence a line."""
    writer = _Writer()
    text = "".join(writer.sentence() + "\n" for _ in range(sentences))
    file.write_text(text, "utf-8", newline="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the corpus of agreement as text.")
    parser.add_argument("file", type=Path, help="such as agreement.txt")
    write_corpus(parser.parse_args().file)
