"""The flow: sources -> facts -> Profile -> match -> rank -> Diagnosis -> Answer, report, document.

The only place that knows the order. Stages do not know each other; here their results
are handed on. Faces (`cli`, `serve`) call these functions and render what they return.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from advisor import kb, profile, store
from advisor.answer import Responder, understand
from advisor.blocks import Block, Words, rule_blocks
from advisor.engine import Engine, blinded, decidable
from advisor.engine import diagnose as judge
from advisor.errors import AdvisorError, InputError, NotFound
from advisor.models import Answer, Diagnosis, Knowledge, Lang, Profile, Reading, Source, Text
from advisor.report.document import diagnosis_document

if TYPE_CHECKING:
    from advisor.collect.probe import Probe
    from advisor.collect.run import Run

Format = Literal["md", "html", "json"]
FORMATS: tuple[Format, ...] = ("md", "html", "json")
SCHEMA = 1
STALE_S = 60.0  # a run that goes on is saved every few seconds


class Advisor:
    """One knowledge base and one store, and everything that is done with them."""

    def __init__(self, knowledge: Knowledge | None = None, data: Path | None = None) -> None:
        self.knowledge = knowledge or kb.load()
        self._data = data

    @functools.cached_property
    def engine(self) -> Engine:
        """The compiled rules."""
        return Engine(self.knowledge)

    @functools.cached_property
    def responder(self) -> Responder:
        """The search index and what answers from it."""
        return Responder(self.knowledge)

    @functools.cached_property
    def store(self) -> store.SqliteStore:
        """Where diagnoses are kept; opened when first needed."""
        return store.SqliteStore((self._data or store.data_folder()) / "advisor.db")

    # --- from sources to a diagnosis ---

    def diagnose_readings(
        self, readings: Sequence[Reading], *, subject: str, started: str, duration_s: float
    ) -> Diagnosis:
        """Judge what live sources said over one window."""
        built = profile.build(readings, self.knowledge.facts, subject=subject, started=started, duration_s=duration_s)
        return judge(built, self.engine)

    def diagnose_run(self, run: Run, script: Reading | None = None) -> Diagnosis:
        """Judge a run that was watched from here, also while it is still going; `script` is what its code says."""
        from advisor.readers.patches import attach

        built = profile.build(
            (*run.readings, script) if script else run.readings,
            self.knowledge.facts,
            subject=_command_line(run.command),
            started=run.started,
            duration_s=run.duration_s,
            ranks=run.ranks,
        )
        return attach(judge(built, self.engine), script, Path.cwd())

    def diagnose_script(self, path: Path) -> Diagnosis:
        """Say what a Python script tells before it runs, with nothing measured (raises InputError)."""
        from advisor.readers.patches import attach
        from advisor.readers.script import read_script

        said = read_script(path, Path.cwd())
        found = self.diagnose_readings([said], subject=f"python {path}", started=now(), duration_s=0.0)
        return attach(found, said, Path.cwd())

    def diagnose(self, document: object) -> Diagnosis:
        """Judge the facts of a parsed profile or Diagnosis document, with the rules at hand.

        Raises:
            InputError: when it is neither.
        """
        from advisor.readers.document import read_document
        from advisor.readers.patches import carry

        return carry(judge(profile.restore(read_document(document), self.knowledge.facts), self.engine), document)

    def diagnose_file(self, path: Path) -> Diagnosis:
        """Judge the facts in a file of any known kind (raises InputError)."""
        return self.diagnose_files([path])[0]

    def diagnose_files(self, paths: Sequence[Path]) -> list[Diagnosis]:
        """Judge files: every profile and script for itself, all saved metrics pages together (raises InputError)."""
        from advisor.readers.document import read_file
        from advisor.readers.recognise import recognise
        from advisor.readers.scrapes import read_scrapes

        kinds = {path: recognise(path) for path in paths}
        found = [self.diagnose_script(path) for path in kinds if kinds[path] == "script"]
        found += [self.diagnose(read_file(path)) for path in kinds if kinds[path] == "document"]
        pages = [path for path in kinds if kinds[path] == "metrics"]
        if pages:
            readings, taken, seconds = read_scrapes(pages)
            subject = ", ".join(path.name for path in pages)
            found.append(self.diagnose_readings(readings, subject=subject, started=moment(taken), duration_s=seconds))
        return found

    def diagnose_endpoint(
        self,
        url: str,
        seconds: float = 10.0,
        also: Sequence[str] = (),
        progress: Callable[[float], None] | None = None,
    ) -> Diagnosis:
        """Scrape the metrics at `url`, and at the addresses in `also`, for some seconds and judge them together.

        Replicas of one server add up; exporters of GPUs and of the machine complete the picture.

        Raises:
            InputError: when no address answers with metrics of a known kind.
        """
        from advisor.collect.scrape import scrape
        from advisor.readers.scrapes import read_targets

        started = now()
        scraped = scrape(list(dict.fromkeys([url, *also])), seconds, progress)
        readings = read_targets([(s.origin, s.pages, s.note) for s in scraped])
        length = max((s.pages[-1][0] - s.pages[0][0] for s in scraped if s.pages), default=0.0)
        subject = ", ".join(s.origin for s in scraped)
        return self.diagnose_readings(readings, subject=subject, started=started, duration_s=length)

    def diagnose_machine(
        self, seconds: float, pid: int | None = None, progress: Callable[[float], None] | None = None
    ) -> Diagnosis:
        """Sample this machine, or one process tree on it, and judge."""
        from advisor.collect.sampler import sample

        started = now()
        readings = sample(seconds, pid, progress)
        subject = f"pid {pid}" if pid else "this machine"
        return self.diagnose_readings(readings, subject=subject, started=started, duration_s=seconds)

    def probe(self, probes: Sequence[Probe], say: Callable[[str], None], onto: Sequence[Diagnosis]) -> list[Diagnosis]:
        """Measure what this machine can reach, and judge each of `onto` anew with it (raises InputError)."""
        from advisor.collect.probe.run import run_probes

        readings = run_probes(probes, say)
        return [self._with(diagnosis.profile, readings) for diagnosis in onto]

    def _with(self, before: Profile, readings: Sequence[Reading]) -> Diagnosis:
        """The facts of a profile and what was read since; where both give a fact, the profile's stands."""
        known = Reading(Source("profile", before.subject, "ok"), tuple(before.facts.values()))
        built = profile.build(
            [known, *readings],
            self.knowledge.facts,
            subject=before.subject,
            started=before.started,
            duration_s=before.duration_s,
        )
        joined = replace(
            built,
            id=before.id,
            sources=before.sources + built.sources,
            series={**before.series, **built.series},
            members=before.members,
            contradictions=before.contradictions + built.contradictions,
        )
        return judge(joined, self.engine)

    def watch(
        self, command: Sequence[str], on_tick: Callable[[Diagnosis], None] | None = None, tick_s: float = 5.0
    ) -> tuple[Diagnosis, int]:
        """Run a command unchanged, watch it, judge it: the diagnosis and the command's exit status.

        `on_tick` gets an interim diagnosis every `tick_s` seconds, so that one can ask while it runs.
        """
        from advisor.collect.run import run
        from advisor.readers.script import read_command

        with ThreadPoolExecutor(1) as reader:  # a large code base takes seconds to read: the command does not wait
            script = reader.submit(read_command, command, Path.cwd())
            tick = (lambda interim: on_tick(self.diagnose_run(interim, script.result()))) if on_tick else None
            done = run(command, tick, tick_s)
        return self.diagnose_run(done, script.result()), done.exit_status

    # --- from a question to an answer ---

    def ask(self, question: str, *, lang: Lang | None = None, profile: str | None = None) -> Answer:
        """Answer a question, about the stored profile `profile` or else the latest.

        Raises:
            InputError, TooLarge: the question cannot be used.
            NotFound: no profile has that id.
        """
        asked = understand(question, lang)
        if profile is not None:
            return self.responder.answer(asked, self.stored(profile), attached=True)
        latest = None
        if asked.aim != "general":
            with suppress(AdvisorError):  # without a store there is no latest run, but there is still the knowledge
                latest = self.latest()
        return self.responder.answer(asked, latest)

    def ask_about(self, question: str, diagnosis: Diagnosis, *, lang: Lang | None = None) -> Answer:
        """Answer a question about a diagnosis at hand."""
        return self.responder.answer(understand(question, lang), diagnosis, attached=True)

    def ask_batch(
        self, path: Path, diagnosis: Diagnosis | None = None, *, lang: Lang | None = None
    ) -> Iterator[tuple[str, Answer]]:
        """Answer every question of a file, each on its own, about `diagnosis` when given (raises InputError)."""
        from advisor.kb.questions import read_questions

        for name, question in read_questions(path):
            yield name, self.responder.answer(understand(question, lang), diagnosis, attached=diagnosis is not None)

    # --- what can be read here ---

    def doctor(self, python: str | None = None) -> dict[str, Any]:
        """Every live source with its state, the way to more, and the rules that only it can decide."""
        from advisor.collect.doctor import examine, owners

        knowledge = self.knowledge
        # What measurements promise really is given; a probe's facts are given by nothing else.
        named = owners(knowledge.facts)
        promised = {f for m in knowledge.measurements for f in m.covers}
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


def now() -> str:
    """The moment in UTC, ISO 8601 with microseconds."""
    return moment(time.time())


def moment(seconds: float) -> str:
    """Unix seconds as UTC, ISO 8601 with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _both(text: Text) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}


def _command_line(command: Sequence[str]) -> str:
    import shlex

    return shlex.join(command)
