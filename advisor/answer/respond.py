"""Question (and what it meets) -> Answer.

One decision, in this order: talk that asks for nothing; a side of the answer before; decline what is unrelated;
calculate; explain the run when the question is about it; give the yardstick of a number; answer from an FAQ or a
rule; else say what to measure first, with at most one question back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from advisor.answer import knowledge_blocks as known
from advisor.answer.asking import question_back
from advisor.answer.classify import TopicModel
from advisor.answer.conversation import Shown
from advisor.answer.decision import Decision, Situation
from advisor.answer.explain import explained, follow_up_block
from advisor.answer.follow import followed
from advisor.answer.follow_up import SOCIAL
from advisor.answer.hints import error_hints
from advisor.answer.search import Hit, Index, topic_scores
from advisor.answer.sizing import SOURCES, calculation
from advisor.answer.understand import Question
from advisor.answer.yardstick import Metric, limits, metric, yardstick_blocks
from advisor.blocks import Block, Words, to_markdown
from advisor.models import Answer, Diagnosis, Faq, Knowledge, Reference, Rule, Scored

HINTED, RULED_OUT = (
    2.0,
    1.5,
)  # what a known error adds to a topic's log probability; what a denial takes, not believed blindly
OUTSIDE = 0.12  # the probability of all that is out of scope, from which a question is declined: half of those that
# are in scope and above it would be answered wrongly anyway (see the table of thresholds that `make accuracy` prints)
OUTSIDE_OF_RUN = 0.7  # the same where a run is at hand that the question may well be about
NAMED = 20.0  # a rule or an answered question whose words fit so well was asked for, whatever the model thinks
ASKED = 0.5  # a topic above this, and clearly ahead of the next, was asked about by name, not just touched
AHEAD = 2.0
CLEAR = 0.3  # a best topic below this is a guess: better to say what to measure
NEARBY = 0.25  # a topic above this is worth offering beside what is declined
MAX_CAUSES = 6
BROAD = 3  # a rule that as many others explain names a family of causes
FAQ_SHARE = 0.85  # an FAQ answers when it fits better than any rule and nearly as well as the best topic
NEEDS_ANSWER = frozenset(["why", "numbers", "more", "shorter", "others", "next", "failed"])
SYMPTOMS = frozenset(["gpu_low_utilization", "profiling_metrics", "slowdown_over_time"])


class Responder:
    """Answers questions from one knowledge base."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._index = Index(knowledge)
        self._model = TopicModel(knowledge.topic_model, knowledge.concepts) if knowledge.topic_model else None
        self._explained_by = Counter(other for rule in knowledge.rules.values() for other in rule.explains)

    def answer(self, question: Question, diagnosis: Diagnosis | None, *, attached: bool = False) -> Answer:
        """The answer to a question that stands alone; `attached` says that `diagnosis` was chosen for it."""
        return self.respond(question, Situation(diagnosis, attached))

    def respond(self, question: Question, situation: Situation) -> Answer:
        """The answer to a question in its situation."""
        return self.render(self.decide(question, situation), question, situation)

    def decide(self, question: Question, situation: Situation) -> Decision:
        """Which answer a question gets, before anything is put into words."""
        hits = self._index.search(question.plain)
        ranked = self.topics(question, hits, limit=len(self.knowledge.topics))
        about_run = question.pasted or situation.attached
        topics, outside = self._scoped(ranked, hits, OUTSIDE_OF_RUN if about_run else OUTSIDE)
        if question.aspect in SOCIAL:
            return self._social(question, topics)
        follow_up = question.aspect != "all" and (situation.attached or question.follows)
        if follow_up and (side := followed(question, situation, topics, self.knowledge)):
            return side
        if question.follows and question.aspect in NEEDS_ANSWER:
            return self._social(replace(question, aspect="unclear"), topics)
        worked = self._calculation(question, situation, topics)
        if worked:
            return worked
        if outside and not follow_up and not question.follows and not question.pasted:
            return self._declined(topics)
        # A symptom without a cause is about the run at hand; a cause by name is a matter of knowledge.
        symptom = question.symptom and question.aim != "general"
        vague = symptom and (topics[0].id in SYMPTOMS or topics[0].score < CLEAR)
        open_question = question.aim == "open" and (situation.attached or vague)
        if situation.diagnosis is not None and (question.aim == "own" or open_question or follow_up):
            return explained(question, situation, topics, _asked(topics))
        return self._known(question, hits, topics, situation, vague=vague)

    def topics(self, question: Question, hits: Sequence[Hit], limit: int = 5) -> tuple[Scored, ...]:
        """The topics of a question: by words, by the model, by known errors and by what the person rules out."""
        if self._model is None:
            return topic_scores(hits, self.knowledge, limit=limit)
        trained = self._model.scores(question.plain)
        for topic in {hint.topic for hint in error_hints(question.plain, self.knowledge)} & trained.keys():
            trained[topic] += HINTED
        for topic in trained.keys() & set(question.ruled_out):
            trained[topic] -= RULED_OUT
        return topic_scores(hits, self.knowledge, trained, limit)

    def render(self, decision: Decision, question: Question, situation: Situation) -> Answer:
        """A decision in words."""
        words = Words(self.knowledge, question.lang)
        premises = [words.say(p) for p in situation.premises]
        blocks = [known.prose(words, None, premises)] if premises else []
        blocks += decision.build(words)
        return Answer(
            kind=decision.kind,
            lang=question.lang,
            text=to_markdown(blocks),
            topics=decision.topics,
            rules=tuple(r.id for r in decision.rules),
            diagnosis=decision.diagnosis,
            citations=self._citations(decision),
            follow_ups=tuple(q for b in blocks if b["kind"] == "follow_ups" for q in b["items"]),
            blocks=blocks,
        )

    def _known(
        self, question: Question, hits: Sequence[Hit], topics: tuple[Scored, ...], situation: Situation, *, vague: bool
    ) -> Decision:
        """An answer from the knowledge base alone."""
        asks_metric = metric(question.plain, question.stated, self.knowledge) if question.normal else None
        faq = None if (vague or question.aim == "own") and not question.normal else self._faq(hits, topics[0].id)
        if faq:
            return self._from_faq(faq, topics, asks_metric)
        if asks_metric:
            return self._yardstick(asks_metric, topics)
        if (question.aim == "own" or vague) and not question.error:
            return self._triage(question, topics, situation)
        return self._from_rules(question, hits, topics)

    def _scoped(self, topics: Sequence[Scored], hits: Sequence[Hit], limit: float) -> tuple[tuple[Scored, ...], bool]:
        """The best five topics, and whether the question is declined: the first then says what it is instead."""
        asked_for = bool(hits) and hits[0].kind != "topic" and hits[0].score >= NAMED
        within = [self.knowledge.topics[t.id].in_scope for t in topics]
        outside = sum(t.score for t, inside in zip(topics, within, strict=True) if not inside) >= limit
        declined = outside and not asked_for
        first = next((t for t, inside in zip(topics, within, strict=True) if inside != declined), topics[0])
        return (first, *(t for t in topics if t is not first))[:5], declined

    def _social(self, question: Question, topics: tuple[Scored, ...]) -> Decision:
        def build(words: Words) -> list[Block]:
            said = known.prose(words, None, [words.term(f"social.{question.aspect}")])
            return [said, follow_up_block(words, "ask.start", "ask.bottlenecks")]

        return Decision("clarify", topics, (), Shown(), build)

    def _declined(self, topics: Sequence[Scored]) -> Decision:
        """What advisor does not answer, and the nearest topic that it does."""
        first = topics[0]
        near = next((t for t in topics if self.knowledge.topics[t.id].in_scope and t.score >= NEARBY), None)

        def build(words: Words) -> list[Block]:
            said = [words.term(f"decline.{first.id}")]
            if near:
                said.append(words.term("decline.near", topic=words.say(self.knowledge.topics[near.id].title)))
            return [known.prose(words, None, said), follow_up_block(words, "ask.start")]

        return Decision("out_of_scope", tuple(topics), (), Shown(first.id), build)

    def _calculation(self, question: Question, situation: Situation, topics: tuple[Scored, ...]) -> Decision | None:
        """The calculation that is asked for, or the one before with what the follow-up changes."""
        carried = situation.state.shown.inputs
        changed = question.added if question.follows and carried else question.plain
        found = None if question.pasted else calculation(changed, question.lang, carried)
        if found is None:
            return None
        cites = SOURCES[found.kind] if found.results else ()

        def build(words: Words) -> list[Block]:
            links = [words.link(self.knowledge.references[ref]) for ref in cites]
            sources = {"kind": "sources", "title": words.term("block.sources"), "items": links}
            return [*found.blocks, *([sources] if links else [])]

        return Decision("calculation", topics, (), Shown(topics[0].id, inputs=found.known), build, cites=cites)

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

    def _from_faq(self, faq: Faq, topics: tuple[Scored, ...], asked: Metric | None) -> Decision:
        named = list(dict.fromkeys(r for item in faq.items for r in item.rules))

        def build(words: Words) -> list[Block]:
            yardstick = yardstick_blocks(*asked, words) if asked else []
            *said, sources = known.faq(faq, words)
            cited = {**sources, "items": [known.faq_link(faq, words), *sources["items"]]}
            return [*said, *yardstick, cited, follow_up_block(words, "ask.mine", "ask.loader")]

        rules = tuple(self.knowledge.rules[r] for r in named)
        return Decision("knowledge", topics, rules, Shown(topics[0].id, tuple(named)), build)

    def _yardstick(self, asked: Metric, topics: tuple[Scored, ...]) -> Decision:
        """What is normal for a number, by the limits of the rules."""
        rules = tuple(dict.fromkeys(rule.id for rule, _ in limits(asked[0].name, self.knowledge)))[:MAX_CAUSES]

        def build(words: Words) -> list[Block]:
            return [
                *yardstick_blocks(*asked, words),
                known.measure(words, topics[0].id),
                follow_up_block(words, "ask.mine"),
            ]

        cited = tuple(self.knowledge.rules[r] for r in rules)
        return Decision("knowledge", topics, cited, Shown(topics[0].id, rules), build)

    def _from_rules(self, question: Question, hits: Sequence[Hit], topics: tuple[Scored, ...]) -> Decision:
        """The rules that fit best: the first in full, the others of its topic by name."""
        best = topics[0].id
        ranked = [self.knowledge.rules[h.id] for h in hits if h.kind == "rule"]
        rules = [r for r in ranked if r.topic == best] or [r for r in self.knowledge.rules.values() if r.topic == best]

        def build(words: Words) -> list[Block]:
            return [*known.topic(best, rules, words, error=question.error), follow_up_block(words, "ask.mine")]

        shown = Shown(best, tuple(r.id for r in rules[:MAX_CAUSES]))
        return Decision("knowledge", topics, tuple(rules[:3]), shown, build)

    def _triage(self, question: Question, topics: tuple[Scored, ...], situation: Situation) -> Decision:
        """No measurements yet: what to run, and the causes it tells apart.

        Of a topic that is named, its rules; else the broad findings that others explain, which split the field.
        """
        rules = sorted(self.knowledge.rules.values(), key=lambda r: -self._explained_by[r.id])
        named = next((t.id for t in topics[:1] if t.id not in SYMPTOMS and _asked(topics)), None)
        causes = [r for r in rules if (r.topic == named if named else self._explained_by[r.id] >= BROAD)][:MAX_CAUSES]
        about = topics[0].id if topics[0].score >= CLEAR else "gpu_low_utilization"
        facts = {s.name: s.value for s in situation.state.known(question)}
        asked, waiting = question_back(self._family(causes), facts, situation.state, self.knowledge)

        def build(words: Words) -> list[Block]:
            blocks = known.triage(about, causes, asked, waiting, words)
            return [*blocks, follow_up_block(words, "ask.loader", "ask.bottlenecks")]

        shown = Shown(about, tuple(r.id for r in causes), asking=asked.name if asked else None)
        return Decision("clarify", topics, tuple(causes), shown, build)

    def _family(self, causes: Sequence[Rule]) -> list[Rule]:
        """The causes, and the narrower rules that account for one of them."""
        ids = {rule.id for rule in causes}
        return [r for r in self.knowledge.rules.values() if r.id in ids or not ids.isdisjoint(r.explains)]

    def _citations(self, decision: Decision) -> tuple[Reference, ...]:
        ids = dict.fromkeys([*decision.cites, *(ref for rule in decision.rules for ref in rule.references)])
        return tuple(self.knowledge.references[i] for i in ids)


def _asked(topics: Sequence[Scored]) -> str | None:
    """The topic that the question names, rather than a symptom that many causes share."""
    best, second = topics[0], topics[1]
    clear = best.score >= ASKED and best.score >= AHEAD * second.score
    return best.id if clear and best.id not in SYMPTOMS else None
