"""One text, whole, with the way back from a place in it to its line."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from advisor.readers.artefact import CHUNK, Artefact, Tick, decode

MAX_BYTES = 256 << 20  # of a longer text the beginning and the end are read, where settings and the last state stand
KEPT = MAX_BYTES // 2
ENDS = 1 << 20  # characters at either end of a text, for what does not stand in the middle of a long log
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Log:
    """A text with plain line ends and without terminal colours.

    Args:
        origin: where it comes from, as shown.
        text: all of it, or its beginning and its end.
        note: what was left out, as a sentence; empty when nothing was.
        changed: when the file was written last, Unix seconds; 0 when that is not known.
    """

    origin: str
    text: str
    note: str = ""
    changed: float = 0.0

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def where(self, at: int) -> str:
        """``origin:line`` of a position in the text."""
        return f"{self.origin}:{bisect.bisect_right(self._starts, at)}"

    def lines(self) -> Iterator[str]:
        """Line by line, without line ends."""
        return iter(self.text.split("\n"))


def load(artefact: Artefact, tick: Tick) -> Log:
    """The text of an artefact (raises InputError)."""
    first: list[bytes] = []
    last: list[bytes] = []
    held = dropped = done = 0
    with artefact.open(tick) as stream:
        while part := stream.read(CHUNK):
            done += len(part)
            if done <= KEPT:
                first.append(part)
                continue
            last.append(part)
            held += len(part)
            while held - len(last[0]) >= KEPT:
                gone = len(last.pop(0))
                held -= gone
                dropped += gone
    text = decode(b"".join(first + last)).replace("\r\n", "\n").replace("\r", "\n")
    note = f"{dropped:,} bytes in the middle were not read" if dropped else ""
    return Log(artefact.origin, _COLOURS.sub("", text) if "\x1b" in text else text, note, artefact.changed)
