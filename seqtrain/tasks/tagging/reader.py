r"""Read a file of tagged words.

The      DT  B-NP            CoNLL columns: a word and its tag in a line, an empty line between two sentences
sheep    NN  I-NP

The/DT sheep/NN              word/TAG: a sentence in a line; the last slash divides, `1\/2/CD` is the word 1/2
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from seqtrain.system.errors import DataError
from seqtrain.system.words import counted
from seqtrain.tasks.tables.table import MOST_FAULTS
from seqtrain.tasks.text.tagged import BLANKS, COMMENT, Form, columns, form_of
from seqtrain.tasks.text.tokenizer import blocks_of, decode

MARKER = "-DOCSTART-"
"""The word of a line between two documents, which is no sentence."""

CONLL_U = 10
"""Columns of CoNLL-U, which begin with the number of the word."""

NUMBERS = {
    re.compile(r"\d+-\d+"): "multiword_tokens",
    re.compile(r"\d+\.\d+"): "empty_nodes",
}
"""The first column of lines of CoNLL-U that are no words: their words follow, or they stand for words left unsaid."""


class Layout(NamedTuple):
    """How a file is written.

    form : None to recognise it.
    token_column, tag_column : of CoNLL columns, from 0, negative ones from the end; None for the usual ones.
    """

    form: Form | None = None
    token_column: int | None = None
    tag_column: int | None = None


@dataclass
class Sentences:
    """The sentences of a file.

    words, tags : one after the other.
    sizes : words of each sentence.
    left_out : what is no word, by its kind, and how many sentences stand before it.
    """

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    left_out: list[tuple[str, int]] = field(default_factory=list)


def read_file(path: Path, layout: Layout) -> Sentences:
    """Read a file.

    Raises
    ------
    DataError : it is missing, not UTF-8, in neither form, or holds no sentence; or lines are wrong, which are named.
    """
    text = "".join(decode(path, blocks_of(path, "reading", quiet=True)))
    form = layout.form or form_of(text)
    if form is None:
        raise DataError(
            f"{path}: holds no words with tags: they are neither columns (a word and its tag in each line, an empty "
            "line between sentences) nor word/TAG; set task.form, or give another file"
        )
    lines = text.removesuffix("\n").split("\n")
    found = _Slash(path, lines) if form == "slash" else _Columns(path, lines, layout)
    found.read()
    found.end_sentence()
    if found.faults:
        more = [f"{path}: {found.count - MOST_FAULTS:,} more"] if found.count > MOST_FAULTS else []
        if (seen := form_of(text)) not in (form, None):
            more.append(f"{path}: seems to be of the other form; remove task.form, or set task.form={seen}")
        raise DataError("\n".join([*found.faults, *more]))
    if not found.sentences.sizes:
        raise DataError(f"{path}: has no sentence; give a file with words and their tags")
    return found.sentences


class _Reader:
    """What both forms share."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path, self.lines = path, lines
        self.sentences, self._open = Sentences(), 0
        self.faults: list[str] = []
        self.count = 0

    def read(self) -> None:
        """Read all lines."""
        raise NotImplementedError

    def add(self, word: str, tag: str) -> None:
        """A word of the present sentence."""
        self.sentences.words.append(word)
        self.sentences.tags.append(tag)
        self._open += 1

    def end_sentence(self) -> bool:
        """Whether a sentence was there to end."""
        if not self._open:
            return False
        self.sentences.sizes.append(self._open)
        self._open = 0
        return True

    def leave_out(self, kind: str) -> None:
        """Count something that is no word."""
        self.sentences.left_out.append((kind, len(self.sentences.sizes)))

    def fault(self, line: int, what: str) -> None:
        """Note a fault of a line, counted from 1."""
        self.count += 1
        if self.count <= MOST_FAULTS:
            self.faults.append(f"{self.path}:{line}: {what}")


class _Slash(_Reader):
    """Reads `word/TAG`."""

    def read(self) -> None:
        """A sentence in each line."""
        for number, line in enumerate(self.lines, 1):
            tokens = BLANKS.split(line.strip(" \t")) if line.strip() else []
            if tokens and tokens[0].startswith(MARKER):
                self.leave_out("markers")
                continue
            for token in tokens:
                word, slash, tag = token.rpartition("/")
                if not slash or (word.endswith("\\") and word != "\\"):
                    self.fault(number, f"{token!r} has no tag; write word/TAG, and each word of the file so")
                elif not (word and tag):
                    self.fault(number, f"{token!r} has an empty {'tag' if word else 'word'}; write word/TAG")
                else:
                    self.add(word.replace("\\/", "/"), tag)
            if not self.end_sentence() and not tokens:
                self.leave_out("empty_lines")


class _Columns(_Reader):
    """Reads CoNLL columns; all lines have as many as the first one with a word."""

    def __init__(self, path: Path, lines: list[str], layout: Layout) -> None:
        super().__init__(path, lines)
        words = ((n, line) for n, line in enumerate(lines, 1) if line.strip() and line[0] != COMMENT)
        self.first, line = next(words, (1, lines[0]))
        self.has_tabs = "\t" in line
        cells = columns(line, has_tabs=self.has_tabs)
        self.width = len(cells)
        self.is_conll_u = self.has_tabs and self.width == CONLL_U and re.match(r"\d+([-.]\d+)?$", cells[0]) is not None
        token, tag = (1, 3) if self.is_conll_u else (0, -1)
        self.token = token if layout.token_column is None else layout.token_column
        self.tag = tag if layout.tag_column is None else layout.tag_column

    def read(self) -> None:
        """A word in each line, an empty line between sentences."""
        if not self._columns_exist():
            return
        for number, line in enumerate(self.lines, 1):
            if not line.strip():
                if not self.end_sentence():
                    self.leave_out("empty_lines")
                continue
            cells = columns(line, has_tabs=self.has_tabs)
            if kind := self._no_word(line, cells):
                self.leave_out(kind)
            elif len(cells) != self.width:
                self.fault(number, self._wrong_width(cells))
            elif not (cells[self.token] and cells[self.tag]):
                empty = "tag" if cells[self.token] else "word"
                self.fault(number, f"the {empty} is empty; write a word and its tag in each line")
            else:
                self.add(cells[self.token], cells[self.tag])

    def _columns_exist(self) -> bool:
        """Whether the columns that are asked for exist and differ; notes a fault if not."""
        has = f"has {counted(self.width, 'column')}"
        for name, column in (("token_column", self.token), ("tag_column", self.tag)):
            if not -self.width <= column < self.width:
                last = self.width - 1
                self.fault(self.first, f"{has}, but task.{name} is {column}; make it 0 to {last}, or -1 for the last")
        if not self.faults and self.token % self.width == self.tag % self.width:
            cure = "write each word and its tag in a line, or set task.token_column and task.tag_column"
            self.fault(self.first, f"{has}, and the word and the tag are the same one; {cure}")
        return not self.faults

    def _no_word(self, line: str, cells: list[str]) -> str | None:
        """What a line is if it holds no word; None if it does. A word `#` has all columns."""
        is_comment = line[0] == COMMENT and not self._open and (self.is_conll_u or len(cells) != self.width)
        if is_comment:
            return "comments"
        if cells[0].startswith(MARKER):
            return "markers"
        kinds = (kind for numbers, kind in NUMBERS.items() if self.is_conll_u and numbers.fullmatch(cells[0]))
        return next(kinds, None)

    def _wrong_width(self, cells: list[str]) -> str:
        between = "tabs" if self.has_tabs else "blanks"
        return (
            f"has {counted(len(cells), 'column')}, but line {self.first} has {self.width}; write all columns in each "
            f"line, with {between} between them, and an empty line after each sentence"
        )
