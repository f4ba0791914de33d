"""The log of an SGLang server -> facts.

A line per prefill batch and one per 40 decode steps, of the first rank of every data-parallel
engine; a line whenever requests are retracted, which is what SGLang calls preemption. An idle
server writes nothing, so a long silence is left out of every rate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import Clock, line_end, line_start
from advisor.readers.log.serving.load import GEN, TOKENS, Sample, load, series, speaker, worked
from advisor.readers.log.serving.settings import dumped, flag, number, shared
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

_EVENT = re.compile(r"Prefill batch|Decode batch|Retract requests")
_LENGTH = 700
_RUNNING = re.compile(r"#running-req: (\d{1,9})")
_WAITING = re.compile(r"#(?:queue|unbootstrapped)-req: (\d{1,9})")
_CACHE = re.compile(r"token usage: (\d(?:\.\d{1,6})?)")
_GENERATED = re.compile(r"gen throughput \(token/s\): (\d{1,12}(?:\.\d{1,6})?)")
_NEW = re.compile(r"#new-token: (\d{1,12})")
_CACHED = re.compile(r"#cached-token: (\d{1,12})")
_GRAPH = re.compile(r"cuda graph: (True|False)")
_DRAFTS = re.compile(r"accept len: (\d{1,4}(?:\.\d{1,4})?)(?:, accept rate: (\d(?:\.\d{1,4})?))?")
_RETRACTED = re.compile(r"#retracted_reqs: (\d{1,9})")
_RANK = re.compile(r"\b(TP|PP)(\d{1,5})\b")
_ENGINE = re.compile(r"\bDP(\d{1,5})\b")
IDLE_S = 60.0  # longer than 40 decode steps of a slow model: nothing ran

_ARGS = re.compile(r"server_args=(?:Prefill|Decode)?ServerArgs\(|server_args=\{")
_POOL = re.compile(r"max_total_num_tokens=(\d{1,12})(?=[,\s])")
_CONTEXT = re.compile(r"context_len=(\d{1,12})")
_WEIGHTS = re.compile(r"Load weight (begin|end)\.(?: elapsed=(\d{1,7}(?:\.\d{1,4})?) s)?")
_READY = re.compile(r"The server is fired up and ready to roll")


@dataclass(slots=True)
class _Seen:
    """Sums over the lines of batches."""

    busy: float = 0.0
    new: float = 0.0
    cached: float = 0.0
    timed_new: float = 0.0
    graphs: list[bool] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    retracted: float = 0.0
    retracted_at: int | None = None


class _Story:
    """What a log says line by line."""

    def __init__(self, log: Log) -> None:
        self.clock = Clock()
        self.decodes: list[Sample] = []
        self.prefills: list[Sample] = []
        self.seen = _Seen()
        self._fresh: set[str] = set()
        self._before: float | None = None
        for match in _EVENT.finditer(log.text):
            first = line_start(log.text, match.start())
            before = log.text[first : match.start()]
            engine = _engine(before)
            if engine is None:
                continue
            at = self.clock.read(log.text, first, match.start())
            line = log.text[match.start() : line_end(log.text, match.start(), _LENGTH)]
            self._time(at, line if match[0] == "Prefill batch" else "")
            self._line(match, line, at, engine)

    def _time(self, at: float | None, prefill: str) -> None:
        """Add the time since the line before, unless nothing ran in it."""
        if at is None:
            return
        if self._before is not None and 0 <= at - self._before <= IDLE_S:
            self.seen.busy += at - self._before
            new = _NEW.search(prefill)
            self.seen.timed_new += float(new[1]) if new else 0.0
        self._before = at

    def _line(self, match: re.Match[str], line: str, at: float | None, engine: str) -> None:
        if match[0] == "Retract requests":
            number_ = _RETRACTED.search(line)
            self.seen.retracted += float(number_[1]) if number_ else 1.0
            if self.seen.retracted_at is None:
                self.seen.retracted_at = match.start()
            return
        waiting, usage = _WAITING.search(line), [float(u) for u in _CACHE.findall(line)]
        running = _RUNNING.search(line)
        sample = Sample(
            at,
            engine,
            match.start(),
            float(running[1]) if running else None,
            float(waiting[1]) if waiting else None,
            cache=min(1.0, max(usage)) if usage else None,
        )
        if match[0] == "Prefill batch":
            self._prefill(line, sample)
        elif running:
            self._decode(line, sample)

    def _prefill(self, line: str, sample: Sample) -> None:
        new, cached = _NEW.search(line), _CACHED.search(line)
        self.seen.new += float(new[1]) if new else 0.0
        self.seen.cached += float(cached[1]) if cached else 0.0
        self.prefills.append(sample)
        if not sample.running:  # the next throughput is over the idle time before as well
            self._fresh.add(sample.engine)

    def _decode(self, line: str, sample: Sample) -> None:
        generated = _GENERATED.search(line)
        told = float(generated[1]) if generated and sample.engine not in self._fresh else None
        self._fresh.discard(sample.engine)
        self.decodes.append(
            Sample(sample.at, sample.engine, sample.place, sample.running, sample.waiting, None, told, sample.cache)
        )
        graph, drafts = _GRAPH.search(line), _DRAFTS.search(line)
        if graph:
            self.seen.graphs.append(graph[1] == "True")
        if drafts and float(drafts[1]):
            self.seen.lengths.append(float(drafts[1]))
            if drafts[2]:
                self.seen.rates.append(float(drafts[2]))


def find(log: Log) -> list[Told]:
    """What the log of an SGLang server says; nothing when it has neither batches nor a start in it."""
    story = _Story(log)
    samples = worked(story.decodes or story.prefills)
    places = {s.place for s in samples[:1]} | {max(samples, key=lambda s: s.cache or -1.0).place for _ in samples[:1]}
    where = {place: log.where(place) for place in places}
    begun = list(_start(log))
    rows = [*load(samples, where), *_batches(story, log)]
    if not any(value is not None for _, value, _, _ in (*rows, *begun)):
        return []
    identity = [row("run.phase", "serving", "{string}"), row("run.framework", "sglang", "{string}")]
    told = facts([*identity, *rows, *begun], log.origin)
    reading = Reading(Source("log", log.origin, "ok", _note(story, log)), told, series(samples))
    return [Told((reading,), started=story.clock.started, seconds=story.clock.seconds)]


def _batches(story: _Story, log: Log) -> Iterator[Row]:
    seen = story.seen
    looked = seen.new + seen.cached
    at = log.where(story.prefills[0].place) if story.prefills else None
    yield row(GEN + "prompt_tokens.rate", seen.timed_new / seen.busy if seen.busy and looked else None, TOKENS, at)
    yield share(GEN + "prefix_cache.hit_rate", seen.cached / looked if looked else None, at)
    yield share(GEN + "cuda_graph.fraction", _mean([float(g) for g in seen.graphs]))
    yield row(GEN + "spec.accept_length", _mean(seen.lengths), "{token}")
    yield share(GEN + "spec.acceptance_rate", _mean(seen.rates))
    place = seen.retracted_at
    if story.decodes or place is not None:  # every retraction is logged, so that none means none
        first = log.where(place) if place is not None else None
        yield row(GEN + "preemptions.count", seen.retracted, "{event}", first)
        yield row(GEN + "preemptions.rate", seen.retracted / seen.busy if seen.busy else None, "{event}/s", first)


def _start(log: Log) -> Iterator[Row]:
    """Settings, the KV cache, and how long the start took."""
    told = dumped(log, _ARGS)
    yield from shared(told)
    radix = flag(told, "disable_radix_cache")
    if radix:
        yield row("config.prefix_caching", not radix[0], "{bool}", radix[1])
    pools, contexts = list(_POOL.finditer(log.text)), list(_CONTEXT.finditer(log.text))
    if pools:
        at = log.where(pools[-1].start())
        engines = number(told, "dp_size")
        capacity = float(pools[-1][1])
        yield row(GEN + "kv_cache.capacity", capacity * (engines[0] if engines else 1.0) or None, "{token}", at)
        longest = float(contexts[-1][1]) if contexts else 0.0
        yield row("config.context.length", longest or None, "{token}", at)
        yield row(GEN + "kv_cache.concurrency", capacity / longest if longest else None, "{request}", at)
    yield from _times(log)


def _times(log: Log) -> Iterator[Row]:
    clock = Clock()
    begins: dict[str, float] = {}
    loads: list[float] = []
    for match in _WEIGHTS.finditer(log.text):
        first = line_start(log.text, match.start())
        at, rank = clock.read(log.text, first, match.start()), log.text[first + 20 : match.start()]
        if match[2]:
            loads.append(float(match[2]))
        elif at is not None and match[1] == "begin":
            begins[rank] = at
        elif at is not None and rank in begins:
            loads.append(at - begins[rank])
    yield row(GEN + "weights.load.time", max(loads, default=None), "s")
    begin, ready = _ARGS.search(log.text), _READY.search(log.text)
    if begin and ready and begin.start() < ready.start() and not _ARGS.search(log.text, begin.end(), ready.start()):
        clock = Clock()
        for match in (begin, ready):
            clock.read(log.text, line_start(log.text, match.start()), match.start())
        yield row(GEN + "startup.time", clock.seconds or None, "s", log.where(begin.start()))


def _engine(before: str) -> str | None:
    """The data-parallel engine that speaks; None for a rank that only repeats what the first one says."""
    engine, ranks = _ENGINE.search(before), dict(_RANK.findall(before))
    if ranks.get("PP", "0") != "0" or (engine is None and ranks.get("TP", "0") != "0"):
        return None
    return speaker(before, engine[1] if engine else "")


def _note(story: _Story, log: Log) -> str:
    first, last = story.clock.shown
    lines = f"{len(story.decodes)} decode and {len(story.prefills)} prefill batches"
    window = f" from {first} to {last}" if first and last != first else ""
    idle = story.clock.seconds - story.seen.busy
    rest = f"{idle:.0f} s without any batch left out" if idle > IDLE_S else ""
    return "; ".join(part for part in ("SGLang server log", lines + window, rest, log.note) if part)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
