"""What a question about a run gets: its diagnosis, or the side of it that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.answer import knowledge_blocks as known
from advisor.answer.conversation import Shown
from advisor.answer.decision import Decision, Situation
from advisor.answer.understand import Question
from advisor.blocks import Block, Words, diagnosis_blocks, finding_blocks
from advisor.models import Diagnosis, Finding, Scored


def explained(question: Question, situation: Situation, topics: Sequence[Scored], asked: str | None) -> Decision:
    """The run the question is about: its top finding, or what the question asks after by name (`asked`)."""
    diagnosis = situation.diagnosis
    assert diagnosis is not None
    about = next((f for f in diagnosis.findings if f.rule.topic == asked), None)
    shown = about or (diagnosis.findings[0] if diagnosis.verdict == "bottleneck" else None)

    def build(words: Words) -> list[Block]:
        blocks = _side(question, diagnosis, shown, words)
        if asked and about is None and question.aspect == "all":
            checked = known.checked_topic(asked, diagnosis, words)
            blocks = [*blocks, *checked] if question.pasted else [*checked, *blocks]
        keys = ("ask.verify", "ask.disk", "ask.missing") if shown else ("ask.missing", "ask.bottlenecks")
        origin = "paste.read" if question.pasted else "stated.read" if situation.stated else None
        if origin:
            blocks = [*blocks[:1], known.prose(words, None, [words.term(origin)]), *blocks[1:]]
        if question.pasted:  # what follows would be asked without the paste
            keys = ("ask.mine", "ask.bottlenecks")
        return [*blocks, follow_up_block(words, *keys)]

    listed = ([shown] if shown else []) + [f for f in diagnosis.findings if f is not shown]
    asking = next((n.facts[0] for n in diagnosis.next_measurements if n.question and n.facts), None)
    left = Shown(shown.rule.topic if shown else topics[0].id, tuple(f.rule.id for f in listed), asking=asking)
    rules = (shown.rule,) if shown else ()
    return Decision(
        "diagnosis", first_topic(shown.rule.topic if shown else None, topics), rules, left, build, diagnosis
    )


def first_topic(topic: str | None, topics: Sequence[Scored]) -> tuple[Scored, ...]:
    """The topics with `topic` first: it was measured, the others only sound alike."""
    if topic is None:
        return tuple(topics)
    best = Scored(topic, max(0.9, topics[0].score))
    return (best, *(t for t in topics if t.id != topic))[:5]


def follow_up_block(words: Words, *keys: str) -> Block:
    """What to ask next, as terms."""
    return {"kind": "follow_ups", "title": words.term("block.follow_ups"), "items": [words.term(k) for k in keys]}


def _side(question: Question, diagnosis: Diagnosis, shown: Finding | None, words: Words) -> list[Block]:
    """The side of the diagnosis that the question asks for."""
    whole = diagnosis_blocks(diagnosis, words.knowledge, question.lang)
    if question.aspect == "missing":
        return [*known.unmeasured(diagnosis, words), *(b for b in whole if b["kind"] in ("missing", "coverage"))]
    if shown is None or (shown is diagnosis.findings[0] and question.aspect == "all"):
        return whole
    blocks = finding_blocks(diagnosis, shown, words.knowledge, question.lang)
    if question.aspect == "verify":
        return [b for b in blocks if b["kind"] in ("headline", "remedies")]
    return [*blocks, *(b for b in whole if b["kind"] == "coverage")]
