"""What is wrong with bytes that are no UTF-8 text, and how to convert them."""

import codecs

MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""The encodings that a byte order mark names."""


def fault_of_mark(beginning: bytes) -> str | None:
    """The message about a file that begins with a byte order mark of another encoding; None without one."""
    name = next((name for mark, name in MARKS.items() if beginning.startswith(mark)), None)
    return name and f"is {name.upper()}, as its byte order mark says; convert it, e.g. iconv -f {name} -t utf-8"


def not_utf8(error: UnicodeDecodeError, before: int = 0, *, after_utf8: bool = False) -> str:
    """The message about bytes that cannot be decoded.

    Parameters
    ----------
    before : bytes of the file before those of the error.
    after_utf8 : whether characters of several bytes were decoded among them.
    """
    content = error.object
    if before == 0 and (fault := fault_of_mark(content)):
        return fault
    cure = "convert it, e.g. iconv -f latin1 -t utf-8"
    if after_utf8 or not content[: error.start].isascii():  # a conversion of the whole would destroy these characters
        cure = (
            "the text before it is UTF-8, so texts in two encodings were joined; convert those that are not, e.g. "
            "iconv -f latin1 -t utf-8, before you join them"
        )
        if error.reason == "unexpected end of data":
            cure = "the text before it is UTF-8, and the last character is cut off; remove the bytes from there on"
    return f"is not UTF-8 (byte {content[error.start]:#04x} at byte offset {before + error.start}); {cure}"
