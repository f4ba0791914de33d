"""Rows of facts: what readers yield, and how rows become facts of one origin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from advisor.models import Fact, Value

Row = tuple[str, Value | None, str, str | None]  # name, value (None: not told), unit, where


def row(name: str, value: Value | None, unit: str, where: str | None = None) -> Row:
    """One row."""
    return name, value, unit, where


def share(name: str, value: float | None, where: str | None = None) -> Row:
    """A row for a share of 1; rounding of counters may leave it a little outside, so it is clamped."""
    return name, None if value is None else min(1.0, max(0.0, value)), "1", where


def facts(rows: Iterable[Row], origin: str) -> tuple[Fact, ...]:
    """The facts of the rows that hold a value, first come first kept."""
    return tuple(_distinct(rows, origin))


def _distinct(rows: Iterable[Row], origin: str) -> Iterator[Fact]:
    seen = set()
    for name, value, unit, where in rows:
        if value is not None and name not in seen:
            seen.add(name)
            yield Fact(name, value if isinstance(value, bool | str) else float(value), unit, origin, where)
