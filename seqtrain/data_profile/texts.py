"""A text: its size, its alphabet, and what its lines are: running text, sentences, tagged words or pairs."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqtrain.data_profile.configs import tagged_config, text_config
from seqtrain.data_profile.result import BROKEN, Profile
from seqtrain.data_profile.trial import first_that_builds
from seqtrain.system.encoding import not_utf8
from seqtrain.system.errors import DataError
from seqtrain.tasks.text.advice import lacks_spaces
from seqtrain.tasks.text.tagged import seems_tagged

SAMPLE = 2000
"""Lines from the beginning that decide what the lines are."""

BLOCK = 1 << 20
"""Bytes that are read together."""

MOSTLY = 0.95
"""The share of lines that must have a tab, for pairs of texts."""


NO_WORD = re.compile(r"#|-DOCSTART-|\d+[-.]\d+\t(.*\t){8}")
"""Lines of tagged words without a word: comments, and of CoNLL-U multiword tokens and empty nodes."""

SENTENCE = re.compile(r"""[.!?\u3002\uff01\uff1f]["'\u201d\u2019\u00bb)\s]*$""")
"""The end of a line that is a sentence."""

MOST_ARE, LONGEST = 0.8, 60
"""The share of lines that are sentences, and the words of the longest one, for a text of sentences."""

NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?", re.IGNORECASE)


@dataclass
class Measured:
    """Figures of a text.

    tagged : lines with a word, if the text is one of a word and its tags in each line.
    beginning : its first lines.
    """

    lines: int = 0
    empty: int = 0
    words: int = 0
    tagged: int = 0
    characters: int = 0
    alphabet: set[str] = field(default_factory=set)
    longest: int = 0
    beginning: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The figures by their names."""
        return {
            "lines": self.lines,
            "empty lines": self.empty,
            "words": self.words,
            "characters": self.characters,
            "alphabet": len(self.alphabet),
            "longest line": self.longest,
        }

    def tokens(self, unit: str) -> int:
        """Words with line ends, or characters."""
        return self.words + self.lines if unit == "word" else self.characters


def measure(file: Path) -> Measured:
    """Read a text once.

    Raises
    ------
    DataError : it is not UTF-8, with the line.
    """
    found = Measured()
    with file.open("rb") as opened:
        while lines := opened.readlines(BLOCK):
            texts = [_decoded(raw, file, found.lines + n) for n, raw in enumerate(lines, 1)]
            block = "".join(texts)
            found.words += len(block.split())
            found.characters += len(block)
            found.alphabet |= set(block)
            bare = [text.rstrip("\r\n") for text in texts]
            found.lines += len(bare)
            found.tagged += sum(bool(text.strip()) and not NO_WORD.match(text) for text in bare)
            found.empty += sum(not text.strip() for text in bare)
            found.longest = max(found.longest, *map(len, bare))
            found.beginning += bare[: SAMPLE - len(found.beginning)]
    found.alphabet -= {"\n", "\r"}
    return found


def _decoded(raw: bytes, file: Path, number: int) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}:{number}: {not_utf8(error)}") from None


def unit_of(measured: Measured) -> str:
    """`character` for lines without spaces, else `word`."""
    return "character" if lacks_spaces("\n".join(measured.beginning)) else "word"


def has_sentences(measured: Measured) -> bool:
    """Whether nearly every line is a sentence."""
    full = [line for line in measured.beginning if line.strip()]
    return (
        sum(bool(SENTENCE.search(line)) for line in full) > MOST_ARE * len(full)
        and max((len(line.split()) for line in full), default=0) <= LONGEST
    )


def profile_text(path: str, file: Path) -> Profile:
    """A text file."""
    measured = measure(file)
    lines, facts = measured.beginning, measured.facts()
    full = [line for line in lines if line.strip()]
    if not full:
        fault = f"{file}: holds no text; give a text with words"
        return Profile(path, "unknown", "an empty file", facts, faults=[fault], why_not="it is empty")
    if len(full) > 1 and all(NUMBER.fullmatch(word) for line in full[1:] for word in line.split()):
        advice = "numbers with spaces between are no table; write a CSV file with a header and commas"
        return Profile(path, "unknown", "lines of numbers", facts, why_not=advice)
    if form := seems_tagged("\n".join(lines)):
        what = "tagged text, a word and its columns a line" if form == "conll" else "tagged text, word/TAG"
        tags = Counter(_tags(full, form))
        facts["words"] = words = measured.tagged if form == "conll" else measured.words
        facts |= {"sentences": _sentences(lines, form), "tags": dict(tags.most_common(20))}
        built, _, faults = first_that_builds([tagged_config(path, words)], file)
        return Profile(path, "tagging", what, facts, [], faults, [], built, None if built else BROKEN)
    if sum(line.count("\t") == 1 for line in full) >= MOSTLY * len(full):
        use = f"pairs are for a trained model: seqtrain score RUN {path} --pairs"
        return Profile(path, "pairs", "pairs of texts with a tab between", facts, why_not=use)
    unit = unit_of(measured)
    remarks = []
    if unit == "character":
        remarks.append("the lines hold hardly any spaces, so that the config reads characters, not words")
    config = text_config(path, unit, measured.tokens(unit), has_sentences=has_sentences(measured))
    built, _, faults = first_that_builds([config], file)
    why_not = None if built else BROKEN
    return Profile(path, "text", "running text", facts, [], faults, remarks, built, why_not)


def _tags(full: list[str], form: str) -> list[str]:
    if form == "slash":
        return [word.rsplit("/", 1)[1] for line in full for word in line.split() if "/" in word]
    return [line.split()[-1] for line in full if not NO_WORD.match(line)]


def _sentences(lines: list[str], form: str) -> str:
    """How many sentences there are among the first lines."""
    if form == "slash":
        count = sum(bool(line.strip()) for line in lines)
    else:
        count = sum(
            bool(line.strip()) and not before.strip() for before, line in zip(["", *lines], lines, strict=False)
        )
    return f"{count:,}" + (f" in the first {SAMPLE:,} lines" if len(lines) == SAMPLE else "")
