"""The page of a fact: what it is, how a formula works it out and from what, which rules use it."""

from __future__ import annotations

from collections.abc import Iterator

from advisor.blocks.words import Block, Words
from advisor.derive import FORMULAS
from advisor.models import FactSpec, Knowledge, Lang, Profile, Rule, Values
from advisor.text import placeholders


def fact_blocks(spec: FactSpec, knowledge: Knowledge, lang: Lang, profile: Profile | None = None) -> list[Block]:
    """Everything a person wants to know about a fact; with a profile its numbers stand beside the names."""
    words = Words(knowledge, lang)
    values = {name: fact.value for name, fact in profile.facts.items()} if profile else None
    blocks = [_headline(spec, words, values)]
    if spec.working:
        blocks.append(_working(spec, words, values))
    blocks.append(_users(spec, words))
    if spec.sources:
        links = [words.link(knowledge.references[r]) for r in spec.sources]
        blocks.append({"kind": "sources", "title": words.term("block.sources"), "items": links})
    return blocks


def _headline(spec: FactSpec, words: Words, values: Values | None) -> Block:
    # What a fact is about is written in English only; in Chinese its label says it.
    about = [spec.description] if words.lang == "en" else []
    said = [_named(spec.name, words, values), *about]
    return {"kind": "prose", "title": words.label(spec.name), "paragraphs": said, "points": []}


def _named(name: str, words: Words, values: Values | None) -> str:
    if values is None:
        return name
    return f"{name} = {words.value(values[name], name) if name in values else words.term('fact.unknown')}"


def _working(spec: FactSpec, words: Words, values: Values | None) -> Block:
    points = [
        {"text": f"{words.label(name)}: {_named(name, words, values)}", "note": note, "rule": None}
        for name, note in _inputs(spec.name, words)
    ]
    said = [words.say(spec.working)] if spec.working else []
    return {"kind": "prose", "title": words.term("fact.working"), "paragraphs": said, "points": points}


def _inputs(name: str, words: Words) -> Iterator[tuple[str, str | None]]:
    """The facts that the formulas of `name` take, each once; those that may be unknown with a note."""
    formulas = [f for f in FORMULAS if f.name == name]
    needed = dict.fromkeys(n for f in formulas for n in f.needs)
    yield from ((n, None) for n in needed)
    optional = dict.fromkeys(n for f in formulas for n in f.optional if n not in needed)
    yield from ((n, words.term("fact.optional")) for n in optional)


def _users(spec: FactSpec, words: Words) -> Block:
    rules = [rule for rule in words.knowledge.rules.values() if spec.name in _facts(rule)]
    points = [{"text": words.say(rule.title), "note": rule.id, "rule": rule.id} for rule in rules]
    said = [] if points else [words.term("fact.unused")]
    return {"kind": "prose", "title": words.term("fact.users"), "paragraphs": said, "points": points}


def _facts(rule: Rule) -> set[str]:
    """Every fact that a rule compares, shows or takes a setting from."""
    leaves = [*rule.applies, *rule.when.conditions, *(c for r in rule.remedies for c in (*r.applies, r.verify))]
    texts = [rule.finding.en, *(t for r in rule.remedies for t in (r.do.en, r.to or "", r.setting or ""))]
    gains = [rule.gain, *(r.gain for r in rule.remedies)]
    return {
        *(name for leaf in leaves for name in leaf.facts),
        *(name for text in texts for name in placeholders(text)),
        *(name for name in gains if name),
    }
