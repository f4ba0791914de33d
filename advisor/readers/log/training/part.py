"""What one family of training logs says about a run, before the families are put together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from advisor.models import Series, Value
from advisor.readers.log.log import Log
from advisor.readers.rows import Row
from advisor.readers.steps import Window

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,18})(?:\.\d{1,20})?(?:[eE][-+]?\d{1,3})?"
MAX_LINE = 4000  # characters of a line that are looked at: a log line of a training step has some hundreds


@dataclass(frozen=True, slots=True)
class Said:
    """A setting that the log states at a place in it."""

    at: int
    name: str
    value: Value
    unit: str


@dataclass
class Part:
    """What one family of log lines says.

    Args:
        name: of the family, for the note.
        window: its timed steps.
        rows: facts over the window.
        said: settings, wherever they stand.
        at: place of the first thing that was used, by which settings of several runs in one text are told apart.
        seconds: how long the run took, where the log says so.
        notes: sentences for a person.
        trains: whether it shows that a model is trained.
        coarse: whether its step times are smoothed or rounded, so that another family's are better.
    """

    name: str
    window: Window = field(default_factory=lambda: Window(()))
    rows: list[Row] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    at: int = 0
    seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    trains: bool = True
    coarse: bool = False
    series: Mapping[str, Series] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether it says nothing at all."""
        return not self.said and all(r[1] is None for r in self.rows)


def number(text: str) -> float:
    """A number of a log, with or without separators of thousands."""
    return float(text.replace(",", ""))


def line_at(log: Log, at: int) -> tuple[int, str]:
    """Where the line around a place begins, and the line."""
    start = log.text.rfind("\n", max(0, at - MAX_LINE), at) + 1 or max(0, at - MAX_LINE)
    end = log.text.find("\n", at, start + MAX_LINE)
    return start, log.text[start : end if end >= 0 else start + MAX_LINE]


def hinted(text: str, hints: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Where each line begins that has one of some fixed strings in it, and the line: much faster than a pattern."""
    at = 0
    while at < len(text):
        end = text.find("\n", at, at + MAX_LINE)
        end = end if end >= 0 else min(len(text), at + MAX_LINE)
        line = text[at:end]
        if any(hint in line for hint in hints):
            yield at, line
        at = end + 1 if text[end : end + 1] == "\n" else max(end, at + 1)


def latest(said: Iterable[Said], before: int) -> dict[str, Said]:
    """Of each setting what was said last before a place in the text, else first after it."""
    chosen: dict[str, Said] = {}
    for one in sorted(said, key=lambda s: s.at):
        if one.name not in chosen or one.at <= before:
            chosen[one.name] = one
    return chosen


def flag(text: str) -> bool | None:
    """What a printed truth value says; None when it is none.

    >>> flag("True"), flag("false,"), flag("None")
    (True, False, None)
    """
    word = re.sub(r"\W", "", text).lower()
    return True if word == "true" else False if word == "false" else None
