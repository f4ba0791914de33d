"""What the REST routes take and give, as pydantic models.

Requests are strict: unknown keys and wrong types are refused. The models of responses
document the OpenAPI schema; the documents themselves are made by the pipeline and are
not checked twice.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from advisor.answer import MAX_MESSAGE
from advisor.models import AnswerKind, Lang, Verdict
from advisor.pipeline import MAX_HISTORY


class AskRequest(BaseModel):
    """One question, which may hold a pasted log. `profile` is the id of a stored profile that it is about.

    `history` are the earlier messages of the same person in this conversation, oldest first: nothing is kept here.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    # The limits are enforced by `clean_question`, whose sentences say what to do; here they are documented.
    question: str = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_MESSAGE})
    lang: Lang | None = None
    profile: str | None = Field(default=None, max_length=200)
    history: list[str] = Field(default=[], json_schema_extra={"maxItems": MAX_HISTORY})


class TopicScore(BaseModel):
    """A topic with the score that the search gave it, 0 to 1."""

    id: str
    score: float


class Citation(BaseModel):
    """A source that an answer rests on."""

    id: str
    title: str
    url: str


class AnswerDocument(BaseModel):
    """An answer. `blocks` hold the same content as `text`, structured and in the answer's language."""

    model_config = ConfigDict(extra="allow")

    schema_: Literal[1] = Field(alias="schema")
    kind: AnswerKind
    lang: Lang
    text: str = Field(description="Markdown")
    topics: list[TopicScore]
    rules: list[str]
    diagnosis: dict[str, Any] | None
    citations: list[Citation]
    follow_ups: list[str]
    blocks: list[dict[str, Any]]


class DiagnosisDocument(BaseModel):
    """A diagnosis, schema 1."""

    model_config = ConfigDict(extra="allow")

    schema_: Literal[1] = Field(alias="schema")
    profile: dict[str, Any]
    verdict: Verdict
    findings: list[dict[str, Any]]


class TextDocument(BaseModel):
    """One text in English and Simplified Chinese."""

    en: str
    zh: str


class CompareRequest(BaseModel):
    """Two runs: each the id of a stored diagnosis, or a profile or diagnosis of schema 1."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"before": "3f1c9a7be2d04c55", "after": {"schema": 1, "profile": {"facts": {"ml.step.time": 0.31}}}}
            ]
        },
    )

    before: str | dict[str, Any]
    after: str | dict[str, Any]


class ComparisonDocument(BaseModel):
    """What became of each finding, how each metric changed, and whether that is more than noise."""

    model_config = ConfigDict(extra="allow")

    schema_: Literal[1] = Field(alias="schema")
    before: dict[str, Any]
    after: dict[str, Any]
    verdict: Literal["better", "worse", "same", "unknown"]
    headline: TextDocument
    findings: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    unchanged: int = Field(description="how many metrics did not change beyond noise")
    gain: dict[str, Any] | None
    differences: list[dict[str, Any]]


class ProfileEntry(BaseModel):
    """A stored profile in the list of runs."""

    id: str
    subject: str
    started: str
    duration_s: float
    verdict: Verdict
    headline: TextDocument
    state: Literal["done", "running"]


class RuleEntry(BaseModel):
    """A rule in the list of rules."""

    id: str
    area: str
    topic: str
    status: str
    severity: str
    confidence: str
    title: TextDocument


class CitedSource(Citation):
    """A source with its publisher, what was taken from it, and whether somebody has read it."""

    publisher: str
    used_for: str
    read: bool


class RuleDocument(RuleEntry):
    """A rule with its texts, conditions, remedies and references."""

    meaning: TextDocument
    impact: TextDocument
    finding: TextDocument
    applies: list[str]
    when: dict[str, Any]
    gain: str | None
    explains: list[str]
    remedies: list[dict[str, Any]]
    references: list[CitedSource]


class TopicEntry(BaseModel):
    """What users complain about."""

    id: str
    group: str
    title: TextDocument
    definition: TextDocument
    in_scope: bool


class Health(BaseModel):
    """The service's state."""

    status: Literal["ok"]
    knowledge: str | None = Field(default=None, description="version of the knowledge base")
    rules: int | None = None
