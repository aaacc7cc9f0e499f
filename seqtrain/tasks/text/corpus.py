"""Split a text into a training, a validation and a test part."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqtrain.system.errors import DataError
from seqtrain.system.files import split_file
from seqtrain.system.settings import Faults
from seqtrain.system.shipped import PREFIX, shipped_data, text_path
from seqtrain.tasks.text.token_cache import read_text
from seqtrain.tasks.text.token_ids import Text
from seqtrain.tasks.text.tokenizer import Unit

SPLITS = ("train", "valid", "test")
FindFile = Callable[[Path, str], Path]


class Tokens:
    """A part of a text as numbers of a vocabulary, which are looked up at each reading.

    Parameters
    ----------
    text : the part.
    table : the number of each type of the text.
    """

    def __init__(self, text: Text, table: NDArray[np.int64]) -> None:
        self.text, self._table = text, table

    def __len__(self) -> int:
        return len(self.text.ids)

    def at(self, places: NDArray[np.int64]) -> Tensor:
        """The numbers at these places, in the shape of `places`; 0 after the end."""
        numbers = self._table[self.text.ids[np.minimum(places, len(self) - 1)]]
        numbers[places >= len(self)] = 0
        return torch.from_numpy(numbers)

    def number_of(self, token: str) -> int:
        """The number of a token of the text."""
        return int(self._table[self.text.types.index(token)])

    def places_of(self, token: str) -> NDArray[np.int64]:
        """Where a token stands, `[N]`."""
        return self.text.places_of(token)

    def blocks(self, start: int = 0) -> Iterator[Tensor]:
        """All numbers from `start` on, in blocks."""
        for block in self.text.ids.blocks(start):
            yield torch.from_numpy(self._table[block])


class Corpus(NamedTuple):
    """The three parts of one text, or three texts."""

    train: Text
    valid: Text
    test: Text


def read_corpus(
    path: Path, unit: Unit, fractions: Sequence[float], *, cut_after: str | None = None, quiet: bool = False
) -> Corpus:
    """Read a folder with `train.txt`, `valid.txt` and `test.txt`, or one file cut into three.

    Parameters
    ----------
    path : the folder (see `split_file` for the names in it) or the file; UTF-8, with any line ends.
    unit : what a token is, see `tokenise`.
    fractions : shares of a single file for training, validation and test, in this order.
    cut_after : a token after which the file is cut, at the next place; None for anywhere.
    quiet : print no progress and no remarks while a large text is read.

    Raises
    ------
    DataError : names every file that is missing, unreadable, not text, or empty.
    """
    if not path.is_dir():
        text = read_text(path, unit, quiet=quiet)
        count = len(text.ids)
        first, second = (min(count, round(share * count)) for share in (fractions[0], fractions[0] + fractions[1]))
        if cut_after is not None:
            ends = np.append(text.places_of(cut_after) + 1, count)
            first, second = (0 if at == 0 else int(ends[np.searchsorted(ends, at)]) for at in (first, second))
        return Corpus(text.part(0, first), text.part(first, second), text.part(second, count))
    parts, faults = [], []
    for split in SPLITS:
        try:
            parts.append(read_text(split_file(path, split), unit, quiet=quiet))
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return Corpus(*parts)


def sources(path: Path, fractions: Sequence[float], find: FindFile = split_file) -> dict[str, str]:
    """The source of each split in words: a file, or a part of one."""
    if path.is_dir():
        return {split: str(find(path, split)) for split in SPLITS}
    parts = ("the first", "the middle", "the last")
    return {
        split: f"{path}, {part} {100 * share:g} %" for split, part, share in zip(SPLITS, parts, fractions, strict=True)
    }


def _files(path: Path, find: FindFile) -> list[Path]:
    """The files of a text, which may be missing."""
    return [find(path, split) for split in SPLITS] if path.is_dir() else [path]


_WHERE_TO_FIND = {
    "ptb": "; the Penn Treebank as language models use it is data/ptb.*.txt in simple-examples.tgz by T. Mikolov, "
    "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz",
}
"""Hints for texts that shipped configs need and whose licence forbids to ship them."""


def faults_of_text(name: str, fractions: Sequence[float] | None, find: FindFile = split_file) -> Faults:
    """Faults of the settings `path` and `fractions`, given the files that exist: the setting, and a message.

    find : where a folder has the file of a split.
    """
    path = text_path(name)
    try:
        exists, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a name that is too long
        shown = name if len(name) <= 40 else name[:37] + "..."
        yield "path", f"is {shown!r}, which cannot be looked for ({error.strerror}); give another path"
        return
    if name.startswith(PREFIX) and not exists:
        yield "path", f"is {name!r}, but what comes with seqtrain is {shipped_data()}"
        return
    if name == "-":
        yield "path", "is '-', but training reads a text more than once; write standard input to a file and give that"
        return
    if not exists and len(name) > 2 and name[0] == name[-1] and name[0] in "'\"" and text_path(name[1:-1]).exists():
        yield "path", f"is {name!r}, which has quotes of its own; write {name[1:-1]!r} without the inner quotes"
        return
    if not exists:
        files = "give a text file, or a folder with train.txt, valid.txt and test.txt"
        yield "path", f"is {name!r}, but there is no {path.absolute()}; {files}{_WHERE_TO_FIND.get(path.name, '')}"
    elif special := [file for file in _files(path, find) if file.exists() and not file.is_file()]:
        why = "a text is read more than once; write it to a file and give that"
        yield "path", f"is {name!r}, but {special[0]} is not a regular file, and {why}"
    elif is_folder:
        missing = [file.name for file in _files(path, find) if not file.exists()]
        if missing:
            train = find(path, "train")
            alone = f", or set task.path={shlex.quote(str(train))}, which is then cut into three"
            cure = "add what is missing" + (alone if train.exists() and len(missing) == 2 else "")
            yield "path", f"is the folder {name}, which lacks {', '.join(missing)}; {cure}"
    if fractions is not None and is_folder:
        own = f"task.path {name} is a folder with its own train, valid and test"
        yield "fractions", f"cut a single file, but {own}; remove fractions"
    if fractions is not None and abs(sum(fractions) - 1) > 1e-6:
        yield "fractions", f"add up to {sum(fractions):g}; they must add up to 1"
