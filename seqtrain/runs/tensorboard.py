"""Event files, as TensorBoard reads them, written without TensorBoard.

A file is a list of records. Each has the length of its content, the content, and a checksum of either. The content is a
message in the format of Protocol Buffers, of which few fields are needed here: when, at which step, figures by
name. The format has not changed since 2016, and writing it takes less code than looking after a dependency.
"""

import math
import struct
from collections.abc import Iterator, Mapping

VERSION = "brain.Event:2"
"""The format of the file, which its first event names."""


def _table() -> Iterator[int]:
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


_CRC = tuple(_table())


def _checksum(content: bytes) -> bytes:
    """CRC-32C, rotated and shifted as the format wants it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _number(value: int) -> bytes:
    """A whole number in groups of seven bits, the lowest first."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _part(field: int, content: bytes) -> bytes:
    """A field that has a length: a text or a message."""
    return _number(field << 3 | 2) + _number(len(content)) + content


def _event(time: float, step: int, rest: bytes) -> bytes:
    return _record(struct.pack("<Bd", 1 << 3 | 1, time) + _number(2 << 3) + _number(step) + rest)


def beginning(time: float) -> bytes:
    """The first events of a file. A TensorBoard that runs forgets what earlier files of the folder held."""
    start = _part(7, _number(1 << 3) + _number(1))  # SessionLog.START at step 0
    return _event(time, 0, _part(3, VERSION.encode())) + _event(time, 0, start)


def time_of(content: bytes) -> float | None:
    """The time of the first event of a file; None if there is none."""
    if len(content) < 21 or content[12] != 1 << 3 | 1:
        return None
    (time,) = struct.unpack_from("<d", content, 13)
    return float(time) if math.isfinite(time) else None


def figures(time: float, step: int, values: Mapping[str, float]) -> bytes:
    """An event with figures by name; nothing if there are none.

    Parameters
    ----------
    time : in seconds since 1970.
    """
    parts = []
    for name, value in values.items():
        try:
            number = struct.pack("<f", value)
        except OverflowError:  # the format has 32 bits
            number = struct.pack("<f", math.copysign(math.inf, value))
        parts.append(_part(1, _part(1, name.encode()) + bytes([2 << 3 | 5]) + number))
    return _event(time, step, _part(5, b"".join(parts))) if parts else b""
