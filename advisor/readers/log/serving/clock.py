"""When a line was written, as far as it says so: most servers leave out the year, some the date."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

# The year, the date and the zone may be missing; the last time before a message is the program's own.
_TIME = re.compile(
    r"(?<![\d.])(?:(?:(\d{4})[-/])?(\d{2})[-/](\d{2})[T -]\s?)?(\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,9}))?(?!\d)"
    r"(Z|[+-]\d{2}:?\d{2})?"
)
PREFIX = 300  # characters before a message in which its time is looked for
_YEARLESS, _DATELESS = 2001, (2001, 1, 1)  # stand-ins; most years have no 29 February
_HALF_DAY, _HALF_YEAR = 43_200.0, 15_768_000.0


def line_start(text: str, place: int, longest: int = PREFIX) -> int:
    """Where the line of a place begins, at most `longest` characters before it: a log may be one endless line."""
    limit = max(0, place - longest)
    return max(text.rfind("\n", limit, place) + 1, limit)


def line_end(text: str, place: int, longest: int) -> int:
    """Where the line of a place ends, at most `longest` characters after it."""
    limit = min(len(text), place + longest)
    found = text.find("\n", place, limit)
    return found if found >= 0 else limit


class Clock:
    """Times of lines in the order of a log, in seconds.

    Lines without a year (or a date) go on into the next one where time falls back by more than half of it.

    Attributes:
        first: the first time; None before there is one.
        last: the latest time.
        shown: how the first and the last time are written.
        absolute: whether the first time has its date and zone, so that `first` is in Unix seconds.
    """

    def __init__(self) -> None:
        self.first: float | None = None
        self.last: float | None = None
        self.shown: tuple[str, str] = ("", "")
        self.absolute = False
        self._before = 0.0
        self._shift: dict[bool, float] = {}

    def read(self, text: str, start: int, end: int) -> float | None:
        """The time in the part of the text before a message; None where there is none."""
        found = None
        for found in _TIME.finditer(text, max(start, end - PREFIX), end):  # noqa: B007 - the last one counts
            pass
        return self._take(found) if found else None

    @property
    def seconds(self) -> float:
        """From the first to the last time."""
        return self.last - self.first if self.first is not None and self.last is not None else 0.0

    @property
    def started(self) -> float | None:
        """When the first line was written, Unix seconds; None where the log does not tell."""
        return self.first if self.absolute else None

    def _take(self, found: re.Match[str]) -> float | None:
        moment = _moment(found)
        if moment is None:
            return None
        dated = found[2] is not None
        if not found[1]:
            wrap, period = (_HALF_YEAR, 365 * 86_400.0) if dated else (_HALF_DAY, 86_400.0)
            moment += self._shift.get(dated, 0.0)
            if moment < self._before - wrap:
                self._shift[dated] = self._shift.get(dated, 0.0) + period
                moment += period
        self._before = moment
        shown = found[0].strip()
        if self.first is None:
            self.first, self.absolute = moment, bool(found[1] and found[8])
        if self.last is None or moment >= self.last:
            self.last, self.shown = moment, (self.shown[0] or shown, shown)
        return moment


def _moment(found: re.Match[str]) -> float | None:
    """Seconds of a time; None when it is none that a clock shows."""
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    date = (int(year or _YEARLESS), int(month), int(day)) if month else _DATELESS
    if date[1:] == (2, 29) and not year:
        date = (2000, 2, 29)
    try:
        moment = datetime(*date, int(hour), int(minute), int(second), tzinfo=_zone(zone))
    except ValueError:
        return None
    if moment.year == 2000 and not year:  # a leap day, in the year of the days around it
        moment += timedelta(days=366)
    return moment.timestamp() + (float(f"0.{fraction}") if fraction else 0.0)


def _zone(text: str | None) -> timezone:
    if not text or text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    if minutes >= 24 * 60:
        return UTC
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
