"""Reading text from disk into tokens."""

from pathlib import Path
from typing import Literal, NamedTuple

from seqtrain.errors import DataError

Unit = Literal["word", "character"]
EOS = "<eos>"
SPLITS = ("train", "valid", "test")


class Corpus(NamedTuple):
    """The tokens of the three splits."""

    train: list[str]
    valid: list[str]
    test: list[str]


def read_corpus(path: Path, unit: Unit, fractions: tuple[float, float, float]) -> Corpus:
    """Read a folder with `train.txt`, `valid.txt` and `test.txt`, or one file cut into three.

    Parameters
    ----------
    path : the folder or the file; UTF-8, with any line ends.
    unit : `word` splits at white space and ends every line, also an empty one, with `<eos>`; `character` keeps
        every character.
    fractions : how much of a single file is for training, validation and test, from its beginning.

    Raises
    ------
    DataError : naming every file that is missing, unreadable, not text, or empty.
    """
    if not path.is_dir():
        text = _read(path)
        if isinstance(text, str):
            return _cut(tokenise(text, unit), fractions)
        raise DataError(str(text))
    texts = [_read(path / f"{split}.txt") for split in SPLITS]
    faults = [str(text) for text in texts if isinstance(text, DataError)]
    if faults:
        raise DataError("\n".join(faults))
    return Corpus(*(tokenise(text, unit) for text in texts if isinstance(text, str)))


def sources(path: Path, fractions: tuple[float, float, float]) -> dict[str, str]:
    """Where each split comes from, in words: a file, or a part of one."""
    if path.is_dir():
        return {split: str(path / f"{split}.txt") for split in SPLITS}
    parts = ("the first", "the middle", "the last")
    return {
        split: f"{path}, {part} {100 * share:g} %" for split, part, share in zip(SPLITS, parts, fractions, strict=True)
    }


def tokenise(text: str, unit: Unit) -> list[str]:
    """Tokens of a text, see `read_corpus`."""
    if unit == "character":
        return list(text)
    lines = text.removesuffix("\n").split("\n")
    return [token for line in lines for token in (*line.split(), EOS)]


def _read(path: Path) -> str | DataError:
    """The text, or what is wrong with the file."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return DataError(
            f"{path}: no such file; set task.path to a text file, or to a folder with train.txt, valid.txt and test.txt"
        )
    except OSError as error:
        return DataError(f"{path}: cannot be read ({error.strerror}); make it readable or set another task.path")
    if b"\0" in raw:
        return DataError(f"{path}: is binary (a zero byte at position {raw.index(0)}); give a UTF-8 text file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return DataError(
            f"{path}:{line}: is not UTF-8 (byte {raw[error.start]:#04x} at position {error.start}); "
            "convert it, e.g. iconv -f latin1 -t utf-8"
        )
    if not text.strip():
        return DataError(f"{path}: is empty; give a file with text in it")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cut(tokens: list[str], fractions: tuple[float, float, float]) -> Corpus:
    first = round(fractions[0] * len(tokens))
    second = round((fractions[0] + fractions[1]) * len(tokens))
    return Corpus(tokens[:first], tokens[first:second], tokens[second:])
