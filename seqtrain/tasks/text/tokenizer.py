"""Read text files in blocks: bytes to characters, characters to ids of tokens."""

import codecs
import io
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.encoding import fault_of_mark, not_utf8
from seqtrain.system.errors import DataError
from seqtrain.system.progress import Progress

Unit = Literal["word", "character"]
Write = Callable[[NDArray[np.int32]], object]
EOS = "<eos>"
BYTE_ORDER_MARK = "\ufeff"
BLOCK = 1 << 20
"""Bytes read at a time; the progress bar counts in this unit, MiB."""

LONGEST = 1 << 16
"""Characters of a word whose end is not yet read; a longer one would slow down the search for its end."""


def size_of(path: Path) -> int:
    """Bytes in a file; 0 if the file is missing, or if its size is unknown, as that of a pipe."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def blocks_of(path: Path, doing: str, *, quiet: bool) -> Iterator[bytes]:
    """The bytes of a file, `BLOCK` at a time.

    Parameters
    ----------
    doing : what the progress bar says.

    Raises
    ------
    DataError : the file is missing or unreadable.
    """
    total = -(-size_of(path) // BLOCK)
    try:
        with path.open("rb") as file, Progress(total, label=f"{doing} {path.name}", unit="MiB", quiet=quiet) as bar:
            while block := file.read(BLOCK):
                yield block
                bar.advance()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; set task.path to a text file, or to a folder with train.txt, valid.txt and test.txt"
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); make it readable or set another task.path"
        ) from None


def decode(path: Path, blocks: Iterable[bytes]) -> Iterator[str]:
    r"""The characters in the bytes of a file, without byte order marks, and with `\n` for all line ends.

    A byte order mark inside, where files were joined, is no part of a word either.

    Raises
    ------
    DataError : the file is not text, or empty.
    """
    # Not the decoder "utf-8-sig": it leaves a byte order mark out of positions, and drops half of one without an error.
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    remaining, position, lines = iter(blocks), 0, 0
    empty = ascii_only = True
    for block in chain(remaining, [b""]):  # the last one gives the rest in the decoder
        check_is_text(path, block, position)
        position += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = lines + error.object.count(b"\n", 0, error.start) + 1
            message = not_utf8(error, position - len(error.object), after_utf8=not ascii_only)
            for later in remaining:  # a binary file is refused as such
                check_is_text(path, later, position)
                position += len(later)
            raise DataError(f"{path}:{line}: {message}") from None
        lines += block.count(b"\n")
        ascii_only = ascii_only and text.isascii()
        text = text.replace(BYTE_ORDER_MARK, "")
        if text:
            empty = empty and text.isspace()
            yield text
    if empty:
        raise DataError(f"{path}: is empty; give a file with text in it")


def check_is_text(path: Path, block: bytes, start: int) -> None:
    """Raise a `DataError` if a block of a file, which begins at byte `start`, shows that the file is no UTF-8 text."""
    if start == 0 and (fault := fault_of_mark(block)):
        raise DataError(f"{path}: {fault}")
    if b"\0" in block:
        place = start + block.index(0)
        raise DataError(f"{path}: is binary (a zero byte at byte offset {place}); give a UTF-8 text file")


def tokenise(texts: Iterable[str], unit: Unit, write: Write, source: object = "the text") -> list[str]:
    """Number the tokens of a text that is given in pieces.

    Parameters
    ----------
    unit : `word` splits at white space and ends every line, also an empty one, with `<eos>`; `character` makes a token
        of every character.
    write : called with the ids, an array at a time.
    source : the place of the text, for messages.

    Returns
    -------
    The different tokens; an id is a place in this list.

    Raises
    ------
    DataError : a word goes on for longer than `LONGEST` characters beyond a piece.
    """
    return _words(texts, write, source) if unit == "word" else _characters(texts, write)


def tokens_of(text: str, unit: Unit) -> list[str]:
    """The tokens of a short text, as `tokenise` numbers them."""
    ids: list[int] = []
    types = tokenise([text], unit, lambda block: ids.extend(block.tolist()))
    return [types[number] for number in ids]


def _words(texts: Iterable[str], write: Write, source: object) -> list[str]:
    numbers: defaultdict[str, int] = defaultdict(count().__next__)  # in the order of the first appearance

    def number(words: list[str]) -> None:
        write(np.fromiter(map(numbers.__getitem__, words), np.int32, len(words)))

    rest, last = "", ""
    for text in texts:
        marked = (rest + text).replace("\n", f" {EOS}\n")
        words = marked.split()
        last = marked[-1]
        rest = "" if last.isspace() else words.pop()  # the next piece may continue this word
        if len(rest) > LONGEST:
            raise DataError(f"{source}: a word is longer than {LONGEST:,} characters; use task.unit: character")
        number(words)
    if last != "\n":
        number([rest, EOS] if rest else [EOS])
    return list(numbers)


def _characters(texts: Iterable[str], write: Write) -> list[str]:
    types: list[str] = []
    numbers = np.full(sys.maxunicode + 1, -1, np.int32)  # for each code point
    for text in texts:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = numbers[codes]
        if ids.min() < 0:
            new = np.unique(codes[ids < 0])
            numbers[new] = np.arange(len(types), len(types) + len(new))
            types += map(chr, new.tolist())
            ids = numbers[codes]
        write(ids)
    return types
