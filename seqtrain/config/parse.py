"""The text of a config file, and what messages show of a value in it."""

import codecs
from pathlib import Path
from typing import Any

from seqtrain.config.strict_yaml import LARGEST
from seqtrain.system.errors import ConfigError


def read_beginning(path: Path) -> tuple[str, bool]:
    """As much of a file as a config may have, and whether that is all of it; read once, as it may be a pipe.

    Raises
    ------
    ConfigError : it is missing, cannot be read, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST)
            whole = not file.read(1)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=whole), whole
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: is not UTF-8 (byte {error.object[error.start]:#04x}); convert it, e.g. "
            "iconv -f latin1 -t utf-8"
        ) from None


def short(value: Any, width: int = 40) -> str:
    """A value for a message, cut to a bearable length."""
    try:
        text = repr(value)
    except ValueError:  # of a number with thousands of digits
        text = f"a number of {value.bit_length()} bits" if isinstance(value, int) else "a number of many digits"
    return text if len(text) <= width else text[: width - 3] + "..."


def plain(text: str, width: int = 80) -> str:
    """A user's own words for a message: as they are if they fit into a line, else quoted and cut."""
    return text if text.isprintable() and len(text) <= width else short(text, width)
