"""What is concluded: findings with their evidence, the diagnosis, the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advisor.models.known import Reference, Remedy, Rule
from advisor.models.measured import Profile
from advisor.models.words import AnswerKind, Confidence, Lang, Text, Value, Verdict


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
class Expected:
    """A time or a rate as it is, and as it would be if the whole gain were won back; in the fact's own unit."""

    fact: str
    now: float
    at_best: float


@dataclass(frozen=True, slots=True)
class Gain:
    """Upper bound on what can be won back: share of step (or request) time, and the speed-up it allows.

    `fact` is where the share was measured: two findings with the same one cannot both win it back.
    """

    share: float
    speedup_at_most: float
    fact: str
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """A remedy with its texts and settings filled in for this machine.

    `patch` is the change as a unified diff of the user's file, where it could be made and proven.
    """

    remedy: Remedy
    do: Text
    risk: Text
    not_when: Text
    rollback: Text
    to: str | None
    setting: str | None
    gain: Gain | None
    patch: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A matched rule with its evidence; `static` when all of it was read in the script and nothing measured.

    `rivals` are findings that account for the same loss just as well.
    """

    rule: Rule
    text: Text
    confidence: Confidence
    confidence_reason: Text
    gain: Gain | None
    evidence: tuple[Evidence, ...]
    ruled_out: tuple[Evidence, ...]
    advice: tuple[Advice, ...]
    explains: tuple[str, ...] = ()
    static: bool = False
    rivals: tuple[str, ...] = ()


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
    """The cheapest way to decide more rules: a command, or a question where the person can know the answer."""

    facts: tuple[str, ...]
    rules: tuple[str, ...]
    why: Text
    command: str
    question: Text | None = None


@dataclass(frozen=True, slots=True)
class Unjudged:
    """Rules that stay open because one kind of fact is missing; `lack` names the kind (a term of the vocabulary)."""

    lack: str
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The one result object between finding and showing.

    `reason` says what the verdict rests on, `coverage` what was read and which rules stay open for want of what.
    """

    knowledge_version: str
    knowledge_hash: str
    profile: Profile
    verdict: Verdict
    headline: Text
    reason: Text
    coverage: Text
    findings: tuple[Finding, ...]
    incomplete: tuple[Incomplete, ...] = ()
    near_misses: tuple[NearMiss, ...] = ()
    cleared: tuple[str, ...] = ()
    inapplicable: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    next_measurements: tuple[NextMeasurement, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()


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
