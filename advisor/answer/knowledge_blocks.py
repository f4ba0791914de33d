"""Blocks of answers that come from the knowledge base rather than from a run's diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.blocks import Block, Words, rule_blocks
from advisor.condition import left_value
from advisor.models import Diagnosis, Faq, Rule

RUN = "advisor run -- python train.py"


def prose(words: Words, title: str | None, paragraphs: Sequence[str], points: Sequence[Block] = ()) -> Block:
    """A block of running text; `title` is the key of a term."""
    shown = words.term(title) if title else None
    return {"kind": "prose", "title": shown, "paragraphs": list(paragraphs), "points": list(points)}


def faq(entry: Faq, words: Words) -> list[Block]:
    """An FAQ answer: the lead, every point, and the corrections marked as such."""
    points = [
        {
            "text": words.say(item.text),
            "note": words.term("faq.correction", text=words.say(item.correction)) if item.correction else None,
        }
        for item in entry.items
    ]
    links = [words.link(words.knowledge.references[r]) for r in entry.references]
    rules = dict.fromkeys(r for item in entry.items for r in item.rules)
    return [
        {"kind": "headline", "title": words.say(entry.question), "lede": words.say(entry.lead)},
        prose(words, None, [], points),
        {"kind": "sources", "title": words.term("block.sources"), "items": [*map(words.rule_link, rules), *links]},
    ]


def topic(topic_id: str, rules: Sequence[Rule], words: Words) -> list[Block]:
    """What is known on a topic: the best rule in full, the others by name and test."""
    entry = words.knowledge.topics[topic_id]
    if not rules:
        said = words.term("topic.no_rule", topic=words.say(entry.title))
        return [prose(words, None, [said]), _measure(words)]
    first, *rest = rules
    blocks = rule_blocks(first, words.knowledge, words.lang)
    if rest:
        blocks.insert(-1, prose(words, "topic.others", [], [_cause(r, words) for r in rest[:5]]))
    return [*blocks[:-1], _measure(words), _with_rule_link(first, blocks[-1], words)]


def triage(rules: Sequence[Rule], words: Words) -> list[Block]:
    """Nothing was measured yet: the command to run, and the causes it will tell apart."""
    head = {"kind": "headline", "title": words.term("triage.title"), "lede": words.term("triage.lede")}
    causes = [prose(words, "triage.causes", [], [_cause(r, words) for r in rules])] if rules else []
    return [head, _measure(words), *causes]


def checked_topic(topic_id: str, diagnosis: Diagnosis, words: Words) -> list[Block]:
    """What the diagnosis says about a topic that no finding belongs to: ruled out, or not measured."""
    rules = [r for r in words.knowledge.rules.values() if r.topic == topic_id]
    cleared = [r for r in rules if r.id in diagnosis.cleared]
    title = words.say(words.knowledge.topics[topic_id].title)
    if not cleared:
        return [prose(words, None, [words.term("checked.unknown", topic=title)])] if rules else []
    values = {name: fact.value for name, fact in diagnosis.profile.facts.items()}
    points = []
    for rule in cleared:
        tested = [c for c in rule.when.conditions if all(f in values for f in c.facts) and not c.means]
        shown = [
            words.term(
                "checked.value",
                label=words.label(c.fact),
                value=words.value(left_value(c, values), None if c.over else c.fact),
                condition=words.condition(c),
            )
            for c in tested
        ]
        points.append({"text": words.say(rule.title), "note": "; ".join(shown) or None})
    return [prose(words, None, [words.term("checked.cleared", topic=title)], points)]


def _cause(rule: Rule, words: Words) -> Block:
    tests = rule.when.all or rule.when.any or rule.when.at_least
    return {"text": words.say(rule.title), "note": "; ".join(words.condition(c) for c in tests)}


def _measure(words: Words) -> Block:
    items = [{"why": words.term("measure.run"), "command": RUN}]
    return {"kind": "missing", "title": words.term("measure.title"), "items": items}


def _with_rule_link(rule: Rule, sources: Block, words: Words) -> Block:
    return {**sources, "items": [words.rule_link(rule.id), *sources["items"]]}
