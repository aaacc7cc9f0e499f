"""Numbers and names in words, for people."""


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
