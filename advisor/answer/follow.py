"""What a follow-up gets: one side of the causes that the answer before it named."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.answer import follow_blocks as sides
from advisor.answer.conversation import Shown
from advisor.answer.decision import Cause, Decision, Situation
from advisor.answer.explain import first_topic, follow_up_block
from advisor.answer.understand import Question
from advisor.blocks import Block, Words
from advisor.models import AnswerKind, Knowledge, Rule, Scored


def followed(
    question: Question, situation: Situation, topics: Sequence[Scored], knowledge: Knowledge
) -> Decision | None:
    """The answer to a follow-up; None when nothing was named that it could be about."""
    if question.aspect == "check":
        return _checked(question, situation, topics, knowledge)
    listed = _listed(situation, knowledge)
    if question.aspect == "missing" or not listed:
        return None
    if question.aspect in ("others", "failed"):
        return _others(question, situation, topics, listed)
    place = question.place if question.follows else 0
    if place >= len(listed):
        return _others(question, situation, topics, [])
    cause = _cause(listed[place], situation)
    shown = _shown(cause.rule.topic, listed, place)

    def build(words: Words) -> list[Block]:
        blocks = (
            sides.brief(cause, words) if question.aspect == "shorter" else sides.side(question.aspect, cause, words)
        )
        return [*blocks, _next(question, words, more=place + 1 < len(listed))]

    topic = first_topic(cause.rule.topic, topics)
    return Decision(_kind(situation, cause), topic, (cause.rule,), shown, build, cause.diagnosis)


def _listed(situation: Situation, knowledge: Knowledge) -> list[Rule]:
    """The causes that can be referred to: those the last answer named, else the findings of the run."""
    named = [knowledge.rules[r] for r in situation.state.shown.listed if r in knowledge.rules]
    found = situation.diagnosis.findings if situation.diagnosis else ()
    return named or [f.rule for f in found]


def _cause(rule: Rule, situation: Situation) -> Cause:
    diagnosis = situation.diagnosis
    finding = next((f for f in diagnosis.findings if f.rule.id == rule.id), None) if diagnosis else None
    return Cause(rule, finding, diagnosis if finding else None)


def _kind(situation: Situation, cause: Cause) -> AnswerKind:
    return "diagnosis" if situation.diagnosis and cause.finding else "knowledge"


def _shown(topic: str, listed: Sequence[Rule], place: int) -> Shown:
    return Shown(topic, tuple(r.id for r in listed), place)


def _others(question: Question, situation: Situation, topics: Sequence[Scored], listed: Sequence[Rule]) -> Decision:
    """The causes that are left after the one talked about, and without what was tried in vain."""
    state = situation.state
    here = min(state.shown.place, len(listed) - 1) if listed else 0
    tried = listed[here] if listed and question.aspect == "failed" else None
    left = [r for i, r in enumerate(listed) if i != here and r.id not in state.ruled_out]
    diagnosis = situation.diagnosis

    def build(words: Words) -> list[Block]:
        blocks = [sides.failed(tried, words)] if tried else []
        return [*blocks, *sides.others(left, diagnosis, words), follow_up_block(words, "ask.next", "ask.missing")]

    shown = _shown(topics[0].id, listed, here)
    kind: AnswerKind = "diagnosis" if diagnosis else "clarify"
    return Decision(kind, tuple(topics), tuple(left[: sides.MAX_OTHERS]), shown, build, diagnosis)


def _checked(
    question: Question, situation: Situation, topics: Sequence[Scored], knowledge: Knowledge
) -> Decision | None:
    """Whether it is the part that the person suspects."""
    if not question.about:
        return None
    diagnosis = situation.diagnosis
    found = next((f for f in diagnosis.findings if f.rule.topic == question.about), None) if diagnosis else None

    def build(words: Words) -> list[Block]:
        if found:
            blocks = sides.side("next", Cause(found.rule, found, diagnosis), words)
        else:
            blocks = sides.suspected(question.about, diagnosis, words)
        return [*blocks, follow_up_block(words, "ask.verify", "ask.others")]

    kind: AnswerKind = "diagnosis" if diagnosis else "knowledge"
    rules = [found.rule] if found else [] if diagnosis else sides.suspects(question.about, knowledge)
    topic = first_topic(question.about, topics)
    return Decision(kind, topic, tuple(rules), _shown(question.about, rules, 0), build, diagnosis)


def _next(question: Question, words: Words, *, more: bool) -> Block:
    keys = ["ask.verify" if question.aspect != "verify" else "ask.numbers", "ask.others"]
    return follow_up_block(words, *keys, *(["ask.next"] if more else []))
