"""The page of a rule: rendered from the rule, never stored."""

from __future__ import annotations

from advisor.blocks.words import Block, Words
from advisor.models import Condition, Knowledge, Lang, Remedy, Rule, Text


def rule_blocks(rule: Rule, knowledge: Knowledge, lang: Lang) -> list[Block]:
    """Everything a person wants to know about a rule: meaning, impact, test, remedies, sources."""
    words = Words(knowledge, lang)
    return [
        _headline(rule, words),
        _impact(rule, words),
        _test(rule, words),
        _remedies(rule, words),
        _sources(rule, words),
    ]


def _headline(rule: Rule, words: Words) -> Block:
    return {
        "kind": "headline",
        "rule": rule.id,
        "title": words.say(rule.title),
        "lede": words.say(rule.meaning),
        "severity": {"id": rule.severity, "label": words.term(f"severity.{rule.severity}")},
        "confidence": {"id": rule.confidence, "label": words.term(f"confidence.{rule.confidence}"), "reason": ""},
    }


def _impact(rule: Rule, words: Words) -> Block:
    return {"kind": "prose", "title": words.term("rule.why"), "paragraphs": [words.say(rule.impact)], "points": []}


def _test(rule: Rule, words: Words) -> Block:
    when = rule.when
    groups = [
        ("rule.applies", rule.applies),
        ("rule.all", when.all),
        ("rule.any", when.any),
        ("rule.at_least", when.at_least),
        ("rule.none", when.none),
    ]
    points = [
        {
            "text": f"{words.term(key, count=when.count)}: {words.condition(leaf)}",
            "note": _origin(leaf, words),
            "rule": leaf.means if leaf.means in words.knowledge.rules else None,
        }
        for key, leaves in groups
        for leaf in leaves
    ]
    return {"kind": "prose", "title": words.term("rule.test"), "paragraphs": [], "points": points}


def _origin(leaf: Condition, words: Words) -> str | None:
    if leaf.means:
        other = words.knowledge.rules.get(leaf.means)
        return words.term("rule.means", title=words.say(other.title) if other else leaf.means)
    if leaf.source:
        return words.term("rule.limit_from", title=words.knowledge.references[leaf.source].title)
    if leaf.judgement:  # the reasons are written in English only; in Chinese the page says that it is a judgement
        return words.term("rule.judgement", reason=leaf.judgement)
    return None


def _remedies(rule: Rule, words: Words) -> Block:
    items = [_remedy(r, words) for r in rule.remedies]
    return {"kind": "remedies", "title": words.term("block.remedies"), "items": items}


def _remedy(remedy: Remedy, words: Words) -> Block:
    return {
        "id": remedy.id,
        "do": words.template(remedy.do.get(words.lang)),
        "setting": words.template(remedy.setting) if remedy.setting else None,
        "knob": remedy.knob,
        "to": None,
        "effort": words.term(f"effort.{remedy.effort}"),
        "details": remedy_details(words, remedy.risk, remedy.not_when, remedy.verify, remedy.rollback),
    }


def remedy_details(words: Words, risk: Text, not_when: Text, verify: Condition, rollback: Text) -> list[Block]:
    """Risk, when not to, how to verify, how to roll back; facts that are not filled in appear by their labels."""
    return [
        {"label": words.term("detail.risk"), "text": words.template(risk.get(words.lang))},
        {"label": words.term("detail.not_when"), "text": words.template(not_when.get(words.lang))},
        {"label": words.term("detail.verify"), "text": words.condition(verify)},
        {"label": words.term("detail.rollback"), "text": words.template(rollback.get(words.lang))},
    ]


def _sources(rule: Rule, words: Words) -> Block:
    cited = dict.fromkeys([*rule.references, *(c.source for c in rule.when.conditions if c.source)])
    links = [words.link(words.knowledge.references[r]) for r in cited]
    return {"kind": "sources", "title": words.term("block.sources"), "items": links}
