"""Pickles of plain data, read without running anything that they ask for.

Only numbers, text, bytes, None, lists, tuples and dictionaries with simple keys are made; an instruction that looks up
a name or calls something ends the reading. Memory stays in proportion to the file, and its instructions are counted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

MAX_INSTRUCTIONS = 60_000_000
MAX_INTEGER = 16  # bytes; addresses have 8

_KEYS = frozenset((str, int, float, bytes, bool, type(None)))
_CODE = frozenset(
    b"cRoib\x93\x81\x92\x82\x83\x84PQ"
)  # GLOBAL, REDUCE, OBJ, INST, BUILD, STACK_GLOBAL, NEWOBJ, EXT, PERSID


class AsksForCode(ValueError):
    """The pickle wants a name looked up or something called."""


class Damaged(ValueError):
    """The pickle is cut off, is damaged, or holds data of another kind."""


def loads(data: bytes) -> Any:
    """The value of a pickle.

    Raises:
        AsksForCode: when it is more than data.
        Damaged: when it cannot be read.
    """
    try:
        return _Machine(data).run()
    except (IndexError, struct.error, UnicodeDecodeError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(str(error) or type(error).__name__) from None


class _Machine:
    """The stack machine of the format; what lies below a mark waits in `below`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value; the few instructions that a snapshot mostly consists of are done here, for speed."""
        data, memo, at, stack = self.data, self.memo, self.at, self.stack
        for _ in range(MAX_INSTRUCTIONS):
            code = data[at]
            at += 1
            if code == 0x68:  # BINGET
                stack.append(memo[data[at]])
                at += 1
            elif code == 0x6A:  # LONG_BINGET
                stack.append(memo[int.from_bytes(data[at : at + 4], "little")])
                at += 4
            elif code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code == 0x4B:  # BININT1
                stack.append(data[at])
                at += 1
            elif code == 0x2E:  # STOP
                return stack.pop()
            else:
                self.at = at
                self.other(code)
                at, stack = self.at, self.stack
        raise Damaged(f"it has more than {MAX_INSTRUCTIONS:,} instructions")

    def other(self, code: int) -> None:
        """One of the rarer instructions."""
        operation = _OPERATIONS.get(code)
        if operation is None:
            if code in _CODE:
                raise AsksForCode(f"instruction {code:#x} at byte {self.at - 1}")
            raise Damaged(f"instruction {code:#x} at byte {self.at - 1} is not one of plain data")
        operation(self)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.at + count
        if end > len(self.data):
            raise Damaged("it ends in the middle of a value")
        part = self.data[self.at : end]
        self.at = end
        return part

    def size(self, width: int) -> int:
        """The next number, without sign."""
        return int.from_bytes(self.take(width), "little")

    def above_mark(self) -> list[Any]:
        """What was pushed since the last mark, taken off together with it."""
        items = self.stack
        self.stack = self.below.pop()
        return items


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def operation(m: _Machine) -> None:
        m.stack.append(value(m))

    return operation


def _integer(m: _Machine) -> int:
    size = m.size(1)
    if size > MAX_INTEGER:
        raise Damaged("a number is far too large")
    return int.from_bytes(m.take(size), "little", signed=True)


def _store(width: int) -> Callable[[_Machine], None]:
    def operation(m: _Machine) -> None:
        m.memo[m.size(width)] = m.stack[-1]

    return operation


def _text(width: int) -> Callable[[_Machine], None]:
    return _push(lambda m: m.take(m.size(width)).decode("utf-8", "surrogatepass"))


def _mark(m: _Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _append(m: _Machine) -> None:
    item = m.stack.pop()
    _list(m).append(item)


def _appends(m: _Machine) -> None:
    items = m.above_mark()
    _list(m).extend(items)


def _list(m: _Machine) -> list[Any]:
    if not isinstance(m.stack[-1], list):
        raise Damaged("items for something that is no list")
    return m.stack[-1]


def _items(m: _Machine, items: list[Any]) -> None:
    into = m.stack[-1]
    if not isinstance(into, dict) or len(items) % 2:
        raise Damaged("items for something that is no dictionary")
    keys = items[::2]
    if not _KEYS.issuperset(map(type, keys)):
        raise Damaged("a key that is no text and no number")  # hashing nested keys may never end
    into.update(zip(keys, items[1::2], strict=True))


def _set_item(m: _Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    _items(m, [key, value])


def _set_items(m: _Machine) -> None:
    items = m.above_mark()  # before what they are put into is looked at: the stack is another one then
    _items(m, items)


def _list_above(m: _Machine) -> None:
    items = m.above_mark()
    m.stack.append(items)


def _tuple_above(m: _Machine) -> None:
    items = m.above_mark()
    m.stack.append(tuple(items))


def _tuple(count: int) -> Callable[[_Machine], None]:
    def operation(m: _Machine) -> None:
        if len(m.stack) < count:
            raise Damaged("a tuple of too few items")
        m.stack[-count:] = [tuple(m.stack[-count:])]

    return operation


def _drop(m: _Machine) -> None:
    m.stack.pop()


def _drop_mark(m: _Machine) -> None:
    m.above_mark()


_OPERATIONS: dict[int, Callable[[_Machine], None]] = {
    0x80: lambda m: None if m.size(1) <= 5 else _unknown_protocol(),
    0x95: lambda m: None if m.size(8) <= len(m.data) else _unknown_protocol(),
    0x4E: _push(lambda _: None),
    0x88: _push(lambda _: True),
    0x89: _push(lambda _: False),
    0x4A: _push(lambda m: int.from_bytes(m.take(4), "little", signed=True)),
    0x4D: _push(lambda m: m.size(2)),
    0x8A: _push(_integer),
    0x47: _push(lambda m: struct.unpack(">d", m.take(8))[0]),
    0x58: _text(4),
    0x8C: _text(1),
    0x8D: _text(8),
    0x42: _push(lambda m: m.take(m.size(4))),
    0x43: _push(lambda m: m.take(m.size(1))),
    0x8E: _push(lambda m: m.take(m.size(8))),
    0x5D: _push(lambda _: []),
    0x7D: _push(lambda _: {}),
    0x29: _push(lambda _: ()),
    0x28: _mark,
    0x6C: _list_above,
    0x74: _tuple_above,
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    0x61: _append,
    0x65: _appends,
    0x73: _set_item,
    0x75: _set_items,
    0x71: _store(1),
    0x72: _store(4),
    0x32: _push(lambda m: m.stack[-1]),
    0x30: _drop,
    0x31: _drop_mark,
}


def _unknown_protocol() -> None:
    raise Damaged("it is of a protocol that is not known, or damaged")
