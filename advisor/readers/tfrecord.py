"""Records of TensorFlow's files and fields of protocol buffers: as much as event files need, and no more.

A record is its length (8 bytes), a checksum of that, the data, and a checksum of those; checksums are CRC-32C,
masked (tensorflow/core/lib/io/record_writer.h). Everything read is bounded: nothing in a file is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from advisor.readers.artefact import Stream

MAX_RECORD = 64 << 20  # an image or a graph; scalars take some tens of bytes
CHECKED = 1 << 16  # larger records hold no scalar: their checksum would only cost time
MAX_FIELDS = 100_000


class Damaged(Exception):
    """The bytes from here on are no record."""


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def masked_crc(data: bytes) -> int:
    """The checksum that stands beside data.

    >>> hex(masked_crc(bytes(8)))
    '0x7980329'
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _TABLE[(value ^ byte) & 0xFF]
    value ^= 0xFFFFFFFF
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def looks_like_events(head: bytes) -> bool:
    """Whether bytes are an event file of TensorBoard, by the first record, which tells the version of its format."""
    if len(head) < 12 or masked_crc(head[:8]) != int.from_bytes(head[8:12], "little"):
        return False
    return b"brain.Event:" in head[12 : 12 + min(200, int.from_bytes(head[:8], "little"))]


def records(stream: Stream) -> Iterator[bytes]:
    """The data of each record (raises Damaged where one is cut off or its checksum is wrong)."""
    while head := _exactly(stream, 12, allow_end=True):
        length = int.from_bytes(head[:8], "little")
        if masked_crc(head[:8]) != int.from_bytes(head[8:], "little") or length > MAX_RECORD:
            raise Damaged
        data = _exactly(stream, length)
        told = int.from_bytes(_exactly(stream, 4), "little")
        if length <= CHECKED and masked_crc(data) != told:
            raise Damaged
        yield data


def _exactly(stream: Stream, size: int, *, allow_end: bool = False) -> bytes:
    parts: list[bytes] = []
    missing = size
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    if missing and not (allow_end and missing == size):
        raise Damaged
    return b"".join(parts)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of the fields of a message: integers as such, all else as bytes (raises Damaged)."""
    at, count = 0, 0
    while at < len(data):
        count += 1
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if size < 0 or at + size > len(data) or count > MAX_FIELDS:
            raise Damaged
        yield key >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise Damaged


def double(data: int | bytes) -> float:
    """A field of fixed 64 bits as a number (raises Damaged)."""
    if not isinstance(data, bytes) or len(data) != 8:
        raise Damaged
    return float(struct.unpack("<d", data)[0])


def single(data: int | bytes) -> float:
    """A field of fixed 32 bits as a number (raises Damaged)."""
    if not isinstance(data, bytes) or len(data) != 4:
        raise Damaged
    return float(struct.unpack("<f", data)[0])
