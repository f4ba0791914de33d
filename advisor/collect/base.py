"""What every live collector shares: the protocol, file reads, and arithmetic on counters.

A collector is two halves: `read` touches the world and returns raw, JSON-able output;
`parse` is pure and turns a sequence of such samples into facts, so a stored capture
gives the same facts as the live machine. Nothing here decides when to read (see `sampler`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from advisor.models import Fact, Series, Value

Sample = dict[str, Any]
Parsed = tuple[tuple[Fact, ...], dict[str, Series]]
POINTS = 600  # the most points a series keeps: it is for pictures only
CHUNK = 1 << 16


class Collector(Protocol):
    """One live source. A class attribute ``once = True`` asks for a single read.

    `read` raises FileNotFoundError when the source is absent, `NotYet` when it may still
    appear, PermissionError when access is denied, and anything else when it is unreadable;
    the message is the note that a person reads. A sample may carry its own ``note``.
    """

    kind: str
    origin: str

    def read(self) -> Sample:
        """One raw reading; JSON-able. The sampler adds ``t``."""
        ...

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Facts and series of the samples, which are in order of time and at least one."""
        ...


class NotYet(FileNotFoundError):
    """The source is absent now and may appear later: reading is tried again."""


class Facts:
    """Facts of one origin, in order; a missing or non-finite value adds nothing."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._facts: list[Fact] = []

    def add(self, name: str, value: Value | None, unit: str, where: str | None = None) -> None:
        """Add a fact unless its value is missing."""
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            return
        plain = value if isinstance(value, bool | str) else float(value)
        self._facts.append(Fact(name, plain, unit, self._origin, where))

    def share(self, name: str, value: float | None, where: str | None = None) -> None:
        """Add a share of 1; rounding of counters may leave it a little outside, so it is clamped."""
        self.add(name, None if value is None else min(1.0, max(0.0, value)), "1", where)

    def all(self) -> tuple[Fact, ...]:
        """What was added."""
        return tuple(self._facts)


def read_text(path: str | Path) -> str:
    """The text of a small kernel file; bytes that are not UTF-8 are replaced."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # cheaper than open(), for 200 files a sample
    try:
        chunks = [os.read(file, CHUNK)]
        while len(chunks[-1]) > CHUNK // 4:  # a small answer is a whole one; a kernel file may end a read early
            chunks.append(os.read(file, CHUNK))
    finally:
        os.close(file)
    return b"".join(chunks).decode("utf-8", "replace")


def read_optional(path: str | Path) -> str | None:
    """Like `read_text`, None when the file cannot be read: for a detail whose source is otherwise good."""
    try:
        return read_text(path)
    except OSError:
        return None


def keyed(text: str, keys: Iterable[str]) -> dict[str, int]:
    """The integers of ``key value`` or ``key: value`` lines, for the keys asked for."""
    wanted = set(keys)
    found = {}
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        key = key.rstrip(":")
        if key in wanted:
            found[key] = int(rest.split()[0])
    return found


def times(samples: Sequence[Sample]) -> list[float]:
    """Seconds of every sample since the first one."""
    start = samples[0]["t"]
    return [s["t"] - start for s in samples]


def span(samples: Sequence[Sample]) -> float:
    """Seconds between the first and the last sample."""
    return float(samples[-1]["t"] - samples[0]["t"])


def increase(values: Sequence[float]) -> float:
    """How much a cumulative counter grew; a counter that was reset does not count as negative."""
    return sum(max(0.0, after - before) for before, after in pairwise(values))


def rate(t: Sequence[float], values: Sequence[float]) -> float | None:
    """Growth of a cumulative counter per second; None without two samples at different times."""
    if len(values) < 2 or t[-1] <= t[0]:
        return None
    return increase(values) / (t[-1] - t[0])


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part` over `whole`; None when either is missing or the whole is zero."""
    return part / whole if part is not None and whole else None


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there."""
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The `share` quantile (0 to 1), linear between neighbours."""
    if not values:
        return None
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def slope(t: Sequence[float], values: Sequence[float]) -> float:
    """Least-squares slope of `values` over `t`; 0 when all times are equal."""
    mt, mv = sum(t) / len(t), sum(values) / len(values)
    spread = sum((x - mt) ** 2 for x in t)
    return sum((x - mt) * (v - mv) for x, v in zip(t, values, strict=True)) / spread if spread else 0.0


def picture(t: Sequence[float], values: Sequence[float | None]) -> Series | None:
    """A series of at most `POINTS` points without the missing ones; None for fewer than two."""
    points = [(x, v) for x, v in zip(t, values, strict=True) if v is not None]
    if len(points) < 2:
        return None
    step = -(-len(points) // POINTS)
    kept = points[::step]
    return Series(tuple(round(x, 3) for x, _ in kept), tuple(v for _, v in kept))


def steps(t: Sequence[float], growth: Callable[[int], float | None]) -> Series | None:
    """A series of rates: `growth(i)` is what happened between samples i-1 and i, drawn at sample i."""
    rates: list[float | None] = []
    for i in range(1, len(t)):
        grown, gap = growth(i), t[i] - t[i - 1]
        rates.append(None if grown is None or gap <= 0 else grown / gap)
    return picture(t[1:], rates)


def pictures(**named: Series | None) -> dict[str, Series]:
    """The series that exist, under their fact names (``_`` for ``.``)."""
    return {name.replace("_", "."): series for name, series in named.items() if series is not None}
