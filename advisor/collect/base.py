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
SHORT = 2048  # bytes: after so short an answer there is no more, unless a single line is longer than this
KEPT_OPEN = 256  # of the 1024 files that a process may usually have open


class Collector(Protocol):
    """One live source. An attribute ``once = True`` asks for a single read, ``pause_s`` for at least that pause.

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
        while chunks[-1]:  # a read of mountinfo or diskstats ends after about 4 KB, whatever was asked for
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


class Kept:
    """Kernel files that are read again and again: each is opened once, so that a sample costs one system call.

    At most `KEPT_OPEN` stay open; the others are opened each time. A file that cannot be
    read any more (its process or group has ended) is closed. Only for files of short lines.
    """

    def __init__(self) -> None:
        self._files: dict[str, int] = {}

    def read(self, path: str) -> str:
        """The text of the file now; raises OSError like `read_text`."""
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= KEPT_OPEN:
                return read_text(path)
            file = self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = part = os.pread(file, CHUNK, 0)
            while len(part) > SHORT:  # the kernel ends a read when the next record does not fit into its 4 KB
                part = os.pread(file, CHUNK, len(text))
                text += part
        except OSError:
            self.close(path)
            raise
        return text.decode("utf-8", "replace")

    def optional(self, path: str) -> str | None:
        """Like `read`, None when the file cannot be read."""
        try:
            return self.read(path)
        except OSError:
            return None

    def close(self, path: str) -> None:
        """Forget a file; nothing when it is not open."""
        file = self._files.pop(path, None)
        if file is not None:
            os.close(file)

    def __del__(self) -> None:
        for path in list(self._files):
            self.close(path)


def keyed(text: str, keys: Iterable[str]) -> dict[str, int]:
    """The integers of ``key value`` or ``key: value`` lines, for the keys asked for."""
    lines = "\n" + text
    found = {}
    for key in keys:  # a search for each of a few keys beats a look at each of 180 lines
        for sign in (" ", ":"):
            at = lines.find(f"\n{key}{sign}")
            if at >= 0:
                found[key] = int(lines[at + len(key) + 2 : at + len(key) + 60].split(maxsplit=1)[0])
                break
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


def median(values: Sequence[float]) -> float | None:
    """The middle value."""
    return percentile(values, 0.5)


def growth(values: Sequence[float]) -> float | None:
    """Relative growth after warm-up: the medians of the first and the last fifth of what follows the first third.

    None for fewer than 9 values or when there is nothing to compare with.

    >>> growth([0.0] * 4 + [10.0] * 4 + [15.0] * 4), growth([1.0] * 8)
    (0.5, None)
    """
    if len(values) < 9:
        return None
    warm = values[len(values) // 3 :]
    part = max(1, len(warm) // 5)
    before, after = median(warm[:part]), median(warm[-part:])
    share = ratio(after, before)
    return None if share is None else share - 1


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
