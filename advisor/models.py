"""The frozen dataclasses that cross stages.

Readings become one Profile; rules are matched against it; the result is a
Diagnosis; an Answer renders it. Nothing here computes: these are the words of
the design, and they are kept few and stable.

Both languages travel together in `Text` until the very end, where a face picks
one (Traditional Chinese is converted from Simplified there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Lang = Literal["en", "zh-Hans", "zh-Hant"]
LANGS: tuple[Lang, ...] = ("en", "zh-Hans", "zh-Hant")

Value = float | bool | str
Values = Mapping[str, Value]

SourceState = Literal["ok", "absent", "denied", "timeout", "unreadable"]
Severity = Literal["minor", "moderate", "serious", "critical"]
Confidence = Literal["low", "medium", "high"]
Status = Literal["experimental", "stable", "deprecated"]
Outcome = Literal["matched", "cleared", "incomplete", "inapplicable", "error"]
Verdict = Literal["bottleneck", "healthy", "inconclusive"]
AnswerKind = Literal["diagnosis", "knowledge", "calculation", "clarify", "out_of_scope"]

SEVERITIES: tuple[Severity, ...] = ("minor", "moderate", "serious", "critical")
CONFIDENCES: tuple[Confidence, ...] = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Text:
    """One text in English and Simplified Chinese."""

    en: str
    zh: str

    def get(self, lang: Lang) -> str:
        """The text in `lang`; Traditional Chinese is converted later, by `text.localise`."""
        return self.en if lang == "en" else self.zh


# --- what is measured -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value with its unit and where it comes from.

    `unit` is a UCUM code (``1``, ``s``, ``By``, ``By/s``, ``{worker}``; ``{bool}`` and
    ``{string}`` for attributes); `where` is ``file:line`` of the user's code when known.
    """

    name: str
    value: Value
    unit: str
    origin: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where raw data comes from, and whether it could be read."""

    kind: str
    origin: str
    state: SourceState
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A fact over time, for pictures only: `t` in seconds since the profile's start."""

    t: tuple[float, ...]
    v: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source said: its state, the facts parsed from it, and series for pictures."""

    source: Source
    facts: tuple[Fact, ...] = ()
    series: Mapping[str, Series] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two sources disagree about one fact; `kept` is the one that the profile uses."""

    kept: Fact
    other: Fact


@dataclass(frozen=True, slots=True)
class Profile:
    """All facts of one subject (a run, host, rank or server) over one window."""

    id: str
    subject: str
    started: str
    duration_s: float
    sources: tuple[Source, ...]
    facts: Mapping[str, Fact]
    series: Mapping[str, Series] = field(default_factory=dict)
    members: tuple[Profile, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()


# --- what is known --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FactSpec:
    """One entry of the fact vocabulary: unit, allowed range, label in both languages.

    `type` is ``number``, ``bool``, ``string`` or ``version`` (a version is a string that
    is never ordered). `low` and `high` are inclusive; None means open.
    """

    name: str
    unit: str
    type: Literal["number", "bool", "string", "version"]
    description: str
    label: Text | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison on a fact: ``fact op value``, ``a / b > k``, ``a < 0.5 * b``, ``fact is known``.

    `over` is the divisor's name; `other` and `factor` make the right side ``factor * other``.
    `source` is the reference id of the limit, or `judgement` the reason it was chosen;
    `means` names the rule that this look-alike points to.
    """

    text: str
    fact: str
    op: str
    value: Value | tuple[Value, ...] | None = None
    over: str | None = None
    other: str | None = None
    factor: float = 1.0
    source: str | None = None
    judgement: str | None = None
    means: str | None = None

    @property
    def facts(self) -> tuple[str, ...]:
        """Every fact the condition reads."""
        return tuple(f for f in (self.fact, self.over, self.other) if f)


@dataclass(frozen=True, slots=True)
class When:
    """The test of a rule: every group that is given must hold."""

    all: tuple[Condition, ...] = ()
    any: tuple[Condition, ...] = ()
    at_least: tuple[Condition, ...] = ()
    count: int = 0
    none: tuple[Condition, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions, in the fixed order all, any, at_least, none."""
        return self.all + self.any + self.at_least + self.none


@dataclass(frozen=True, slots=True)
class Remedy:
    """One action. `to` and `setting` are templates over facts, filled for the machine at hand.

    `gain` is the share that this action can win back when it is less than the rule's.
    """

    id: str
    do: Text
    effort: Literal["minutes", "hours", "days"]
    risk: Text
    not_when: Text
    verify: Condition
    rollback: Text
    applies: tuple[Condition, ...] = ()
    knob: str | None = None
    direction: Literal["up", "down", "set"] | None = None
    to: str | None = None
    setting: str | None = None
    gain: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Facts and the outcome they must give, inside the rule's file."""

    name: str
    expect: Outcome
    facts: Values
    missing: tuple[str, ...] = ()
    by: str | None = None
    line: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One nameable bottleneck with its test, texts, remedies and cases."""

    id: str
    area: str
    topic: str
    status: Status
    severity: Severity
    confidence: Confidence
    title: Text
    meaning: Text
    impact: Text
    finding: Text
    applies: tuple[Condition, ...]
    when: When
    remedies: tuple[Remedy, ...]
    references: tuple[str, ...]
    explains: tuple[str, ...] = ()
    gain: str | None = None
    seed: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """What users complain about, with the ways people say it."""

    id: str
    group: str
    title: Text
    definition: Text
    phrases: tuple[str, ...] = ()
    in_scope: bool = True


@dataclass(frozen=True, slots=True)
class Reference:
    """A source that the knowledge base cites."""

    id: str
    title: str
    url: str


@dataclass(frozen=True, slots=True)
class FaqItem:
    """One point of an FAQ answer; `correction` says where the usual advice is imprecise."""

    id: str
    text: Text
    correction: Text | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Faq:
    """A question with its answer in points."""

    id: str
    question: Text
    lead: Text
    items: tuple[FaqItem, ...]
    phrases: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    seed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """A way to learn missing facts: the exact command, what it gives and what it costs in minutes.

    `covers` are fact names or prefixes ending in a dot; `source` is the kind of source it reads.
    """

    id: str
    title: Text
    why: Text
    command: str
    minutes: float
    source: str
    covers: tuple[str, ...]

    def gives(self, fact: str) -> bool:
        """Whether running the command makes `fact` known."""
        return any(fact == c or (c.endswith(".") and fact.startswith(c)) for c in self.covers)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """The whole knowledge base, loaded and proven."""

    version: str
    hash: str
    facts: Mapping[str, FactSpec]
    rules: Mapping[str, Rule]
    topics: Mapping[str, Topic]
    references: Mapping[str, Reference]
    faqs: Mapping[str, Faq]
    measurements: tuple[Measurement, ...]
    terms: Mapping[str, Text]


# --- what is concluded ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """A condition with the numbers that decided it.

    `value` is what was measured (of the ratio, when the condition divides), `limit` what it
    was compared with. `holds` is the condition's truth: look-alikes that were ruled out are
    evidence with `holds` False.
    """

    fact: str
    value: Value | None
    unit: str
    op: str
    limit: Value | tuple[Value, ...] | None
    origin: str
    where: str | None
    holds: bool
    condition: str
    source: str | None = None
    means: str | None = None


@dataclass(frozen=True, slots=True)
class Gain:
    """Upper bound on what can be won back: share of step (or request) time, and the speed-up it allows."""

    share: float
    speedup_at_most: float


@dataclass(frozen=True, slots=True)
class Advice:
    """A remedy with its texts and settings filled in for this machine."""

    remedy: Remedy
    do: Text
    risk: Text
    not_when: Text
    rollback: Text
    to: str | None
    setting: str | None
    gain: Gain | None


@dataclass(frozen=True, slots=True)
class Finding:
    """A matched rule with its evidence."""

    rule: Rule
    text: Text
    confidence: Confidence
    confidence_reason: Text
    gain: Gain | None
    evidence: tuple[Evidence, ...]
    ruled_out: tuple[Evidence, ...]
    advice: tuple[Advice, ...]
    explains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A rule that could not be decided, and the facts whose knowledge would decide it."""

    rule: str
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A cleared rule, the smallest number of conditions that must flip, and the first of those."""

    rule: str
    flips: int
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class NextMeasurement:
    """The cheapest way to decide more rules."""

    facts: tuple[str, ...]
    rules: tuple[str, ...]
    why: Text
    command: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The one result object between finding and showing."""

    knowledge_version: str
    knowledge_hash: str
    profile: Profile
    verdict: Verdict
    headline: Text
    findings: tuple[Finding, ...]
    incomplete: tuple[Incomplete, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    cleared: tuple[str, ...] = ()
    inapplicable: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    next_measurements: tuple[NextMeasurement, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """A topic with the score the search gave it, 0 to 1."""

    id: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gets. `blocks` hold the same content as `text`, structured for a page.

    A block is a plain mapping with a ``kind``; `answer.respond` documents the kinds.
    """

    kind: AnswerKind
    lang: Lang
    text: str
    topics: tuple[Scored, ...]
    rules: tuple[str, ...] = ()
    diagnosis: Diagnosis | None = None
    citations: tuple[Reference, ...] = ()
    follow_ups: tuple[str, ...] = ()
    blocks: Sequence[Mapping[str, Any]] = ()
