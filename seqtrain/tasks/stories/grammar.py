"""The words and sentences that stories are made of.

A story is an opening that states a fact, filler sentences that say nothing about it, and a closing with one marked
word that only the fact decides. `{}` stands for the fact in an opening and for the marked word in a closing; `{kind}`
stands for any word of `WORDS[kind]`.
"""

from itertools import chain
from typing import NamedTuple


class StoryKind(NamedTuple):
    """One kind of fact: `pairs` are (word of the fact, marked word)."""

    opening: str
    closing: str
    pairs: tuple[tuple[str, str], ...]


_COUNTRIES = {
    "France": "French", "Spain": "Spanish", "Italy": "Italian", "Germany": "German", "Poland": "Polish",
    "Greece": "Greek", "Russia": "Russian", "China": "Chinese", "Japan": "Japanese", "Sweden": "Swedish",
    "Turkey": "Turkish", "Finland": "Finnish",
}  # fmt: skip
_WOMEN = ["Anna", "Clara", "Emma", "Julia", "Maria", "Nina", "Olga", "Rosa", "Sofia", "Vera"]
_MEN = ["Adam", "Carlo", "Erik", "Felix", "Hugo", "Ivan", "Leon", "Oscar", "Paul", "Victor"]
_THINGS = ["key", "letter", "ring", "coin", "map", "book", "lamp", "boat", "bell", "clock"]

KINDS: dict[str, StoryKind] = {
    "place": StoryKind("I grew up in {} .", "I speak fluent {} .", tuple(_COUNTRIES.items())),
    "gender": StoryKind(
        "{} bought a house .",
        "then {} sold the house .",
        tuple((name, "she") for name in _WOMEN) + tuple((name, "he") for name in _MEN),
    ),
    "number": StoryKind(
        "the {} (",
        ") {} found at last .",
        tuple((thing, "was") for thing in _THINGS) + tuple((thing + "s", "were") for thing in _THINGS),
    ),
}

WORDS: dict[str, tuple[str, ...]] = {
    "noun": ("river", "garden", "street", "market", "window", "forest", "train", "bridge", "tower", "harbour"),
    "nouns": ("birds", "children", "trees", "clouds", "horses", "sailors", "farmers", "bells", "ships", "lights"),
    "adjective": ("old", "quiet", "bright", "cold", "narrow", "green", "empty", "busy", "distant", "grey"),
    "did": ("slept", "waited", "sang", "shone", "moved", "stopped", "returned", "vanished"),
    "saw": ("crossed", "followed", "watched", "reached", "passed", "left", "painted", "forgot"),
    "when": ("often", "slowly", "always", "again", "outside", "early", "together", "quietly"),
    "weather": ("rain", "snow", "wind", "fog", "thunder", "sunshine"),
    "season": ("summer", "winter", "spring", "autumn"),
}

FILLERS: tuple[str, ...] = (
    "{nouns} {did} {when} .",
    "the {nouns} {did} .",
    "the {noun} {did} {when} .",
    "there came {weather} {when} .",
    "the {adjective} {noun} {did} .",
    "the {nouns} {saw} the {noun} .",
    "in {season} the {nouns} {did} .",
    "after the {weather} the {nouns} {did} .",
    "the {nouns} {saw} a {adjective} {noun} .",
    "the {adjective} {nouns} {saw} the {adjective} {noun} .",
    "near the {noun} the {adjective} {nouns} {did} .",
)
"""Sentences of 4 to 8 words, so that they can fill any number of words that is at least 4."""


def vocabulary() -> list[str]:
    """Every word of every story, in a fixed order; the place of a word is its token."""
    words: list[str] = []
    for kind in KINDS.values():
        words += [*kind.opening.split(), *kind.closing.split(), *chain(*kind.pairs)]
    words += [*chain(*WORDS.values()), *" ".join(FILLERS).split()]
    return list(dict.fromkeys(word for word in words if not word.startswith("{")))
