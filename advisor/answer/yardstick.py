"""Is this number normal? The limits that rules set on a metric, and on which side of them the number lies."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.answer import knowledge_blocks as known
from advisor.blocks import Block, Words
from advisor.condition import compile_condition
from advisor.models import Condition, Fact, FactSpec, Knowledge, Rule, Value

MAX_LIMITS = 6
_SETTINGS = ("run.", "config.")  # what the run is, rather than how it does
MIN_LABEL = 3
Limit = tuple[Rule, Condition]
Metric = tuple[FactSpec, Value | None]


def metric(plain: str, stated: Sequence[Fact], knowledge: Knowledge) -> Metric | None:
    """The metric that a question is about, with its value where that is said: the one stated, else one by its label."""
    numbers = [s for s in stated if not s.name.startswith(_SETTINGS) and limits(s.name, knowledge)]
    if numbers:
        return knowledge.facts[numbers[0].name], numbers[0].value
    named = [spec for spec in knowledge.facts.values() if _named(spec, plain) and limits(spec.name, knowledge)]
    return (max(named, key=_length), None) if named else None


def limits(fact: str, knowledge: Knowledge) -> list[Limit]:
    """The numeric limits that rules set on a fact."""
    return [
        (rule, c)
        for rule in knowledge.rules.values()
        for c in (*rule.when.all, *rule.when.any, *rule.when.at_least)
        if c.fact == fact
        and not c.over
        and not c.other
        and isinstance(c.value, float)
        and c.op in (">", ">=", "<", "<=")
    ]


def yardstick_blocks(spec: FactSpec, value: Value | None, words: Words) -> list[Block]:
    """The limits on a metric, each with the rule that sets it, and whether a stated value is beyond it."""
    found = limits(spec.name, words.knowledge)[:MAX_LIMITS]
    points = [{"text": _said(rule, c, value, words), "note": words.condition(c), "rule": rule.id} for rule, c in found]
    lead = words.term("normal.lead", label=words.say(spec.label) if spec.label else spec.name)
    if value is not None:
        beyond = any(_beyond(c, value) for _, c in found)
        key = "normal.beyond" if beyond else "normal.within"
        lead = words.term(key, label=words.label(spec.name), value=words.value(value, spec.name))
    return [known.prose(words, "normal.title", [lead], points), known.links([r.id for r, _ in found], words)]


def _said(rule: Rule, condition: Condition, value: Value | None, words: Words) -> str:
    if value is None or not _beyond(condition, value):
        return words.say(rule.title)
    return words.term("normal.crossed", title=words.say(rule.title))


def _beyond(condition: Condition, value: Value) -> bool:
    return compile_condition(condition)({condition.fact: value}) is True


def _named(spec: FactSpec, plain: str) -> bool:
    return any(len(text) >= MIN_LABEL and text in plain for text in _labels(spec))


def _length(spec: FactSpec) -> int:
    return max(len(text) for text in _labels(spec))


def _labels(spec: FactSpec) -> list[str]:
    return [spec.label.en.lower(), spec.label.zh.lower()] if spec.label else []
