"""Protocol buffers without their schema: fields of a message by number, as they lie on the wire.

Format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_SIZES = {FIXED64: 8, FIXED32: 4}


class Damaged(ValueError):
    """The bytes are no message, or a part of one."""


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field: whole numbers as they are, everything else as bytes (raises Damaged)."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at, end)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(message, at, end)
            yield number, value
            continue
        if wire == BYTES:
            size, at = _varint(message, at, end)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise Damaged(f"a field of wire type {wire}")
        if not number or at + size > end:
            raise Damaged("a field that reaches behind the end of its message")
        yield number, message[at : at + size]
        at += size


def text(value: int | memoryview) -> str:
    """The text that a field holds."""
    return "" if isinstance(value, int) else bytes(value).decode("utf-8", "replace")


def signed(value: int) -> int:
    """A negative number, which is written as a large one."""
    return value - (1 << 64) if value >= 1 << 63 else value


def _varint(message: memoryview, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            break
    raise Damaged("a number that does not end")
