"""The rules as a list to look things up in: grouped by topic, with the words that people search for."""

from __future__ import annotations

from advisor.blocks.words import Block, Words
from advisor.models import SEVERITIES, Knowledge, Lang, Rule, Topic
from advisor.text import has_chinese, localise


def catalogue(knowledge: Knowledge, lang: Lang) -> list[Block]:
    """Groups of topics in the order of the knowledge base; a topic without rules is left out.

    A group has `id`, `count` and `topics`; a topic `id`, `title`, `triage`, `phrases` and `rules`, worst first.
    """
    words, groups = Words(knowledge, lang), dict[str, list[Block]]()
    for topic in knowledge.topics.values():
        if entry := _topic(topic, words):
            groups.setdefault(topic.group, []).append(entry)
    return [
        {"id": group, "count": sum(len(topic["rules"]) for topic in topics), "topics": topics}
        for group, topics in groups.items()
    ]


def rule_entry(rule: Rule, words: Words) -> Block:
    """A rule in a list: what it is called and how much it matters."""
    return {
        "id": rule.id,
        "area": rule.area,
        "title": words.say(rule.title),
        "severity": {"id": rule.severity, "label": words.term(f"severity.{rule.severity}")},
        "status": {"id": rule.status, "label": words.term(f"status.{rule.status}")},
    }


def topic_rules(topic_id: str, knowledge: Knowledge) -> list[Rule]:
    """The rules of a topic, worst first."""
    rules = (rule for rule in knowledge.rules.values() if rule.topic == topic_id)
    return sorted(rules, key=lambda r: (-SEVERITIES.index(r.severity), r.id))


def rule_place(rule_id: str, knowledge: Knowledge, lang: Lang) -> Block:
    """Where a rule stands in the catalogue: its own entry, its topic, and the other rules of that topic."""
    words, rule = Words(knowledge, lang), knowledge.rules[rule_id]
    return {
        "entry": rule_entry(rule, words),
        "topic": {"id": rule.topic, "title": words.say(knowledge.topics[rule.topic].title)},
        "siblings": [rule_entry(r, words) for r in topic_rules(rule.topic, knowledge) if r is not rule],
    }


def _topic(topic: Topic, words: Words) -> Block | None:
    rules = topic_rules(topic.id, words.knowledge)
    if not rules:
        return None
    return {
        "id": topic.id,
        "title": words.say(topic.title),
        "triage": words.say(topic.triage) if topic.triage else None,
        "phrases": _phrases(topic, words.lang),
        "rules": [rule_entry(rule, words) for rule in rules],
    }


def _phrases(topic: Topic, lang: Lang) -> list[str]:
    """The ways to say it in `lang`; in Chinese the English ones too, because errors are pasted as they are."""
    if lang == "en":
        return [phrase for phrase in topic.phrases if not has_chinese(phrase)]
    return [localise(phrase, lang) for phrase in sorted(topic.phrases, key=lambda p: not has_chinese(p))]
