"""Text files read block by block: bytes to characters, characters to ids."""

import codecs
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqtrain.system.errors import DataError
from seqtrain.system.progress import Progress

Unit = Literal["word", "character"]
Write = Callable[[NDArray[np.int32]], object]
EOS = "<eos>"
BLOCK = 1 << 20
"""Bytes read at a time: 1 MiB, which the progress bar counts."""

LONGEST = 1 << 16
"""Characters of a word: what is longer is no text of words, and would be searched for its end again and again."""


def size_of(path: Path) -> int:
    """Bytes in a file; 0 if they cannot be known beforehand, as with a pipe, or if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def blocks_of(path: Path, doing: str, *, quiet: bool) -> Iterator[bytes]:
    """The bytes of a file, `BLOCK` at a time.

    Parameters
    ----------
    doing : what is being done, for the progress bar.

    Raises
    ------
    DataError : it is missing or unreadable.
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
    r"""The characters of a file, given its bytes: without a byte order mark, all line ends as `\n`.

    Raises
    ------
    DataError : it is not text, or empty.
    """
    # A byte order mark is left to us: the "utf-8-sig" decoder does not count it in positions, and drops half of one.
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    remaining, position, lines = iter(blocks), 0, 0
    started, empty = False, True
    for block in chain(remaining, [b""]):  # the last one asks for what the decoder still holds
        if b"\0" in block:
            raise binary(path, position + block.index(0))
        position += len(block)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error, position, lines, remaining) from None
        lines += block.count(b"\n")
        if text and not started:
            started, text = True, text.removeprefix("\ufeff")
        if text:
            empty = empty and text.isspace()
            yield text
    if empty:
        raise DataError(f"{path}: is empty; give a file with text in it")


def _not_utf8(
    path: Path, error: UnicodeDecodeError, position: int, lines: int, remaining: Iterable[bytes]
) -> DataError:
    """What to say of bytes that are no characters: that the file is binary if a zero byte follows anywhere.

    Parameters
    ----------
    position : bytes read up to the end of what could not be decoded.
    lines : line ends before the block that could not be decoded.
    """
    start = position - len(error.object) + error.start
    line = lines + error.object.count(b"\n", 0, error.start) + 1
    for block in remaining:
        if b"\0" in block:
            return binary(path, position + block.index(0))
        position += len(block)
    return DataError(
        f"{path}:{line}: is not UTF-8 (byte {error.object[error.start]:#04x} at position {start}); "
        "convert it, e.g. iconv -f latin1 -t utf-8"
    )


def binary(path: Path, position: int) -> DataError:
    """What to say of a file with a zero byte at that position."""
    return DataError(f"{path}: is binary (a zero byte at position {position}); give a UTF-8 text file")


def tokenise(texts: Iterable[str], unit: Unit, write: Write, source: object = "the text") -> list[str]:
    """Number the tokens of a text that comes in pieces.

    Parameters
    ----------
    unit : `word` splits at white space and ends every line, also an empty one, with `<eos>`; `character` keeps
        every character.
    write : is given the ids, an array at a time.
    source : where the text comes from, for messages.

    Returns
    -------
    The different tokens; an id is a place in this list.

    Raises
    ------
    DataError : a word does not end.
    """
    return _words(texts, write, source) if unit == "word" else _characters(texts, write)


def tokens_of(text: str, unit: Unit) -> list[str]:
    """The tokens of a short text, as `tokenise` numbers them."""
    ids: list[int] = []
    types = tokenise([text], unit, lambda block: ids.extend(block.tolist()))
    return [types[number] for number in ids]


class _Numbers(dict[str, int]):
    """Numbers for words, in the order in which they first appear."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def _words(texts: Iterable[str], write: Write, source: object) -> list[str]:
    numbers = _Numbers()

    def number(words: list[str]) -> None:
        write(np.fromiter(map(numbers.__getitem__, words), np.int32, len(words)))

    rest, last = "", ""
    for text in texts:
        marked = (rest + text).replace("\n", f" {EOS}\n")
        words = marked.split()
        last = marked[-1]
        rest = "" if last.isspace() else words.pop()  # the next piece may go on with this word
        if len(rest) > LONGEST:
            raise DataError(f"{source}: a word is longer than {LONGEST:,} characters; use task.unit: character")
        number(words)
    if last != "\n":
        number([rest, EOS] if rest else [EOS])
    return list(numbers)


def _characters(texts: Iterable[str], write: Write) -> list[str]:
    types: list[str] = []
    numbers = np.full(sys.maxunicode + 1, -1, np.int32)  # of each code point
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
