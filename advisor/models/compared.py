"""What a comparison of two diagnoses says: findings, metrics, remedies, and what else differs.

Not among the names of `advisor.models`: only comparing pays for making these classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from advisor.models.concluded import Diagnosis, Finding
from advisor.models.known import Condition, Rule
from advisor.models.words import Text, Value

Fate = Literal["gone", "persisting", "new", "first_seen", "unmeasured"]
Judgement = Literal["better", "worse", "moved", "same"]


@dataclass(frozen=True, slots=True)
class Band:
    """The 95 % interval of a change by the noise within both runs, and how many samples each run had."""

    low: float
    high: float
    samples: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Metric:
    """A fact that both runs measured.

    `change` is relative (-0.41: 41 % less), or in points of the share (-0.41: 41 points less) where `points` is
    True; None when there is nothing to relate to, as from 0. `band` is None where there is one number each.
    `judgement` is ``moved`` when it changed beyond noise and neither direction is better. `shown` is whether it is
    worth reading: it has a direction, a finding rests on it, or samples prove that it changed.
    """

    fact: str
    unit: str
    before: float
    after: float
    change: float | None
    points: bool
    band: Band | None
    judgement: Judgement
    shown: bool


@dataclass(frozen=True, slots=True)
class Check:
    """A `verify` condition of remedies, on the run afterwards: `holds` is None when that was not measured."""

    condition: Condition
    remedies: tuple[str, ...]
    holds: bool | None
    value: Value | None
    limit: Value | tuple[Value, ...] | None


@dataclass(frozen=True, slots=True)
class Fated:
    """What became of one finding.

    A finding that another one explains has that one's id in `under_before` or `under_after`; its own `before` or
    `after` is then None. `missing` are the facts without which it can no longer (or could not yet) be judged.
    """

    rule: Rule
    fate: Fate
    before: Finding | None
    after: Finding | None
    under_before: str | None
    under_after: str | None
    missing: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def unverified(self) -> bool:
        """Whether the rule no longer matches and yet no remedy is verified: the setting changed, the symptom stayed."""
        holds = [check.holds for check in self.checks]
        return self.fate == "gone" and False in holds and True not in holds


@dataclass(frozen=True, slots=True)
class Realised:
    """What was won of what could be: shares of the time before, with its 95 % interval.

    `bound` is what removing `rules` can win at most. `judgement` is ``near`` it, ``partly``, ``none`` beyond noise,
    or ``above`` it: then something else changed too.
    """

    rules: tuple[str, ...]
    bound: float
    share: float
    low: float | None
    high: float | None
    judgement: Literal["near", "partly", "none", "above"]
    said: Text


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact about how the runs were set up that differs.

    `kind` is ``work`` when it changes what a step does, ``place`` when machine, ranks or model are not the same,
    else ``setting``.
    """

    fact: str
    kind: Literal["work", "place", "setting"]
    before: Value
    after: Value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two diagnoses by the same rules, side by side.

    `basis` is the metric that says whether the run became faster: step or request time, or throughput where
    `same_work` is False, because a step does not do what it did. `verdict` is ``unknown`` when there is none.
    """

    before: Diagnosis
    after: Diagnosis
    verdict: Literal["better", "worse", "same", "unknown"]
    headline: Text
    basis: Metric | None
    same_work: bool
    findings: tuple[Fated, ...]
    metrics: tuple[Metric, ...]
    realised: Realised | None
    differences: tuple[Difference, ...]

    @property
    def unchanged(self) -> int:
        """How many facts were measured in both runs and did not change beyond noise."""
        return sum(m.judgement == "same" for m in self.metrics)
