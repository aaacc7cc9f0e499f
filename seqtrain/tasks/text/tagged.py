"""Recognise in which form a text holds words with tags."""

import re
from itertools import islice
from typing import Literal

Form = Literal["conll", "slash"]
"""Columns, a word in a line; or `word/TAG`, a sentence in a line."""

BLANKS = re.compile(r"[ \t]+")
"""What stands between words or columns; a no-break space is a part of a word."""

LOOKED_AT = 1000
"""Lines that are looked at."""

MOST, NEARLY_ALL = 0.5, 0.9
"""The share of words, or of lines, that must have the form: of a corpus, where others are faults, and of a text."""

MOST_TAGS = 200
"""Different tags of a text that is taken for a corpus; and each is there three times in the mean."""

COMMENT = "#"


def form_of(text: str, most: float = MOST) -> Form | None:
    """The form of a corpus, judged by its first lines; None if it has neither."""
    lines = [*islice((line for line in text.split("\n") if line.strip() and line[0] != COMMENT), LOOKED_AT)]
    tokens = [token for line in lines for token in BLANKS.split(line.strip(" \t"))]
    if tokens and sum(0 < token.rfind("/") < len(token) - 1 for token in tokens) > most * len(tokens):
        return "slash"
    widths = [len(columns(line, has_tabs="\t" in line)) for line in lines]
    usual = max(set(widths), key=lambda width: (widths.count(width), width), default=0)
    return "conll" if usual > 1 and widths.count(usual) >= most * len(widths) else None


def seems_tagged(text: str) -> Form | None:
    """The same of a text that may be an ordinary one: columns also need empty lines, and tags that come again."""
    form = form_of(text, NEARLY_ALL)
    if form != "conll":
        return form
    blocks = text.strip("\n").split("\n\n")
    lines = [line for line in text.split("\n") if line.strip() and line[0] != COMMENT]
    tags = {columns(line, has_tabs="\t" in line)[-1] for line in lines}
    return form if 1 < len(blocks) <= len(lines) / 2 and len(tags) <= min(MOST_TAGS, len(lines) / 3) else None


def columns(line: str, *, has_tabs: bool) -> list[str]:
    """The columns of a line: divided by tabs, else by blanks."""
    return [cell.strip(" ") for cell in line.split("\t")] if has_tabs else BLANKS.split(line.strip(" \t"))
