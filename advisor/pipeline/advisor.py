"""From a diagnosis or a question to an answer, a report, a stored entry, a document."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advisor import store
from advisor.answer import Responder
from advisor.blocks import Block, Words, fact_blocks, rule_blocks
from advisor.engine import blinded, decidable
from advisor.errors import AdvisorError, InputError, NotFound
from advisor.models import Answer, Diagnosis, Knowledge, Lang, Text
from advisor.pipeline.conversing import Conversation
from advisor.pipeline.diagnoser import Diagnoser
from advisor.report.document import diagnosis_document

if TYPE_CHECKING:
    from advisor.answer.wording import Wording
    from advisor.models.compared import Comparison

Format = Literal["md", "html", "json"]
FORMATS: tuple[Format, ...] = ("md", "html", "json")
# What a message says that it is about is no statement to diagnose, and these intents ask for something else.
SCHEMA = 1
STALE_S = 60.0  # a run that goes on is saved every few seconds


class Advisor(Diagnoser):
    """One knowledge base and one store, and everything that is done with them."""

    def __init__(self, knowledge: Knowledge | None = None, data: Path | None = None) -> None:
        super().__init__(knowledge)
        self._data = data

    @functools.cached_property
    def responder(self) -> Responder:
        """The search index and what answers from it."""
        return Responder(self.knowledge)

    @functools.cached_property
    def wording(self) -> Wording | None:
        """The endpoint that rewords answers, where the operator has named one."""
        if not os.environ.get("ADVISOR_WORDING_URL"):  # most have none, and need not wait for an HTTP library
            return None
        from advisor.answer.wording import from_environment

        return from_environment()

    @functools.cached_property
    def store(self) -> store.SqliteStore:
        """Where diagnoses are kept; opened when first needed."""
        return store.SqliteStore((self._data or store.data_folder()) / "advisor.db")

    # --- from a question to an answer ---

    def ask(
        self, question: str, *, lang: Lang | None = None, profile: str | None = None, history: Sequence[str] = ()
    ) -> Answer:
        """Answer a question, about what is pasted or stated in it, the stored profile `profile` or else the latest.

        Args:
            question: what the person wrote.
            lang: the language to answer in; default: the question's own, or the one asked for in the conversation.
            profile: the id of a stored profile.
            history: the earlier messages of the same person in this conversation, oldest first.

        Raises:
            InputError, TooLarge: the question or the history cannot be used.
            NotFound: no profile has that id.
        """
        return self._answer(question, self.stored(profile) if profile is not None else None, lang, history)

    def ask_about(
        self, question: str, diagnosis: Diagnosis, *, lang: Lang | None = None, history: Sequence[str] = ()
    ) -> Answer:
        """Answer a question about a diagnosis at hand."""
        return self._answer(question, diagnosis, lang, history)

    def ask_batch(
        self, path: Path, diagnosis: Diagnosis | None = None, *, lang: Lang | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """Answer every question of a file after its own history, about `diagnosis` when given (raises InputError)."""
        from advisor.kb.questions import read_questions

        for item in read_questions(path):
            yield item.id, self._answer(item.text, diagnosis, lang, item.history, recall=False)

    def _answer(
        self,
        question: str,
        chosen: Diagnosis | None,
        lang: Lang | None,
        history: Sequence[str],
        *,
        recall: bool = True,
    ) -> Answer:
        """The answer; with `recall` the latest run is looked up when no other is at hand."""
        latest = functools.cache(self._recall) if recall else lambda: None
        conversation = Conversation(self, self.responder, chosen, latest, lang)
        asked, situation = conversation.hear(question, history)
        answer = self.responder.respond(asked, situation)
        return self.wording.reworded(answer) if self.wording else answer

    def _recall(self) -> Diagnosis | None:
        with suppress(AdvisorError):  # without a store there is no latest run, but there is still the knowledge
            return self.latest()
        return None

    # --- what can be read here ---

    def doctor(self, python: str | None = None) -> dict[str, Any]:
        """Every live source with its state, the way to more, and the rules that only it can decide."""
        from advisor.collect.doctor import examine, owners

        knowledge = self.knowledge
        # What measurements promise really is given; a probe's facts are given by nothing else.
        named = owners(knowledge.facts)
        promised = {f for m in knowledge.measurements if m.live for f in m.covers}
        given = {f: o for f, o in named.items() if f in promised or o in ("probes", "torch")}
        blind = blinded(knowledge, given)
        seen = examine(python)
        lost = {s.id for s in seen if s.state != "ok"}
        return {
            "schema": SCHEMA,
            "rules": {
                "all": len(knowledge.rules),
                "live": len(decidable(knowledge, given)),
                "here": len(decidable(knowledge, (f for f, o in given.items() if o not in lost))),
            },
            "sources": [
                {
                    "id": s.id,
                    "label": _both(knowledge.terms[s.label]) if s.label else {"en": s.origin, "zh": s.origin},
                    "origin": s.origin,
                    "state": s.state,
                    "note": s.note,
                    "way": {**_both(knowledge.terms[s.way.said]), "command": s.way.command} if s.way else None,
                    "rules": sorted(blind.get(s.id, ())),
                }
                for s in seen
            ],
        }

    # --- the store ---

    def save(self, diagnosis: Diagnosis, state: Literal["running", "done"] = "done") -> str:
        """Keep a diagnosis; it becomes the latest. Returns its id."""
        p = diagnosis.profile
        entry = store.Entry(
            p.id,
            p.subject,
            p.started,
            p.duration_s,
            diagnosis.verdict,
            diagnosis.headline.en,
            diagnosis.headline.zh,
            state,
        )
        self.store.save(entry, json.dumps(self.diagnosis_document(diagnosis), ensure_ascii=False))
        return p.id

    def profiles(self, limit: int = 50) -> list[dict[str, Any]]:
        """What a list of runs shows, latest first."""
        return [
            {
                "id": e.id,
                "subject": e.subject,
                "started": e.started,
                "duration_s": e.duration_s,
                "verdict": e.verdict,
                "headline": {"en": e.headline_en, "zh": e.headline_zh},
                # A watcher that was killed can no longer say that its run is over.
                "state": "running" if e.state == "running" and time.time() - e.updated < STALE_S else "done",
            }
            for e in self.store.entries(limit)
        ]

    def stored(self, entry_id: str) -> Diagnosis:
        """The stored diagnosis with that id, judged anew (raises NotFound)."""
        document = self.store.document(entry_id)
        if document is None:
            raise NotFound(f"no profile has the id {entry_id[:64]!r}; GET /api/v1/profiles lists them")
        return self.diagnose(json.loads(document))

    def latest(self) -> Diagnosis | None:
        """The diagnosis that was stored last, if any."""
        entries = self.store.entries(1)
        return self.stored(entries[0].id) if entries else None

    # --- rendering ---

    def diagnosis_document(self, diagnosis: Diagnosis) -> dict[str, Any]:
        """The Diagnosis JSON (schema 1)."""
        return diagnosis_document(diagnosis, self.knowledge)

    def comparison_document(self, comparison: Comparison) -> dict[str, Any]:
        """The comparison as JSON."""
        from advisor.report.comparison import comparison_document

        return comparison_document(comparison)

    def answer_document(self, answer: Answer) -> dict[str, Any]:
        """The Answer JSON (schema 1)."""
        return {
            "schema": SCHEMA,
            "kind": answer.kind,
            "lang": answer.lang,
            "text": answer.text,
            "topics": [{"id": t.id, "score": t.score} for t in answer.topics],
            "rules": list(answer.rules),
            "diagnosis": self.diagnosis_document(answer.diagnosis) if answer.diagnosis else None,
            "citations": [{"id": c.id, "title": c.title, "url": c.url} for c in answer.citations],
            "follow_ups": list(answer.follow_ups),
            "blocks": list(answer.blocks),
        }

    def report(self, diagnosis: Diagnosis, format: Format, lang: Lang) -> str:  # noqa: A002 - the word of the design
        """The diagnosis as a report that can be attached to a ticket."""
        if format == "json":
            return json.dumps(self.diagnosis_document(diagnosis), ensure_ascii=False, indent=2) + "\n"
        if format == "html":
            from advisor.report.html import render_html

            return render_html(diagnosis, self.knowledge, lang)
        from advisor.report.markdown import render_markdown

        return render_markdown(diagnosis, self.knowledge, lang)

    def rule_page(self, rule_id: str, lang: Lang) -> Sequence[Block]:
        """The page of a rule as blocks (raises NotFound)."""
        rule = self.knowledge.rules.get(rule_id)
        if rule is None:
            raise NotFound(f"no rule is named {rule_id[:64]!r}; `advisor rules` lists them")
        return rule_blocks(rule, self.knowledge, lang)

    def fact_page(self, name: str, lang: Lang, diagnosis: Diagnosis | None = None) -> Sequence[Block]:
        """The page of a fact as blocks, with the numbers of `diagnosis` where one is given (raises NotFound)."""
        spec = self.knowledge.facts.get(name)
        if spec is None:
            raise NotFound(f"no fact is named {name[:64]!r}; the facts of a run are in its Diagnosis")
        return fact_blocks(spec, self.knowledge, lang, diagnosis.profile if diagnosis else None)

    def faq_page(self, faq_id: str, lang: Lang) -> Sequence[Block]:
        """An answered question as blocks (raises NotFound)."""
        from advisor.answer.knowledge_blocks import faq

        entry = self.knowledge.faqs.get(faq_id)
        if entry is None:
            raise NotFound(f"no answered question is named {faq_id[:64]!r}")
        return faq(entry, Words(self.knowledge, lang))

    def write_pages(self, folder: Path) -> Path:
        """Write the knowledge base as web pages into `folder`; the path of the index (raises InputError)."""
        from advisor.report.site import Pages, write_site

        return write_site(folder, Pages(self.knowledge, self.rule_page, self.faq_page))


def report_formats(text: str) -> list[Format]:
    """The formats of a comma-separated list (raises InputError)."""
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    known: Mapping[str, Format] = {f: f for f in FORMATS}
    wrong = [w for w in wanted if w not in known]
    if wrong or not wanted:
        raise InputError(f"{', '.join(wrong) or 'nothing'} is not a report format; choose from {', '.join(FORMATS)}")
    return [known[w] for w in wanted]


def _both(text: Text) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}
