"""What a tool said about one run or one recording whose cause is known, and what many of them add up to.

Counts only: no I/O. A finding is `(id, severity, explains)`; `explains` are the causes that it stands for beside its
own id (advisor folds symptoms under their cause; of a peer, the causes that `peers_map` credits it with).
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Told = tuple[str, str, tuple[str, ...]]

ALARMING = ("serious", "critical")
NOTHING = "nothing"
Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Outcome:
    """What was said about one subject.

    Args:
        scenario: its name.
        kind: where it comes from: ``live``, ``gpu``, ``serving`` and so on.
        truth: the rule that names the planted cause (of a twin: the cause that it lacks).
        accepted: rules that an expert would accept as well.
        findings: what was found, first one first.
        twin: nothing is planted.
        seconds: from the program's end (or the files at hand) to the verdict.
        total: from the start of a live run to the verdict, in seconds.
        also: findings that are true as well, though they are not the cause.
        failed: why the tool gave no verdict at all; such an outcome counts neither for nor against it.
    """

    scenario: str
    kind: str
    truth: str
    accepted: tuple[str, ...]
    findings: tuple[Told, ...]
    twin: bool
    seconds: float
    total: float = 0.0
    also: tuple[str, ...] = ()
    failed: str = ""

    @property
    def first(self) -> str:
        """The id of the first finding."""
        return self.findings[0][0] if self.findings else NOTHING

    @property
    def right(self) -> bool:
        """Whether the first finding names the planted cause, or folds it under itself."""
        return bool(self.findings) and self.names(self.findings[0])

    @property
    def found(self) -> bool:
        """Whether any finding names it."""
        return any(map(self.names, self.findings))

    @property
    def alarms(self) -> tuple[Told, ...]:
        """The findings that are at least serious."""
        return tuple(told for told in self.findings if told[1] in ALARMING)

    def names(self, told: Told) -> bool:
        """Whether a finding names the planted cause."""
        return not {self.truth, *self.accepted}.isdisjoint((told[0], *told[2]))

    def true(self, told: Told) -> bool:
        """Whether a finding is true of this subject: of a twin none is."""
        return not self.twin and (told[0] in self.also or self.names(told))


class Share(NamedTuple):
    """So many of so many."""

    part: int
    of: int

    @property
    def value(self) -> float:
        """The share itself; nothing of nothing is 0."""
        return self.part / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return wilson(self.part, self.of)

    def __str__(self) -> str:
        low, high = self.interval
        percent = f"{self.value:.0%} ({self.part} of {self.of}; {low:.0%} to {high:.0%})"
        return percent.replace("%", " %") if self.of else "-"


def wilson(part: int, of: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share (Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212), at 95 % by default.

    >>> [round(end, 4) for end in wilson(81, 263)]  # Newcombe, Stat. Med. 17, 1998, 857-872, table I, method 3
    [0.2553, 0.3662]
    """
    if of == 0:
        return 0.0, 1.0
    share, square = part / of, z * z
    middle = share + square / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    low, high = (middle - half) / (1 + square / of), (middle + half) / (1 + square / of)
    return low if part else 0.0, high if part < of else 1.0  # rounding aside they are that already


def judged(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those in which the tool came to a verdict."""
    return [o for o in outcomes if not o.failed]


def first_place(outcomes: Iterable[Outcome]) -> Share:
    """Of the planted ones, those whose first finding is right."""
    planted = [o for o in judged(outcomes) if not o.twin]
    return Share(sum(o.right for o in planted), len(planted))


def recall(outcomes: Iterable[Outcome]) -> Share:
    """Of the planted ones, those whose cause is found at any place."""
    planted = [o for o in judged(outcomes) if not o.twin]
    return Share(sum(o.found for o in planted), len(planted))


def precision(outcomes: Iterable[Outcome]) -> Share:
    """Of all findings that are at least serious, twins' included, those that are true."""
    alarms = [(o, told) for o in judged(outcomes) for told in o.alarms]
    return Share(sum(o.true(told) for o, told in alarms), len(alarms))


def false_alarms(outcomes: Iterable[Outcome]) -> Share:
    """Of the twins, those with a finding that is at least serious."""
    twins = [o for o in judged(outcomes) if o.twin]
    return Share(sum(bool(o.alarms) for o in twins), len(twins))


def confusion(outcomes: Iterable[Outcome]) -> dict[str, Counter[tuple[str, bool]]]:
    """Planted cause -> how often which finding came first, and whether it was right; twins are under `NOTHING`.

    Of a twin only a finding that is at least serious counts.
    """
    table: dict[str, Counter[tuple[str, bool]]] = {}
    for o in judged(outcomes):
        row = table.setdefault(NOTHING if o.twin else o.truth, Counter())
        row[(o.alarms[0][0] if o.alarms else NOTHING, not o.alarms) if o.twin else (o.first, o.right)] += 1
    return table


def times(numbers: Sequence[float]) -> tuple[float, float]:
    """Median and longest."""
    return (statistics.median(numbers), max(numbers)) if numbers else (math.nan, math.nan)
