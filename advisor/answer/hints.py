"""Known errors and wrong premises in a message: what the knowledge base says about exact words."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.models import Knowledge, Premise
from advisor.text import says


@dataclass(frozen=True, slots=True)
class Hint:
    """A known error that is in the text: its topic, the rule if one fits, and the id of the entry."""

    topic: str
    rule: str | None
    id: str


def error_hints(plain: str, knowledge: Knowledge) -> tuple[Hint, ...]:
    """The known errors in a normalised question, in the order of the knowledge base."""
    found = (e for e in knowledge.errors.values() if any(says(plain, phrase) for phrase in e.phrases))
    return tuple(Hint(e.topic, e.rule, e.id) for e in found)


def false_premises(plain: str, knowledge: Knowledge) -> tuple[Premise, ...]:
    """The wrong beliefs that a normalised question rests on or asks about."""
    return tuple(p for p in knowledge.premises.values() if any(says(plain, phrase) for phrase in p.phrases))
