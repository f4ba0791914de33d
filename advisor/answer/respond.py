"""Question (and Diagnosis, when there is one) -> Answer.

One decision, in this order: decline what is unrelated; explain the run when the question
is about it; answer from an FAQ or a rule; else say what to measure first.
"""

from __future__ import annotations

from collections.abc import Sequence

from advisor.answer import knowledge_blocks as known
from advisor.answer.search import Hit, Index, topic_scores
from advisor.answer.understand import Question
from advisor.blocks import Block, Words, diagnosis_blocks, finding_blocks, to_markdown
from advisor.models import Answer, AnswerKind, Diagnosis, Faq, Finding, Knowledge, Reference, Rule, Scored

DECLINE = 0.25  # a best topic below this is a coincidence of words
ASKED = 0.45  # a topic above this was asked about by name, not just touched
FAQ_LEAD = 1.15  # an FAQ must win clearly: it answers a whole question, a rule one cause
SYMPTOMS = frozenset(["gpu_low_utilization", "profiling_metrics", "slowdown_over_time"])


class Responder:
    """Answers questions from one knowledge base."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._index = Index(knowledge)

    def answer(self, question: Question, diagnosis: Diagnosis | None) -> Answer:
        """The answer to `question`; `diagnosis` is of the run it is about, when there is one."""
        hits = self._index.search(question.plain)
        topics = topic_scores(hits, self.knowledge)
        words = Words(self.knowledge, question.lang)
        if self._unrelated(question, topics):
            return self._declined(question, topics, words)
        if question.own and diagnosis is not None:
            return self._explained(question, topics, diagnosis, words)
        faq = self._faq(hits)
        if faq:
            return self._from_faq(faq, question, topics, words)
        if question.own:
            return self._triage(question, topics, words)
        return self._from_rules(question, hits, topics, words)

    def _unrelated(self, question: Question, topics: Sequence[Scored]) -> bool:
        best = topics[0]
        if not self.knowledge.topics[best.id].in_scope:
            return True
        return best.score < DECLINE and not question.own

    def _declined(self, question: Question, topics: Sequence[Scored], words: Words) -> Answer:
        first = topics[0]
        if self.knowledge.topics[first.id].in_scope:
            first = Scored("oos_other", round(1 - first.score, 3))
        ordered = (first, *(t for t in topics if t.id != first.id))[:5]
        blocks = [known.prose(words, None, [words.term(f"decline.{first.id}")]), _follow_ups(words, "ask.start")]
        return self._finish("out_of_scope", question, ordered, blocks)

    def _explained(self, question: Question, topics: Sequence[Scored], diagnosis: Diagnosis, words: Words) -> Answer:
        """The run the question is about: its top finding, or what the question asks after by name."""
        asked = next((t.id for t in topics if t.score >= ASKED and t.id not in SYMPTOMS), None)
        about = next((f for f in diagnosis.findings if f.rule.topic == asked), None)
        lead: list[Block] = []
        if asked and about is None:
            lead = known.checked_topic(asked, diagnosis, words)
        if about is not None and about is not diagnosis.findings[0]:
            blocks = finding_blocks(diagnosis, about, self.knowledge, question.lang)
            blocks += diagnosis_blocks(diagnosis, self.knowledge, question.lang)[-2:]
        else:
            blocks = diagnosis_blocks(diagnosis, self.knowledge, question.lang)
        shown = about or (diagnosis.findings[0] if diagnosis.findings else None)
        rules = [shown.rule] if shown else []
        ordered = _first(shown, topics)
        keys = ("ask.verify", "ask.disk", "ask.missing") if shown else ("ask.missing", "ask.bottlenecks")
        return self._finish(
            "diagnosis", question, ordered, [*lead, *blocks, _follow_ups(words, *keys)], rules, diagnosis
        )

    def _faq(self, hits: Sequence[Hit]) -> Faq | None:
        faq = next((h for h in hits if h.kind == "faq"), None)
        rest = max((h.score for h in hits if h.kind != "faq"), default=0.0)
        return self.knowledge.faqs[faq.id] if faq and faq.score > FAQ_LEAD * rest else None

    def _from_faq(self, faq: Faq, question: Question, topics: Sequence[Scored], words: Words) -> Answer:
        rules = list(dict.fromkeys(r for item in faq.items for r in item.rules))
        blocks = [*known.faq(faq, words), _follow_ups(words, "ask.mine", "ask.loader")]
        return self._finish("knowledge", question, topics, blocks, [self.knowledge.rules[r] for r in rules])

    def _from_rules(self, question: Question, hits: Sequence[Hit], topics: Sequence[Scored], words: Words) -> Answer:
        """The rules that fit best: the first in full, the others of its topic by name."""
        best = topics[0].id
        ranked = [self.knowledge.rules[h.id] for h in hits if h.kind == "rule"]
        rules = [r for r in ranked if r.topic == best] or [r for r in self.knowledge.rules.values() if r.topic == best]
        blocks = known.topic(best, rules, words)
        return self._finish("knowledge", question, topics, [*blocks, _follow_ups(words, "ask.mine")], rules[:3])

    def _triage(self, question: Question, topics: Sequence[Scored], words: Words) -> Answer:
        """No measurements yet: what to run, and the causes it tells apart."""
        named = {t.id for t in topics if t.score >= DECLINE}
        rules = [r for r in self.knowledge.rules.values() if r.topic in named]
        rules = sorted(rules, key=lambda r: [t.id for t in topics].index(r.topic))[:6]
        blocks = [*known.triage(rules, words), _follow_ups(words, "ask.loader", "ask.bottlenecks")]
        return self._finish("clarify", question, topics, blocks, rules[:3])

    def _finish(
        self,
        kind: AnswerKind,
        question: Question,
        topics: Sequence[Scored],
        blocks: Sequence[Block],
        rules: Sequence[Rule] = (),
        diagnosis: Diagnosis | None = None,
    ) -> Answer:
        return Answer(
            kind=kind,
            lang=question.lang,
            text=to_markdown(blocks),
            topics=tuple(topics),
            rules=tuple(r.id for r in rules),
            diagnosis=diagnosis,
            citations=self._citations(rules),
            follow_ups=tuple(q for b in blocks if b["kind"] == "follow_ups" for q in b["items"]),
            blocks=blocks,
        )

    def _citations(self, rules: Sequence[Rule]) -> tuple[Reference, ...]:
        ids = dict.fromkeys(ref for rule in rules for ref in rule.references)
        return tuple(self.knowledge.references[i] for i in ids)


def _first(finding: Finding | None, topics: Sequence[Scored]) -> tuple[Scored, ...]:
    """The topics with the one of the finding first: it was measured, the others only sound alike."""
    if finding is None:
        return tuple(topics)
    best = Scored(finding.rule.topic, max(0.9, topics[0].score))
    return (best, *(t for t in topics if t.id != best.id))[:5]


def _follow_ups(words: Words, *keys: str) -> Block:
    return {"kind": "follow_ups", "title": words.term("block.follow_ups"), "items": [words.term(k) for k in keys]}
