"""What is known: the vocabulary, rules, topics and references of a knowledge base.

Without slots, and packed without the values that are defaults anyway: these objects come out of
a pack by the ten thousand, and pickle restores small plain instances many times faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from advisor.models.words import Confidence, Phrase, Severity, Status, Text, Value


class _Packed:
    """Leaves what equals a default out of a pack; reading finds it on the class."""

    def __getstate__(self) -> dict[str, Any]:
        defaults = vars(type(self))
        return {k: v for k, v in vars(self).items() if k not in defaults or defaults[k] != v}


@dataclass(frozen=True)
class FactSpec(_Packed):
    """One entry of the fact vocabulary: unit, allowed range, label in both languages.

    `type` is ``number``, ``bool``, ``string`` or ``version`` (a version is a string that
    is never ordered). `low` and `high` are inclusive; None means open. `ask` is the question
    to a person, where a person can know the answer. `better` is the direction in which a run
    of the same work improves, None where neither is better in itself. A fact that a formula gives has its
    `working` in one line, and the ids of the references it rests on in `sources`.
    """

    name: str
    unit: str
    type: Literal["number", "bool", "string", "version"]
    description: str
    label: Text | None = None
    low: float | None = None
    high: float | None = None
    ask: Text | None = None
    better: Literal["lower", "higher"] | None = None
    working: Text | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition(_Packed):
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


@dataclass(frozen=True)
class When(_Packed):
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


@dataclass(frozen=True)
class Remedy(_Packed):
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


@dataclass(frozen=True)
class Rule(_Packed):
    """One nameable bottleneck with its test, texts and remedies."""

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


@dataclass(frozen=True)
class Topic(_Packed):
    """What users complain about, with the ways people say it, and what to measure first when nothing is known."""

    id: str
    group: str
    title: Text
    definition: Text
    phrases: tuple[str, ...] = ()
    in_scope: bool = True
    triage: Text | None = None


@dataclass(frozen=True)
class Reference:
    """A source that the knowledge base cites: who publishes it, what was taken from it, and whether it was read."""

    id: str
    title: str
    url: str
    publisher: str
    used_for: str
    read: bool


@dataclass(frozen=True)
class FaqItem(_Packed):
    """One point of an FAQ answer; `correction` says where the usual advice is imprecise."""

    id: str
    text: Text
    correction: Text | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Faq(_Packed):
    """A question with its answer in points."""

    id: str
    question: Text
    lead: Text
    items: tuple[FaqItem, ...]
    phrases: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    seed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Premise(_Packed):
    """A belief that is often behind a question and is wrong, how people say it, and what is right."""

    id: str
    phrases: tuple[Phrase, ...]
    topic: str
    correction: Text
    rules: tuple[str, ...] = ()
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownError(_Packed):
    """What a program prints or a person says when something specific failed: the topic, and the rule if one fits."""

    id: str
    phrases: tuple[Phrase, ...]
    topic: str
    rule: str | None = None


@dataclass(frozen=True)
class Measurement:
    """A way to learn missing facts: the exact command, what it gives and what it costs in minutes.

    `covers` are the facts it really makes known, derived ones included; `source` is the kind of source it reads;
    `phase` is the only kind of run that it can be taken of, None when it can be taken of all.
    """

    id: str
    title: Text
    why: Text
    command: str
    minutes: float
    source: str
    covers: frozenset[str]
    phase: str | None = None

    @property
    def live(self) -> bool:
        """Whether it looks at this machine, and not at what somebody has to provide."""
        return self.source in ("training hook", "host") or self.source.endswith(" probe")

    def gives(self, fact: str) -> bool:
        """Whether running the command makes `fact` known."""
        return fact in self.covers


@dataclass(frozen=True)
class Knowledge:
    """The whole knowledge base, loaded and proven.

    `concepts` are patterns of what questions speak of, by name; `topic_model` is the model that was trained on them
    (see `answer.classify`), empty when there is none.
    """

    version: str
    hash: str
    facts: Mapping[str, FactSpec]
    rules: Mapping[str, Rule]
    topics: Mapping[str, Topic]
    references: Mapping[str, Reference]
    faqs: Mapping[str, Faq]
    measurements: tuple[Measurement, ...]
    terms: Mapping[str, Text]
    concepts: Mapping[str, str]
    topic_model: bytes = b""
    premises: Mapping[str, Premise] = field(default_factory=dict)
    errors: Mapping[str, KnownError] = field(default_factory=dict)
