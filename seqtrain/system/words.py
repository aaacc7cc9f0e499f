"""Numbers and names in words, and words in lines, for people."""

from collections.abc import Iterable

from rich.cells import cell_len


def visible(text: str) -> str:
    """The text in one line, with `\\n` for a line feed, and so for every character that cannot be printed."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def figure(value: float | None) -> str:
    """A number with four digits, thousands in full, `-` for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"


def counted(number: int, thing: str) -> str:
    """A number of things: `1 step`, `2 steps`."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def in_words(size: int) -> str:
    """A number of bytes: `3.2 GiB`, `17 MiB`."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**29 else f"{size / 2**20:,.0f} MiB"


def wrap(text: str, width: int) -> str:
    """The text in lines of at most `width` columns, broken at spaces only: a longer word, such as a path, stays whole.

    Lines that follow begin as far right as the text of their first one; the text of `- item` begins behind the dash.
    """
    lines = []
    for line in text.split("\n"):
        words = line.lstrip(" ")
        start = line[: len(line) - len(words)]
        indent = start + ("  " if words.startswith("- ") else "")
        lines += [line] if cell_len(line) <= width else fill(words.rstrip().split(" "), width, start, indent)
    return "\n".join(lines)


def fill(words: Iterable[str], width: int, start: str, indent: str) -> list[str]:
    """Words in lines of at most `width` columns; the first line begins with `start`, the others with `indent`."""
    lines, is_empty = [start], True
    for word in words:
        if not is_empty and cell_len(lines[-1]) + 1 + cell_len(word) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(indent)
            is_empty = True
        lines[-1] += word if is_empty else f" {word}"
        is_empty = False
    return lines
