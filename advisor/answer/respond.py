"""Question (and Diagnosis, when there is one) -> Answer.

One decision, in this order: calculate what asks for a number; decline what is unrelated;
explain the run when the question is about it; answer from an FAQ or a rule; else say what to measure first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from advisor.answer import knowledge_blocks as known
from advisor.answer.search import Hit, Index, topic_scores
from advisor.answer.sizing import SOURCES, Calculation, calculation
from advisor.answer.understand import Question
from advisor.blocks import Block, Words, diagnosis_blocks, finding_blocks, to_markdown
from advisor.models import Answer, AnswerKind, Diagnosis, Faq, Finding, Knowledge, Reference, Rule, Scored

DECLINE = 0.25  # a best topic below this is a coincidence of words
ASKED = 0.3  # a topic above this, and clearly ahead of the next, was asked about by name, not just touched
AHEAD = 1.25
CLEAR = 0.38  # a best topic below this is a guess: better to say what to measure
MAX_CAUSES = 6
BROAD = 3  # a rule that as many others explain names a family of causes
FAQ_SHARE = 0.85  # an FAQ answers when it fits better than any rule and nearly as well as the best topic
SYMPTOMS = frozenset(["gpu_low_utilization", "profiling_metrics", "slowdown_over_time"])


class Responder:
    """Answers questions from one knowledge base."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._index = Index(knowledge)
        self._explained_by = Counter(other for rule in knowledge.rules.values() for other in rule.explains)

    def answer(self, question: Question, diagnosis: Diagnosis | None, *, attached: bool = False) -> Answer:
        """The answer to `question`.

        `diagnosis` is of the run that it may be about; `attached` says that the user chose that run for this
        question, so that it is about it unless it is clearly a matter of knowledge.
        """
        hits = self._index.search(question.plain)
        topics = topic_scores(hits, self.knowledge)
        words = Words(self.knowledge, question.lang)
        if not question.pasted and (worked := calculation(question.plain, question.lang)):
            return self._calculated(worked, question, topics, words)
        follow_up = attached and question.aspect != "all"  # "how do I verify it?" names no topic and needs none
        if not follow_up and self._unrelated(question, topics):
            return self._declined(question, topics, words)
        # A symptom without a cause is about the run at hand; a cause by name is a matter of knowledge.
        vague = question.symptom and (topics[0].id in SYMPTOMS or topics[0].score < CLEAR)
        open_question = question.aim == "open" and (attached or vague)
        if diagnosis is not None and (question.aim == "own" or open_question or follow_up):
            return self._explained(question, topics, diagnosis, words)
        faq = None if vague or question.aim == "own" else self._faq(hits, topics[0].id)
        if faq:
            return self._from_faq(faq, question, topics, words)
        if question.aim == "own" or vague:
            return self._triage(question, topics, words)
        return self._from_rules(question, hits, topics, words)

    def _calculated(self, worked: Calculation, question: Question, topics: Sequence[Scored], words: Words) -> Answer:
        """A calculation with its working; its sources are those of its kind."""
        cited = [self.knowledge.references[ref] for ref in SOURCES[worked.kind]] if worked.results else []
        links = [words.link(reference) for reference in cited]
        sources = {"kind": "sources", "title": words.term("block.sources"), "items": links}
        answer = self._finish("calculation", question, topics, [*worked.blocks, *([sources] if links else [])])
        return replace(answer, citations=tuple(cited))

    def _unrelated(self, question: Question, topics: Sequence[Scored]) -> bool:
        best = topics[0]
        familiar = question.aim == "own" or question.symptom
        if not self.knowledge.topics[best.id].in_scope:
            return not familiar or _asked(topics) is not None
        return best.score < DECLINE and not familiar

    def _declined(self, question: Question, topics: Sequence[Scored], words: Words) -> Answer:
        first = topics[0]
        if self.knowledge.topics[first.id].in_scope:
            first = Scored("oos_other", round(1 - first.score, 3))
        ordered = (first, *(t for t in topics if t.id != first.id))[:5]
        blocks = [known.prose(words, None, [words.term(f"decline.{first.id}")]), _follow_ups(words, "ask.start")]
        return self._finish("out_of_scope", question, ordered, blocks)

    def _explained(self, question: Question, topics: Sequence[Scored], diagnosis: Diagnosis, words: Words) -> Answer:
        """The run the question is about: its top finding, or what the question asks after by name."""
        asked = _asked(topics)
        about = next((f for f in diagnosis.findings if f.rule.topic == asked), None)
        shown = about or (diagnosis.findings[0] if diagnosis.verdict == "bottleneck" else None)
        blocks = self._side(question, diagnosis, shown, words)
        if asked and about is None and question.aspect == "all":
            checked = known.checked_topic(asked, diagnosis, words)
            blocks = [*blocks, *checked] if question.pasted else [*checked, *blocks]
        keys = ("ask.verify", "ask.disk", "ask.missing") if shown else ("ask.missing", "ask.bottlenecks")
        if question.pasted:  # what follows would be asked without the paste
            blocks = [*blocks[:1], known.prose(words, None, [words.term("paste.read")]), *blocks[1:]]
            keys = ("ask.mine", "ask.bottlenecks")
        blocks = [*blocks, _follow_ups(words, *keys)]
        rules = [shown.rule] if shown else []
        return self._finish("diagnosis", question, _first(shown, topics), blocks, rules, diagnosis)

    def _side(self, question: Question, diagnosis: Diagnosis, shown: Finding | None, words: Words) -> list[Block]:
        """The side of the diagnosis that the question asks for."""
        whole = diagnosis_blocks(diagnosis, self.knowledge, question.lang)
        if question.aspect == "missing":
            return [*known.unmeasured(diagnosis, words), *(b for b in whole if b["kind"] in ("missing", "coverage"))]
        if shown is None or (shown is diagnosis.findings[0] and question.aspect == "all"):
            return whole
        blocks = finding_blocks(diagnosis, shown, self.knowledge, question.lang)
        if question.aspect == "verify":
            return [b for b in blocks if b["kind"] in ("headline", "remedies")]
        return [*blocks, *(b for b in whole if b["kind"] == "coverage")]

    def _faq(self, hits: Sequence[Hit], topic_id: str) -> Faq | None:
        """The FAQ that the question is, when it is on the topic of the question."""
        best = {kind: next((h for h in hits if h.kind == kind), None) for kind in ("faq", "rule", "topic")}
        faq, rule, topic = best["faq"], best["rule"], best["topic"]
        if (
            faq is None
            or topic_id not in faq.topics
            or (rule and rule.score >= faq.score)
            or (topic and faq.score < FAQ_SHARE * topic.score)
        ):
            return None
        return self.knowledge.faqs[faq.id]

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
        """No measurements yet: what to run, and the causes it tells apart.

        Of a topic that is named, its rules; else the broad findings that others explain, which split the field.
        """
        rules = sorted(self.knowledge.rules.values(), key=lambda r: -self._explained_by[r.id])
        named = next((t.id for t in topics[:1] if t.score >= DECLINE and t.id not in SYMPTOMS and _asked(topics)), None)
        causes = [r for r in rules if (r.topic == named if named else self._explained_by[r.id] >= BROAD)]
        about = topics[0].id if topics[0].score >= DECLINE else "gpu_low_utilization"
        blocks = [*known.triage(about, causes[:MAX_CAUSES], words), _follow_ups(words, "ask.loader", "ask.bottlenecks")]
        return self._finish("clarify", question, topics, blocks, causes[:MAX_CAUSES])

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


def _asked(topics: Sequence[Scored]) -> str | None:
    """The topic that the question names, rather than a symptom that many causes share."""
    best, second = topics[0], topics[1]
    clear = best.score >= ASKED and best.score >= AHEAD * second.score
    return best.id if clear and best.id not in SYMPTOMS else None


def _first(finding: Finding | None, topics: Sequence[Scored]) -> tuple[Scored, ...]:
    """The topics with the one of the finding first: it was measured, the others only sound alike."""
    if finding is None:
        return tuple(topics)
    best = Scored(finding.rule.topic, max(0.9, topics[0].score))
    return (best, *(t for t in topics if t.id != best.id))[:5]


def _follow_ups(words: Words, *keys: str) -> Block:
    return {"kind": "follow_ups", "title": words.term("block.follow_ups"), "items": [words.term(k) for k in keys]}
