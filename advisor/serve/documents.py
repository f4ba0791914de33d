"""Rules and topics as JSON objects. Diagnoses and answers have their documents in the pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from advisor.models import Condition, Knowledge, Remedy, Rule, Text, Topic


def rule_entry(rule: Rule) -> dict[str, Any]:
    """A rule in the list: what it is called and how much it matters."""
    return {
        "id": rule.id,
        "area": rule.area,
        "topic": rule.topic,
        "status": rule.status,
        "severity": rule.severity,
        "confidence": rule.confidence,
        "title": _text(rule.title),
    }


def rule_document(rule: Rule, knowledge: Knowledge) -> dict[str, Any]:
    """Everything about a rule but its cases."""
    references = (knowledge.references[r] for r in rule.references if r in knowledge.references)
    return rule_entry(rule) | {
        "meaning": _text(rule.meaning),
        "impact": _text(rule.impact),
        "finding": _text(rule.finding),
        "applies": _conditions(rule.applies),
        "when": {
            "all": _conditions(rule.when.all),
            "any": _conditions(rule.when.any),
            "at_least": {"count": rule.when.count, "of": _conditions(rule.when.at_least)},
            "none": _conditions(rule.when.none),
        },
        "gain": rule.gain,
        "explains": list(rule.explains),
        "remedies": [_remedy(r) for r in rule.remedies],
        "references": [dataclasses.asdict(r) for r in references],
    }


def topic_entry(topic: Topic) -> dict[str, Any]:
    """A topic without the phrases that find it."""
    return {
        "id": topic.id,
        "group": topic.group,
        "title": _text(topic.title),
        "definition": _text(topic.definition),
        "in_scope": topic.in_scope,
    }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    return {
        "id": remedy.id,
        "do": _text(remedy.do),
        "for": _conditions(remedy.applies),
        "knob": remedy.knob,
        "direction": remedy.direction,
        "to": remedy.to,
        "setting": remedy.setting,
        "effort": remedy.effort,
        "risk": _text(remedy.risk),
        "not_when": _text(remedy.not_when),
        "verify": remedy.verify.text,
        "rollback": _text(remedy.rollback),
    }


def _conditions(conditions: Iterable[Condition]) -> list[str]:
    return [c.text for c in conditions]


def _text(text: Text) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}
