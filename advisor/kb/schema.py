"""The shape of every knowledge file, as strict pydantic models.

Strict means: an unknown key, a missing key and a value of another type are errors.
What the values refer to (facts, topics, references, rules) is checked in `lint`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
TopicId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$", max_length=60)]
FactName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$")]
SeedId = Annotated[str, StringConstraints(pattern=r"^seed-(p\d+|faq-\d+(\.\d+)?)$")]
Line = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextFile(Strict):
    """English and Simplified Chinese, both required."""

    en: Line
    zh: Line


class Leaf(Strict):
    """A condition with the origin of its limit, or the rule that a look-alike means."""

    is_: Line = Field(alias="is")
    from_: Id | None = Field(default=None, alias="from")
    judgement: Line | None = None
    means: Id | None = None


class AtLeast(Strict):
    """`count` of the conditions must hold."""

    count: Annotated[int, Field(ge=1)]
    of: Annotated[list[Leaf], Field(min_length=2)]


class WhenFile(Strict):
    """The groups of a test; at least one of all, any and at_least."""

    all: list[Leaf] = Field(default_factory=list)
    any: list[Leaf] = Field(default_factory=list)
    at_least: AtLeast | None = None
    none: list[Leaf] = Field(default_factory=list)


class RemedyFile(Strict):
    """One action."""

    id: Id
    do: TextFile
    effort: Literal["minutes", "hours", "days"]
    risk: TextFile
    not_when: TextFile
    verify: Line
    rollback: TextFile
    for_: list[Line] = Field(default_factory=list, alias="for")
    knob: Line | None = None
    direction: Literal["up", "down", "set"] | None = None
    to: Line | None = None
    setting: Line | None = None
    gain: FactName | None = None


class CaseFile(Strict):
    """Facts and the outcome they must give."""

    name: Line
    expect: Literal["matched", "cleared", "incomplete", "inapplicable"]
    facts: dict[str, float | int | bool | str]
    missing: list[FactName] = Field(default_factory=list)
    by: Id | None = None


class RuleFile(Strict):
    """One rule, without its cases."""

    id: Id
    topic: TopicId
    status: Literal["experimental", "stable", "deprecated"]
    severity: Literal["minor", "moderate", "serious", "critical"]
    confidence: Literal["low", "medium", "high"]
    title: TextFile
    meaning: TextFile
    impact: TextFile
    finding: TextFile
    when: WhenFile
    remedies: Annotated[list[RemedyFile], Field(min_length=1)]
    applies: list[Line] = Field(default_factory=list)
    explains: list[Id] = Field(default_factory=list)
    gain: FactName | None = None
    references: list[Id] = Field(default_factory=list)
    seed: list[SeedId] = Field(default_factory=list)


class CasesFile(Strict):
    """The cases of a rule: a part of its file that only the gate reads."""

    cases: list[CaseFile]


class FactFile(Strict):
    """One entry of the vocabulary."""

    name: FactName
    unit: Line
    about: Line
    label: TextFile | None = None
    ask: TextFile | None = None
    range: Annotated[list[float | int | None], Field(min_length=2, max_length=2)] | None = None
    semconv: bool = False
    better: Literal["lower", "higher"] | None = None
    from_: list[Line] = Field(default_factory=list, alias="from")
    working: TextFile | None = None
    sources: list[Id] = Field(default_factory=list)


class MeasurementFile(Strict):
    """How missing facts are obtained."""

    id: Id
    title: TextFile
    why: TextFile
    command: Line
    minutes: Annotated[float | int, Field(gt=0)]
    source: Line
    phase: Literal["training", "serving"] | None = None
    covers: Annotated[list[FactName], Field(min_length=1)]


class FactsFile(Strict):
    """facts.yaml."""

    version: Line
    facts: list[FactFile]
    measurements: list[MeasurementFile]


class TopicFile(Strict):
    """One topic."""

    id: TopicId
    group: Line
    title: TextFile
    definition: TextFile
    triage: TextFile | None = None
    phrases: list[Line] = Field(default_factory=list)


class TopicsFile(Strict):
    """topics.yaml."""

    topics: list[TopicFile]


class ReferenceFile(Strict):
    """One source that is cited."""

    id: Id
    title: Line
    url: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    publisher: Line
    used_for: Annotated[str, StringConstraints(min_length=1, max_length=110)]
    read: bool


class ReferencesFile(Strict):
    """references.yaml."""

    references: list[ReferenceFile]


class PremiseFile(Strict):
    """A wrong belief; every phrase has an example, and nothing in `but_not` may fit."""

    id: Id
    topic: TopicId
    says: Annotated[list[Line], Field(min_length=1)]
    correction: TextFile
    rules: list[Id] = Field(default_factory=list)
    references: Annotated[list[Id], Field(min_length=1)]
    examples: Annotated[list[Line], Field(min_length=2)]
    but_not: Annotated[list[Line], Field(min_length=1)]


class PremisesFile(Strict):
    """premises.yaml."""

    premises: list[PremiseFile]


class ErrorFile(Strict):
    """A known error with what is printed or said."""

    id: Id
    topic: TopicId
    rule: Id | None = None
    says: Annotated[list[Line], Field(min_length=1)]
    examples: Annotated[list[Line], Field(min_length=1)]


class ErrorsFile(Strict):
    """errors.yaml."""

    errors: list[ErrorFile]


class TermsFile(Strict):
    """terms.yaml: the words of every face, by key."""

    terms: dict[str, TextFile]


class ConceptsFile(Strict):
    """concepts.yaml: patterns of what questions speak of, by name."""

    concepts: dict[Id, Line]


class FaqItemFile(Strict):
    """One point of an FAQ answer."""

    id: Annotated[str, StringConstraints(pattern=r"^(seed-faq-\d+\.\d+|[a-z0-9]+(-[a-z0-9]+)*)$")]
    text: TextFile
    correction: TextFile | None = None
    rules: list[Id] = Field(default_factory=list)


class FaqFile(Strict):
    """One question with its answer."""

    id: Id
    question: TextFile
    lead: TextFile
    items: Annotated[list[FaqItemFile], Field(min_length=1)]
    phrases: list[Line] = Field(default_factory=list)
    topics: list[TopicId] = Field(default_factory=list)
    references: list[Id] = Field(default_factory=list)
    seed: list[SeedId] = Field(default_factory=list)
