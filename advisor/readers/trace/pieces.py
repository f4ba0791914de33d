"""A trace file, read front to back -> its events in runs, and what stands before and after them.

A file is cut where one event ends and the next begins. The cut is guessed from the last bytes that were read,
which costs nothing, and decoding proves it: what was cut inside a string or a nested list does not decode. Then,
and at the end, a scan that follows strings and brackets finds the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from advisor.errors import InputError, TooLarge
from advisor.readers.artefact import Stream

# What is decoded from it fits the second-level cache with a quarter of a megabyte, and decoding is twice as fast.
CHUNK = 1 << 18
# Process groups of thousands of ranks make headers of megabytes; one event has kilobytes.
MAX_HEADER, MAX_EVENT = 64 << 20, 64 << 20
MISSES = 3  # guesses that were wrong until every cut is found by a scan
_ARRAY = re.compile(rb'"traceEvents"\s*:\s*\[')
_QUOTE, _ESCAPE, _OPEN, _CLOSE = ord('"'), ord("\\"), ord("["), ord("]")
_SPACE = b" \t\r\n"
_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\Z")

_FIRST = re.compile(rb"[ \t\r\n,]*")

Decode = Callable[[bytes], list[Any]]


class Pieces:
    """The events of one trace in runs.

    Args:
        stream: the unpacked bytes.
        origin: for messages.
        decode: a JSON array of events -> events; raises ValueError when it is none.
        repair: the same for arrays that strict JSON does not allow.

    Attributes:
        header: what stands before and after the events.
        done: bytes of whole events so far.
        size: bytes read so far.
        closed: whether the list of events ended.
    """

    def __init__(self, stream: Stream, origin: str, decode: Decode, repair: Decode) -> None:
        self._stream, self._origin = stream, origin
        self._decode, self._repair = decode, repair
        self._rest = b""
        self._misses = 0
        self.header: dict[str, Any] = {}
        self.done = self.size = 0
        self.closed = False

    def __iter__(self) -> Iterator[list[Any]]:
        """Runs of events, as `decode` gives them.

        Raises:
            InputError: when there is no list of events, or what is in it cannot be read.
            TooLarge: when the header or one event is larger than any real one.
        """
        self._rest = self._find_events()
        wanted = CHUNK
        while not self.closed:
            more = self._more(max(CHUNK, wanted - len(self._rest)))
            self._rest += more
            events = self._next(last=not more)
            if events:
                yield events
            if not more:
                break
            wanted = CHUNK if events else 2 * len(self._rest)  # an event longer than a chunk is not scanned for each
            if len(self._rest) > MAX_EVENT:
                raise TooLarge(
                    f"{self._origin} holds an event of more than {MAX_EVENT >> 20} MiB, which no profiler writes"
                )
        if self.closed:
            self._read_tail()

    def _next(self, last: bool) -> list[Any]:
        """The whole events at the front of what was read, taken off."""
        guess = 0 if last or self._misses >= MISSES else self._guessed()
        if guess:
            try:
                return self._taken(guess, self._decode)
            except (ValueError, RecursionError):
                pass  # cut in the wrong place, or not strict JSON: the scan tells
        end = self._scanned()
        self._misses = self._misses + 1 if guess and guess != end else 0
        if not end:
            return []
        try:
            return self._taken(end, self._repair if guess == end else self._decode)
        except (ValueError, RecursionError):
            pass
        try:
            return self._taken(end, self._repair)
        except (ValueError, RecursionError):
            raise InputError(
                f"{self._origin} is damaged: after {self.done:,} bytes of whole events comes what is no JSON; "
                "copy it again, or save the trace again"
            ) from None

    def _taken(self, end: int, decode: Decode) -> list[Any]:
        start = _FIRST.match(self._rest).end()  # type: ignore[union-attr]  # it matches the empty text too
        events = decode(b"".join((b"[", memoryview(self._rest)[start:end], b"]")))
        self._rest = self._rest[end:]
        self.done += end
        return events

    def _more(self, size: int = CHUNK) -> bytes:
        part = self._stream.read(size)
        self.size += len(part)
        return part

    def _find_events(self) -> bytes:
        """What follows the bracket that opens the list of events; the header before it is kept."""
        data = self._more().removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
        if data.startswith(b"["):
            return data[1:]
        seen = 0
        while True:
            for found in _ARRAY.finditer(data, seen):
                header = _object(data[: found.start()].rstrip(_SPACE).removesuffix(b",") + b"}")
                if header is not None:
                    self.header.update(header)
                    return data[found.end() :]
            seen = max(0, len(data) - 1024)
            more = self._more()
            if not more:
                raise InputError(
                    f"{self._origin} looks like a trace and has no list of events (traceEvents); save it again"
                )
            data += more
            if len(data) > MAX_HEADER:
                raise TooLarge(f"{self._origin} has no events in its first {MAX_HEADER >> 20} MiB; profile again")

    def _guessed(self) -> int:
        """Where the last event but one seems to end: after the last ``}`` that a comma and ``{`` follow."""
        data, before = self._rest, len(self._rest)
        for _ in range(1000):
            brace = data.rfind(b"{", 0, before)
            if brace < 0:
                return 0
            between = _BETWEEN.search(data, max(0, brace - 64), brace)
            if between:
                return between.start() + 1
            before = brace
        return 0

    def _scanned(self) -> int:
        """Where the last whole event that was read ends; when the list of events ends as well, that is noted."""
        places, depth = _brackets(np.frombuffer(self._rest, np.uint8))
        below = np.flatnonzero(depth < 0)
        if below.size:
            self.closed = True
            depth = depth[: below[0]]
        ends = np.flatnonzero(depth == 0)
        return int(places[ends[-1]]) + 1 if ends.size else 0

    def _read_tail(self) -> None:
        """What follows the events: a name, the unit of display, the base of time."""
        tail = self._rest
        while len(tail) < MAX_HEADER and (more := self._more()):
            tail += more
        _, _, after = tail.partition(b"]")
        self.header.update(_object(b"{" + after.strip(_SPACE).removeprefix(b",")) or {})


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _brackets(data: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of brackets and braces outside of strings, and how deep one is after each."""
    quotes = np.flatnonzero(data == _QUOTE)
    slashes = np.flatnonzero(data == _ESCAPE)
    if slashes.size and quotes.size:
        quotes = quotes[~_escaped(quotes, slashes)]
    folded = data & 0xDF  # [ and { differ in one bit, and so do ] and }
    places = np.flatnonzero((folded == _OPEN) | (folded == _CLOSE))
    places = places[np.searchsorted(quotes, places) % 2 == 0]
    return places, np.cumsum(np.where(folded[places] == _OPEN, 1, -1))


def _escaped(quotes: NDArray[np.int64], slashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether an odd number of backslashes stands before each quote."""
    first = np.r_[True, np.diff(slashes) > 1]
    run = slashes[np.maximum.accumulate(np.where(first, np.arange(slashes.size), 0))]
    at = np.searchsorted(slashes, quotes) - 1
    return np.asarray((at >= 0) & (slashes[at] == quotes - 1) & ((quotes - run[at]) % 2 == 1))
