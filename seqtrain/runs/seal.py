"""A checksum over a whole file, kept where readers of zip archives pass it by: in the comment of the archive.

    [ the archive, its end record announcing a comment ] [ seqtrain checkpoint, format 3, sha256 <64 digits> ]
      \\________________ what the checksum is of ______/    `unzip -z best.pt` shows it

Torch, and any other program, reads a sealed file as it would read the archive without a comment.
"""

import hashlib
import io
import re
from typing import BinaryIO

from seqtrain.system.errors import CheckpointError

_SEAL = re.compile(rb"seqtrain checkpoint, format (\d{1,9}), sha256 [0-9a-f]{64}\Z")
_LONGEST = 120
_BEFORE_SEALS = re.compile(rb"formatq\x01K([\x00-\xff])")
"""How the entry `format` begins the pickle of a file from before there were seals."""


class OtherFormat(CheckpointError):
    """The file is of another version of seqtrain, and as whole as can be known."""


def seal(archive: io.BytesIO, format_: int) -> None:
    """Announce the comment in the last two bytes of an archive that has none, and append it."""
    length = len(_seal(format_, hashlib.sha256()))
    archive.seek(-2, io.SEEK_END)
    archive.write(length.to_bytes(2, "little"))
    archive.write(_seal(format_, hashlib.sha256(archive.getbuffer())))


def check_seal(file: BinaryIO, format_: int) -> int:
    """Prove that a file is whole and of this format; returns the length of the archive in it.

    Raises
    ------
    OtherFormat : it says that it has another format.
    CheckpointError : it has no seal, or one that does not fit. Both say what is wrong, not where.
    """
    length = file.seek(0, io.SEEK_END)
    file.seek(max(0, length - _LONGEST))
    found = _SEAL.search(file.read())
    file.seek(0)
    if found is None:
        older = _BEFORE_SEALS.search(file.read(500))
        if older is not None and older[1][0] < format_:
            raise OtherFormat(_of_format(older[1][0], format_))
        raise CheckpointError("is not a seqtrain checkpoint (damaged, or written by another program)")
    if int(found[1]) != format_:
        raise OtherFormat(_of_format(int(found[1]), format_))
    remaining, digest = length - len(found[0]), hashlib.sha256()
    while block := file.read(min(remaining, 1 << 20)):
        digest.update(block)
        remaining -= len(block)
    if found[0] != _seal(format_, digest):
        raise CheckpointError("is damaged (its checksum does not fit its contents)")
    return length - len(found[0])


def _seal(format_: int, digest: "hashlib._Hash") -> bytes:
    return b"seqtrain checkpoint, format %d, sha256 %s" % (format_, digest.hexdigest().encode())


def _of_format(found: int, read: int) -> str:
    return f"has format {found}, this seqtrain reads {read}; use the seqtrain that wrote it, or train anew"
