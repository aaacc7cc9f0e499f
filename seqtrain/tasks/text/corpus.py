"""Split a text into a training, a validation and a test part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.system.files import split_file
from seqtrain.system.settings import Faults
from seqtrain.system.shipped import PREFIX, text_path
from seqtrain.tasks.text.token_cache import read_text
from seqtrain.tasks.text.token_ids import Text
from seqtrain.tasks.text.tokenizer import EOS, Unit

SPLITS = ("train", "valid", "test")
_Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """The tokens of a text from `start` to `stop`."""

    text: Text
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def characters(self) -> int:
        """Characters of its words after the first token, with one for the space or line end after each word."""
        types, ids = self.text.types, self.text.ids
        sizes = np.array([0 if token == EOS else len(token) + 1 for token in types])
        line_end = np.array([token == EOS for token in types])
        count = 0
        for block, ends, after in self._with_previous(line_end, bool(line_end[ids[self.start : self.start + 1]].all())):
            count += int(sizes[block].sum()) + int((ends & after).sum())  # an empty line has its line end only
        return count

    def words(self) -> int:
        """Words and line ends after the first token in a part of characters; a word counts where it begins."""
        space = np.array([character.isspace() for character in self.text.types])
        line_end = np.array([character == "\n" for character in self.text.types])
        count = 0
        for block, spaces, after in self._with_previous(space, True):
            count += int((~spaces & after).sum()) + int(line_end[block].sum())
        return count

    def _with_previous(self, flags: NDArray[np.bool_], first: bool) -> Iterator[tuple[_Array, ...]]:
        """Blocks of ids without the first id, the flag of each, and that of the id before (`first` at the start)."""
        for block in self.text.ids.blocks(self.start + 1, self.stop):
            current = flags[block]
            yield block, current, np.concatenate(([first], current[:-1]))
            first = bool(current[-1])

    def counts(self) -> dict[str, int]:
        """How often each token occurs."""
        types = self.text.types
        counts = np.zeros(len(types), np.int64)
        for block in self.text.ids.blocks(self.start, self.stop):
            counts += np.bincount(block, minlength=len(types))
        return {token: count for token, count in zip(types, counts.tolist(), strict=True) if count}


class Tokens:
    """A part of a text as numbers of a vocabulary, which are looked up at each reading.

    Parameters
    ----------
    part : of the text.
    table : the number of each type of the text.
    """

    def __init__(self, part: Part, table: NDArray[np.int64]) -> None:
        self.part, self._table = part, table

    def __len__(self) -> int:
        return len(self.part)

    def at(self, places: NDArray[np.int64]) -> Tensor:
        """The numbers at these places, in the shape of `places`; 0 after the end."""
        numbers = self._table[self.part.text.ids[self.part.start + np.minimum(places, len(self) - 1)]]
        numbers[places >= len(self)] = 0
        return torch.from_numpy(numbers)

    def blocks(self, start: int = 0) -> Iterator[Tensor]:
        """All numbers from `start` on, in blocks."""
        for block in self.part.text.ids.blocks(self.part.start + start, self.part.stop):
            yield torch.from_numpy(self._table[block])


class Corpus(NamedTuple):
    """The three parts of one text, or three texts."""

    train: Part
    valid: Part
    test: Part


def read_corpus(path: Path, unit: Unit, fractions: Sequence[float], *, quiet: bool = False) -> Corpus:
    """Read a folder with `train.txt`, `valid.txt` and `test.txt`, or one file cut into three.

    Parameters
    ----------
    path : the folder (see `split_file` for the names in it) or the file; UTF-8, with any line ends.
    unit : what a token is, see `tokenise`.
    fractions : shares of a single file for training, validation and test, in this order.
    quiet : print no progress and no remarks while a large text is read.

    Raises
    ------
    DataError : names every file that is missing, unreadable, not text, or empty.
    """
    if not path.is_dir():
        text = read_text(path, unit, quiet=quiet)
        count = len(text.ids)
        first, second = (min(count, round(share * count)) for share in (fractions[0], fractions[0] + fractions[1]))
        return Corpus(Part(text, 0, first), Part(text, first, second), Part(text, second, count))
    parts, faults = [], []
    for split in SPLITS:
        try:
            text = read_text(split_file(path, split), unit, quiet=quiet)
            parts.append(Part(text, 0, len(text.ids)))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return Corpus(*parts)


def sources(path: Path, fractions: Sequence[float]) -> dict[str, str]:
    """The source of each split in words: a file, or a part of one."""
    if path.is_dir():
        return {split: str(split_file(path, split)) for split in SPLITS}
    parts = ("the first", "the middle", "the last")
    return {
        split: f"{path}, {part} {100 * share:g} %" for split, part, share in zip(SPLITS, parts, fractions, strict=True)
    }


_WHERE_TO_FIND = {
    "ptb": "; the Penn Treebank as language models use it is data/ptb.*.txt in simple-examples.tgz by T. Mikolov, "
    "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
}
"""Hints for texts that shipped configs need and whose licence forbids to ship them."""


def faults_of_text(name: str, fractions: Sequence[float] | None) -> Faults:
    """Faults of the settings `path` and `fractions`, given the files that exist: the setting, and a message."""
    path = text_path(name)
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a name that is too long
        shown = name if len(name) <= 40 else name[:37] + "..."
        yield "path", f"is {shown!r}, which cannot be looked for ({error.strerror}); give another path"
        return
    if name.startswith(PREFIX) and not exists:
        yield "path", f"is {name!r}, but the text that comes with seqtrain is {PREFIX}stories"
        return
    if not exists:
        files = "give a text file, or a folder with train.txt, valid.txt and test.txt"
        yield "path", f"is {name!r}, but there is no {path.absolute()}; {files}{_WHERE_TO_FIND.get(path.name, '')}"
    elif is_folder:
        missing = [file.name for file in (split_file(path, split) for split in SPLITS) if not file.exists()]
        if missing:
            yield "path", f"is the folder {name}, which lacks {', '.join(missing)}; add what is missing"
    if fractions is not None and is_folder:
        own = f"task.path {name} is a folder with its own train, valid and test"
        yield "fractions", f"cut a single file, but {own}; remove fractions"
    if fractions is not None and abs(sum(fractions) - 1) > 1e-6:
        yield "fractions", f"add up to {sum(fractions):g}; they must add up to 1"
