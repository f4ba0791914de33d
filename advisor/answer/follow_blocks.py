"""Blocks for a question about one side of the answer before it: why, how, its numbers, the other causes."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.answer import knowledge_blocks as known
from advisor.answer.decision import Cause
from advisor.blocks import Block, Words, finding_blocks, rule_blocks
from advisor.blocks.beside import missing
from advisor.models import Diagnosis, Knowledge, Rule

MAX_OTHERS = 6
# Which blocks of a finding, or else of its rule's page, a side shows; the page's prose are its impact and its test.
_SIDES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "why": (("headline", "evidence"), ("headline", "prose")),
    "how": (("headline", "remedies"), ("headline", "remedies")),
    "verify": (("headline", "remedies"), ("headline", "remedies")),
    "numbers": (("headline", "steps", "evidence"), ("headline", "prose")),
    "more": (("headline", "steps", "evidence", "remedies"), ("headline", "prose", "remedies")),
    "next": (("headline", "steps", "evidence", "remedies"), ("headline", "prose", "remedies")),
}


def side(aspect: str, cause: Cause, words: Words) -> list[Block]:
    """One side of a cause, with its sources."""
    found, page = _SIDES[aspect]
    from_page = rule_blocks(cause.rule, words.knowledge, words.lang)
    if cause.finding is None or cause.diagnosis is None:
        return [*(b for b in from_page if b["kind"] in page), _sources(cause.rule, words)]
    shown = finding_blocks(cause.diagnosis, cause.finding, words.knowledge, words.lang)
    blocks = [b for b in shown if b["kind"] in found]
    if aspect in ("why", "more"):  # the finding has the numbers, the page of its rule the reason
        blocks.insert(1, known.prose(words, "rule.why", [words.say(cause.rule.meaning), words.say(cause.rule.impact)]))
    return [*blocks, _sources(cause.rule, words)]


def brief(cause: Cause, words: Words) -> list[Block]:
    """The cause and its first remedy, in two sentences."""
    said = words.say(cause.finding.text) if cause.finding else words.template(cause.rule.meaning.get(words.lang))
    advice = cause.finding.advice[:1] if cause.finding else ()
    do = words.say(advice[0].do) if advice else words.template(cause.rule.remedies[0].do.get(words.lang))
    return [
        known.prose(words, None, [words.joined(said, do)]),
        {"kind": "sources", "title": words.term("block.sources"), "items": [words.rule_link(cause.rule.id)]},
    ]


def others(causes: Sequence[Rule], diagnosis: Diagnosis | None, words: Words) -> list[Block]:
    """The causes that are left, what was ruled out on the run, and what would tell them apart."""
    if not causes:
        return [known.prose(words, None, [words.term("follow.no_more")]), *_settles(diagnosis, words)]
    points = [known.cause(r, words) for r in causes[:MAX_OTHERS]]
    blocks = [known.prose(words, "topic.others", [], points), *_settles(diagnosis, words)]
    return [*blocks, known.links([r.id for r in causes[:MAX_OTHERS]], words)]


def failed(rule: Rule, words: Words) -> Block:
    """The rule whose remedy did not help is set aside, with what would have shown that it is the cause."""
    verify = "; ".join(dict.fromkeys(words.condition(r.verify) for r in rule.remedies[:1]))
    return known.prose(words, None, [words.term("follow.failed", title=words.say(rule.title), verify=verify)])


def suspects(topic_id: str, knowledge: Knowledge) -> list[Rule]:
    """The rules of a topic that are named when it is suspected."""
    return [r for r in knowledge.rules.values() if r.topic == topic_id][:MAX_OTHERS]


def suspected(topic_id: str, diagnosis: Diagnosis | None, words: Words) -> list[Block]:
    """Whether it is what the person suspects: what the run says, else what would show it."""
    if diagnosis:
        return known.checked_topic(topic_id, diagnosis, words)
    rules = suspects(topic_id, words.knowledge)
    title = words.say(words.knowledge.topics[topic_id].title)
    said = known.prose(
        words, None, [words.term("follow.not_measured", topic=title)], [known.cause(r, words) for r in rules]
    )
    step = known.first_step(words.knowledge.topics[topic_id], words)
    return [said, *step, known.measure(words, topic_id), known.links([r.id for r in rules], words)]


def _settles(diagnosis: Diagnosis | None, words: Words) -> list[Block]:
    """What would tell the causes apart: what the run still lacks, else a run."""
    return (missing(diagnosis, words) if diagnosis else []) or [known.measure(words)]


def _sources(rule: Rule, words: Words) -> Block:
    links = [words.link(words.knowledge.references[r]) for r in rule.references]
    title = words.term("block.sources")
    return {"kind": "sources", "title": title, "items": [words.rule_link(rule.id), *links]}
