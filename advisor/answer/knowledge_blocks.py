"""Blocks of answers that come from the knowledge base rather than from a run's diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.blocks import Block, Words, rule_blocks
from advisor.condition import compile_condition, left_value, limit_value
from advisor.models import Diagnosis, FactSpec, Faq, Rule, Topic

RUN = "advisor run -- python train.py"
SERVER = "advisor diagnose http://127.0.0.1:8000/metrics"
MACHINE = "advisor diagnose"
MAX_CHECKED = 6
_MACHINE_TOPICS = frozenset(["gpu_hardware_fault", "thermal_power_throttling", "container_limits", "gpu_not_used"])


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
    rules = dict.fromkeys(item.rules[0] for item in entry.items if item.rules)  # the nearest of each point
    return [
        {"kind": "headline", "title": words.say(entry.question), "lede": words.say(entry.lead)},
        prose(words, None, [], points),
        {"kind": "sources", "title": words.term("block.sources"), "items": [*map(words.rule_link, rules), *links]},
    ]


def faq_link(entry: Faq, words: Words) -> Block:
    """The page of an answered question as a link."""
    return {"label": words.term("link.faq", faq=entry.id), "url": f"/faq/{entry.id}"}


def topic(topic_id: str, rules: Sequence[Rule], words: Words, *, error: bool = False) -> list[Block]:
    """What is known on a topic: the best rule in full, the others by name and test, and how to tell them apart.

    `error` says that an error message was asked about: then it is named what that is a sign of.
    """
    entry = words.knowledge.topics[topic_id]
    named = [prose(words, None, [words.term("topic.error", topic=words.say(entry.title))])] if error else []
    if not rules:
        said = words.term("topic.no_rule", topic=words.say(entry.title))
        return [*named, prose(words, None, [said]), *first_step(entry, words), measure(words, topic_id)]
    first, *rest = rules
    blocks = rule_blocks(first, words.knowledge, words.lang)
    if rest:
        blocks.insert(-1, prose(words, "topic.others", [], [cause(r, words) for r in rest[:5]]))
    shown = [*named, *blocks[:-1], *first_step(entry, words), measure(words, topic_id)]
    return [*shown, _with_rule_link(first, blocks[-1], words)]


def triage(topic_id: str, rules: Sequence[Rule], ask: FactSpec | None, waiting: int, words: Words) -> list[Block]:
    """Nothing was measured yet: the command to run, what to look at first, and the causes it will tell apart.

    `ask` is the one fact that the person is asked for, `waiting` how many rules wait for it.
    """
    head = {"kind": "headline", "title": words.term("triage.title"), "lede": words.term("triage.lede")}
    shown = measure(words, topic_id)
    if ask and ask.ask:
        why = words.term("next.question", count=waiting)
        asked = {"question": words.say(ask.ask), "why": why, "command": ""}
        shown = {**shown, "items": [*shown["items"], asked]}
    step = first_step(words.knowledge.topics[topic_id], words)
    causes = [prose(words, "triage.causes", [], [cause(r, words) for r in rules])] if rules else []
    return [head, shown, *step, *causes, *([links([r.id for r in rules], words)] if rules else [])]


def first_step(entry: Topic, words: Words) -> list[Block]:
    """How a topic's causes are told apart by hand."""
    return [prose(words, "topic.triage", [words.say(entry.triage)])] if entry.triage else []


def checked_topic(topic_id: str, diagnosis: Diagnosis, words: Words) -> list[Block]:
    """What the diagnosis says about a topic that no finding belongs to: ruled out, or not measured."""
    rules = [r for r in words.knowledge.rules.values() if r.topic == topic_id]
    cleared = [r for r in rules if r.id in diagnosis.cleared]
    title = words.say(words.knowledge.topics[topic_id].title)
    if not cleared:
        return [prose(words, None, [words.term("checked.unknown", topic=title)])] if rules else []
    points = [
        {"text": words.say(r.title), "note": "; ".join(_against(r, diagnosis, words)) or None}
        for r in cleared[:MAX_CHECKED]
    ]
    return [prose(words, None, [words.term("checked.cleared", topic=title)], points)]


def _against(rule: Rule, diagnosis: Diagnosis, words: Words) -> list[str]:
    """The conditions that do not hold, with what was measured."""
    values = {name: fact.value for name, fact in diagnosis.profile.facts.items()}
    wrong = [c for c in rule.when.conditions if not c.means and compile_condition(c)(values) is False]
    return [
        words.term(
            "checked.value",
            label=words.label(c.fact),
            value=words.value(left_value(c, values), None if c.over else c.fact),
            sign=words.sign(c.op),
            limit=words.value(limit_value(c, values), None if c.over else c.fact),
        )
        for c in wrong
    ]


def unmeasured(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """The sources that could not be read, and the rules that wait for facts."""
    unread = [
        {"text": f"{s.origin}: {words.term('state.' + s.state)}", "note": s.note or None}
        for s in diagnosis.profile.sources
        if s.state != "ok"
    ]
    waiting = [
        {
            "text": words.say(words.knowledge.rules[i.rule].title),
            "note": words.term("missing.facts", facts=", ".join(words.label(f) for f in i.missing)),
        }
        for i in diagnosis.incomplete
        if i.rule in words.knowledge.rules
    ]
    blocks = [prose(words, "missing.sources", [], unread)] if unread else []
    return [*blocks, prose(words, "missing.rules", [], waiting)] if waiting else blocks


def cause(rule: Rule, words: Words) -> Block:
    """A cause by name, with the test that tells it from others; the note leads to its rule."""
    tests = rule.when.all or rule.when.any or rule.when.at_least
    note = "; ".join(words.condition(c) for c in tests)
    return {"text": words.say(rule.title), "note": note, "rule": rule.id}


def measure(words: Words, topic_id: str = "") -> Block:
    """The one command that measures what a topic needs: the run, the server, or the machine."""
    entry = words.knowledge.topics.get(topic_id)
    serving = entry is not None and entry.group == "inference.serving"
    key, command = ("measure.run", RUN)
    if serving:
        key, command = ("measure.server", SERVER)
    elif topic_id in _MACHINE_TOPICS:
        key, command = ("measure.machine", MACHINE)
    return {
        "kind": "missing",
        "title": words.term("measure.title"),
        "items": [{"why": words.term(key), "command": command}],
    }


def links(rules: Sequence[str], words: Words) -> Block:
    """The pages of rules as sources."""
    return {"kind": "sources", "title": words.term("block.sources"), "items": [words.rule_link(r) for r in rules]}


def _with_rule_link(rule: Rule, sources: Block, words: Words) -> Block:
    return {**sources, "items": [words.rule_link(rule.id), *sources["items"]]}
