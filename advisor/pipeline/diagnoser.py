"""From sources to a diagnosis: what is read live, from artefacts and from documents -> Profile -> Diagnosis."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from advisor import kb, profile
from advisor.derive import FORMULAS
from advisor.engine import Engine
from advisor.engine import diagnose as judge
from advisor.errors import InputError
from advisor.models import PASTED, Diagnosis, Knowledge, Profile, Reading, Source

if TYPE_CHECKING:
    from advisor.collect.probe import Probe
    from advisor.collect.run import Run
    from advisor.models.compared import Comparison
    from advisor.readers.told import Told


NAMED = 4  # files in a subject


class Diagnoser:
    """One knowledge base, and everything that is judged with it."""

    def __init__(self, knowledge: Knowledge | None = None) -> None:
        self.knowledge = knowledge or kb.load()

    @functools.cached_property
    def engine(self) -> Engine:
        """The compiled rules."""
        return Engine(self.knowledge)

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
            subject=shlex.join(run.command),
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
        """Judge one file of any known kind (raises InputError)."""
        return self.diagnose_files([path])[0]

    def diagnose_files(
        self, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
    ) -> list[Diagnosis]:
        """Judge files, folders and archives: every profile for itself, all the rest as one run.

        Artefacts of one kind that are of several runs (two traces of the same rank) are judged apart.

        Args:
            paths: what to read.
            progress: is told how many bytes have been read, of how many.

        Raises:
            InputError: when none of them can be used.
        """
        from advisor.readers.document import read_json
        from advisor.readers.read import opened

        with opened(paths, progress) as found:
            documents = [self.diagnose(read_json(artefact)) for artefact in found.documents]
            runs = found.runs
            beside = found.scripts if len(runs) == 1 else []
            alone = [self.diagnose_script(path) for path in found.scripts if path not in beside]
            return [*documents, *alone, *(self._diagnose_told(told, found.wrong, beside) for told in runs)]

    def diagnose_paste(self, message: str, onto: Profile | None = None) -> tuple[str, Diagnosis] | None:
        """Judge what is pasted in a message: the person's own words, and the diagnosis.

        Args:
            message: what was sent.
            onto: the profile that the paste is joined onto, where the person chose one; its facts stand where the
                paste says nothing.

        Returns:
            None when nothing that a reader knows is pasted.
        """
        from advisor.readers.paste import may_hold_paste, read_paste

        paste = read_paste(message) if may_hold_paste(message) else None
        if paste is None:
            return None
        if paste.document is None:
            found = self._diagnose_told(paste.told, (), ())
        else:
            try:
                found = self.diagnose(paste.document)
            except InputError:
                return None
            source = Source("profile", PASTED, "ok", "a profile that was pasted")
            found = judge(replace(found.profile, sources=(*found.profile.sources, source)), self.engine)
        return paste.words, found if onto is None else self._onto(onto, found.profile)

    def _onto(self, before: Profile, later: Profile) -> Diagnosis:
        """Both profiles as one; of two facts the later one stands, and what follows from facts is worked out anew."""
        # What also is measured and does not follow from what is known here was measured.
        facts = before.facts.keys() | later.facts.keys()
        derived = {formula.name for formula in FORMULAS if facts >= set(formula.needs)}
        known = {n: f for n, f in before.facts.items() if n not in derived and n != "run.duration"}
        joined = replace(
            later,
            subject=before.subject,
            sources=(*before.sources, *later.sources),
            facts={**known, **{n: f for n, f in later.facts.items() if n not in derived}},
            series={**before.series, **later.series},
            members=later.members or before.members,
            contradictions=(*before.contradictions, *later.contradictions),
        )
        return judge(profile.restore(joined, self.knowledge.facts), self.engine)

    def _diagnose_told(self, told: Told, wrong: Sequence[Reading], scripts: Sequence[Path]) -> Diagnosis:
        from advisor.readers.patches import attach
        from advisor.readers.script import read_script

        said = [read_script(path, Path.cwd()) for path in scripts]
        built = profile.build(
            (*told.readings, *said, *wrong),
            self.knowledge.facts,
            subject=told.subject or _named(told),
            started=moment(told.started) if told.started else "",
            duration_s=told.seconds,
            ranks=told.ranks,
        )
        return attach(judge(built, self.engine), said[0] if said else None, Path.cwd())

    def diagnose_endpoint(
        self,
        url: str,
        seconds: float | None = None,
        also: Sequence[str] = (),
        progress: Callable[[float], None] | None = None,
        select: Sequence[str] = (),
    ) -> Diagnosis:
        """Look at `url` and at the addresses in `also`, and judge them together.

        Pages of metrics are scraped for some seconds; a Prometheus server is asked for the last minutes of
        what it has scraped, narrowed by `select`. Replicas of one server add up; exporters of GPUs and of
        the machine complete the picture.

        Raises:
            InputError: when no address answers with metrics of a known kind.
        """
        from advisor.pipeline.endpoints import look

        return self._diagnose_told(look([url, *also], seconds, select, progress), (), ())

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
        return [self.diagnose_beside(diagnosis.profile, readings) for diagnosis in onto]

    def diagnose_beside(self, before: Profile, readings: Sequence[Reading]) -> Diagnosis:
        """Judge the facts of a profile and what was read since; where both give a fact, the profile's stands."""
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

    def compare(self, before: Diagnosis, after: Diagnosis) -> Comparison:
        """Say what changed between two runs that were judged here, and whether it is more than noise."""
        from advisor.engine.compare import compare

        return compare(before, after, self.knowledge)

    def regressed(self, comparison: Comparison, limit: float) -> bool:
        """Whether step time, request time or throughput is worse beyond noise and by more than `limit` (0.05: 5 %).

        Raises:
            InputError: when none of them can be compared; to pass then would hide a regression.
        """
        from advisor.engine.compare import regressions

        found = regressions(comparison, limit)
        if found is None:
            raise InputError(
                "no regression can be judged: the runs share no step time, request time or throughput of the same "
                "work; measure both with advisor run"
            )
        return bool(found)

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


def _named(told: Told) -> str:
    """What artefacts are called that have no name of their own for what they are about."""
    origins = dict.fromkeys(r.source.origin for r in (*told.readings, *(r for _, r in told.ranks)))
    return ", ".join(origin.rsplit("/", 1)[-1] for origin in list(origins)[:NAMED])


def now() -> str:
    """The moment in UTC, ISO 8601 with microseconds."""
    return moment(time.time())


def moment(seconds: float) -> str:
    """Unix seconds as UTC, ISO 8601 with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
