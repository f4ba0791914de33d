"""The log of a vLLM server (all generations) -> facts.

A status line every 5 or 10 seconds tells throughput, requests and the fill of the KV cache; warnings
tell of preempted requests. V0 warns of the first preempted request and of every 50th after it, with
the number so far; V1 tells in the status line how many there were since the line before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import Clock, line_end, line_start
from advisor.readers.log.serving.load import GEN, NUMBER, Sample, load, series, speaker, worked
from advisor.readers.log.serving.start import start
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

_EVENT = re.compile(r"Avg (?:prompt|prefill) throughput: |is preempted by (?:PreemptionMode\.)?[A-Z]{4,9} mode")
_STATUS_LENGTH = 500
_FIELDS = {
    "prompt": re.compile(r"Avg (?:prompt|prefill) throughput:\s+" + NUMBER),
    "generated": re.compile(r"generation throughput:\s+" + NUMBER),
    "running": re.compile(r"Running:\s+(\d{1,9}) reqs"),
    "waiting": re.compile(r"(?:Waiting|Pending):\s+(\d{1,9}) reqs"),
    "swapped": re.compile(r"Swapped:\s+(\d{1,9}) reqs"),
    "preempted": re.compile(r"Preemptions:\s+(\d{1,9})"),
    "cache": re.compile(r"(?<!CPU )\bKV cache usage:\s+" + NUMBER + r"\s?%"),
    "hits": re.compile(r"(?<!External )(?<!connector )\b[Pp]refix cache (?:token )?hit rate:\s+" + NUMBER + r"\s?%"),
}
_ENGINE = re.compile(r"\bEngine (\d{1,5}): $|\b(\d{1,5} Engines) Aggregated: $")
_SO_FAR = re.compile(r"total\w{0,30}_preemption\w{0,10}=(\d{1,9})")
_V0_HITS = re.compile(r"Prefix cache hit rate: GPU:\s+" + NUMBER + "%")
_DRAFTS = re.compile(
    rf"Mean acceptance length:\s+{NUMBER}.{{0,600}}?Drafted:\s+(\d{{1,12}}) tokens.{{0,900}}?"
    rf"acceptance rate:\s+{NUMBER}%"
)
_V0_DRAFTS = re.compile(
    rf"Draft acceptance rate:\s+{NUMBER}, System efficiency:\s+{NUMBER}, Number of speculative tokens:\s+(\d{{1,3}}), "
    r"Number of accepted tokens:\s+\d{1,12}, Number of draft tokens:\s+(\d{1,12}), "
    r"Number of emitted tokens:\s+(\d{1,12})"
)
_SERVED = re.compile(r'"POST /(?:v1/|generate|inference|api/)\S{0,60} HTTP/[\d.]{1,3}" (\d{3})')
_ACCESS = re.compile(r'"[A-Z]{3,7} /\S{0,200} HTTP/[\d.]{1,3}" \d{3}')


@dataclass(slots=True)
class _Preemptions:
    """How many requests were preempted: in all, after the first line, and where that is told first."""

    count: float = 0.0
    later: float = 0.0
    place: int | None = None
    so_far: float | None = None

    def add(self, number: float, place: int, *, later: bool) -> None:
        if number and self.place is None:
            self.place = place
        self.count += number
        self.later += number if later else 0.0

    def warned(self, so_far: float | None, place: int, *, later: bool) -> None:
        """A warning, with the number of preempted requests so far where it tells that."""
        before, self.so_far = self.so_far, so_far
        grown = so_far - before if so_far is not None and before is not None and so_far > before else 1.0
        self.add(grown, place, later=later)


class _Story:
    """What a log says line by line."""

    def __init__(self, log: Log) -> None:
        self.clock = Clock()
        self.samples: list[Sample] = []
        self.hits: dict[str, tuple[float, int]] = {}
        self.swapped: tuple[float, int] = (0.0, 0)
        self.preempted = _Preemptions()
        self.counts_preemptions = False
        self._text = log.text
        for match in _EVENT.finditer(log.text):
            if match[0].startswith("Avg") and log.text.find("Running:", match.end(), match.end() + _STATUS_LENGTH) < 0:
                continue
            first = line_start(log.text, match.start())
            at = self.clock.read(log.text, first, match.start())
            if match[0].startswith("Avg"):
                self._status(match.start(), first, at)
            else:
                self._warning(match.start(), at)

    def _warning(self, place: int, at: float | None) -> None:
        told = _SO_FAR.search(self._text, place, place + 600)
        # Another warning between the two would be the one that the number belongs to.
        mine = told and self._text.find("is preempted by", place + 1, told.start()) < 0
        self.counts_preemptions = True
        self.preempted.warned(float(told[1]) if told and mine else None, place, later=self._is_later(at))

    def _status(self, place: int, first: int, at: float | None) -> None:
        line = self._text[place : line_end(self._text, place, _STATUS_LENGTH)]
        if "reqs" not in line:  # broken over two lines by a terminal
            line = self._text[place : place + _STATUS_LENGTH].partition("\n\n")[0]
        said = {name: float(m[1]) for name, field in _FIELDS.items() if (m := field.search(line))}
        if "running" not in said:
            return
        engine = self._engine(first, place)
        cache = said["cache"] / 100 if "cache" in said and said["cache"] <= 100.5 else None
        self.samples.append(
            Sample(
                at,
                engine,
                place,
                said["running"],
                said.get("waiting"),
                said.get("prompt"),
                said.get("generated"),
                cache,
            )
        )
        if "hits" in said and self.samples[-1].works:
            self.hits[engine] = (said["hits"] / 100, place)
        if said.get("swapped", 0.0) > self.swapped[0]:
            self.swapped = (said["swapped"], place)
        if "preempted" in said:
            self.counts_preemptions = True
            self.preempted.add(said["preempted"], place, later=self._is_later(at))

    def _engine(self, first: int, place: int) -> str:
        before = self._text[first:place]
        engine = _ENGINE.search(before)
        return speaker(before, (engine[1] or engine[2]) if engine else "")

    def _is_later(self, at: float | None) -> bool:
        """Whether a line came after the first one that has a time: rates are told over the time between."""
        return at is not None and self.clock.first is not None and at > self.clock.first


def find(log: Log) -> list[Told]:
    """What the log of a vLLM server says; nothing when it has neither status lines nor a start in it."""
    story = _Story(log)
    samples = _apart(story.samples)
    busy = worked(samples)
    where = {s.place: log.where(s.place) for s in (*busy[:1], *_fullest(busy))}
    rows = [*load(busy, where), *_preemptions(story, log), *_cache_hits(story, log), *_drafts(log)]
    rows += _served(story, log)
    begun = start(log)
    if not any(value is not None for _, value, _, _ in (*rows, *begun.rows)):
        return []
    identity = [row("run.phase", "serving", "{string}"), row("run.framework", "vllm", "{string}")]
    told = facts([*identity, *rows, *begun.rows], log.origin)
    note = _note(story, samples, busy, begun.note, log)
    reading = Reading(Source("log", log.origin, "ok", note), told, series(samples))
    return [Told((reading,), started=story.clock.started, seconds=story.clock.seconds)]


def _apart(samples: Sequence[Sample]) -> list[Sample]:
    """Engines for themselves, where the log has their sum as well."""
    single = [s for s in samples if not s.engine.endswith("Engines")]
    return single or list(samples)


def _fullest(samples: Sequence[Sample]) -> list[Sample]:
    told = [s for s in samples if s.cache is not None]
    return [max(told, key=lambda s: s.cache or 0.0)] if told else []


def _preemptions(story: _Story, log: Log) -> Iterator[Row]:
    preempted, seconds = story.preempted, story.clock.seconds
    count, place = (preempted.count, preempted.place) if preempted.count else story.swapped
    at = log.where(place) if place is not None and count else None
    if story.counts_preemptions or story.swapped[0]:
        yield row(GEN + "preemptions.count", count, "{event}", at)
    if story.counts_preemptions and seconds > 0:
        yield row(GEN + "preemptions.rate", preempted.later / seconds, "{event}/s", at)


def _cache_hits(story: _Story, log: Log) -> Iterator[Row]:
    """The last rate that each engine told: it is one over the latest requests already."""
    if story.hits:
        rates = [rate for rate, _ in story.hits.values()]
        place = max(place for _, place in story.hits.values())
        yield share(GEN + "prefix_cache.hit_rate", sum(rates) / len(rates), log.where(place))
    elif last := _last(_V0_HITS, log.text):
        yield share(GEN + "prefix_cache.hit_rate", float(last[1]) / 100, log.where(last.start()))


def _drafts(log: Log) -> Iterator[Row]:
    """Speculative decoding: V1 tells it for every interval, V0 since the start."""
    drafted = accepted = tokens = 0.0
    place = None
    for match in _DRAFTS.finditer(log.text):
        weight = float(match[2])
        drafted += weight
        tokens += weight * float(match[1])
        accepted += weight * float(match[3]) / 100
        place = match.start() if place is None else place
    if place is not None and drafted:
        yield share(GEN + "spec.acceptance_rate", accepted / drafted, log.where(place))
        yield row(GEN + "spec.accept_length", tokens / drafted, "{token}", log.where(place))
    elif (last := _last(_V0_DRAFTS, log.text)) and float(last[4]):
        yield share(GEN + "spec.acceptance_rate", float(last[1]), log.where(last.start()))
        passes = float(last[4]) / float(last[3]) if float(last[3]) else 0.0
        yield row(GEN + "spec.accept_length", float(last[5]) / passes if passes else None, "{token}")


def _served(story: _Story, log: Log) -> Iterator[Row]:
    """Requests answered per second between the first and the last status line, from the lines of the HTTP server."""
    seconds = story.clock.seconds
    if len(story.samples) < 2 or seconds <= 0 or not _ACCESS.search(log.text):
        return
    between = (story.samples[0].place, story.samples[-1].place)
    done = sum(m[1].startswith("2") for m in _SERVED.finditer(log.text, *between))
    yield row(GEN + "requests.rate", done / seconds, "{request}/s")


def _note(story: _Story, samples: Sequence[Sample], busy: Sequence[Sample], begun: str, log: Log) -> str:
    first, last = story.clock.shown
    parts = ["vLLM server log"]
    if samples:
        idle = len(samples) - len(busy)
        window = f" from {first} to {last}" if first and last != first else ""
        lines = f"{len(busy)} status lines" if len(busy) > 1 else "one status line"
        parts.append(f"{lines}{window}" + (f" ({idle} without any request left out)" if idle else ""))
    return "; ".join(part for part in (*parts, begun, log.note) if part)


def _last(sign: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for found in sign.finditer(text):  # noqa: B007 - the last one counts
        pass
    return found
