r"""Numbers, strings and comments as C99 has them.

The same text means the same in every compiler: strings and comments are ASCII, and no string has a trigraph (`??/` is
a backslash in C99).
"""

from collections.abc import Iterable, Sequence

from torch import Tensor

LONGEST_STRING = 4095
"""Bytes of a string that every compiler of C99 takes (ISO/IEC 9899:1999, 5.2.4.1)."""

WIDTH = 110
"""Columns of a line of numbers."""

_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\\": r"\\", '"': r"\"", "?": r"\?"}


def floats(values: Tensor) -> str:
    """The numbers of a tensor `[N]` or `[R, C]`, a row at a time; each is read back with the same bits.

    Nine significant digits are enough for a float32 (IEEE 754). A subnormal number is zero, as in seqtrain.
    """
    return _rows(values, "%#.9gf", 15)


def integers(values: Tensor) -> str:
    """Likewise whole numbers of at most four characters."""
    return _rows(values, "%d", 5)


def doubles(values: Iterable[float]) -> str:
    """Numbers in double precision, each on its line, read back with the same bits."""
    return "".join(f"    {value:#.17g},\n" for value in values)


def strings(values: Iterable[str]) -> str:
    """Strings, each on its line."""
    return "".join(f"    {string(value)},\n" for value in values)


def string(text: str) -> str:
    """A string literal of the UTF-8 bytes of a text. Three octal digits end an escape, whatever comes next."""

    def escaped(character: str) -> str:
        if character in _ESCAPES:
            return _ESCAPES[character]
        is_plain = character.isascii() and character.isprintable()
        return character if is_plain else "".join(f"\\{byte:03o}" for byte in character.encode())

    return '"' + "".join(map(escaped, text)) + '"'


def comment(text: str) -> str:
    """A text for one line of a comment, which it cannot end and in which it begins no other."""
    line = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return line.replace("*/", "* /").replace("/*", "/ *").replace("??/", "?? /")


def _rows(values: Tensor, form: str, width: int) -> str:
    """The rows of a tensor, each from the start of a line, in lines of about `WIDTH` columns."""
    rows: Sequence[Sequence[float]] = (values if values.dim() == 2 else values[None]).tolist()
    a_line = max(1, WIDTH // width)
    lines = (row[start : start + a_line] for row in rows for start in range(0, len(row), a_line))
    return "".join("    " + ", ".join([form] * len(line)) % tuple(line) + ",\n" for line in lines)
