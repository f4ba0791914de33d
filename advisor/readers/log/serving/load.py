"""Status lines of engines -> the load over time: means while there was work, sums over engines, the fullest cache."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from advisor.models import Series
from advisor.readers.rows import Row, row, share

REQUEST, TOKENS = "{request}", "{token}/s"
GEN = "gen_ai.server."
NUMBER = r"(\d{1,12}(?:\.\d{1,12})?)"  # what `float` takes, and not more digits than any figure has
POINTS = 600  # the most points that a series keeps: it is for pictures only
TOGETHER_S = 10.0  # engines log in turn: their lines within one interval are of one moment
_FROM = re.compile(r"\s*(\[pod/[^\]\s]{1,120}\]|[\w.-]{1,80}\s*\|)")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one engine says in one line; what it leaves out is None.

    Args:
        at: when, in seconds of the log's clock.
        engine: which engine of several.
        place: position of the line in the text.
        running, waiting: requests.
        prompt, generated: tokens per second since its line before.
        cache: share of the KV cache in use.
    """

    at: float | None
    engine: str
    place: int
    running: float | None = None
    waiting: float | None = None
    prompt: float | None = None
    generated: float | None = None
    cache: float | None = None

    @property
    def busy(self) -> bool:
        """Whether requests were there."""
        return bool(self.running or self.waiting)

    @property
    def works(self) -> bool:
        """Whether tokens were computed, though requests may be gone when the line is written."""
        return bool(self.prompt or self.generated)


def speaker(before: str, engine: str) -> str:
    """A name for an engine: of which container (docker compose and kubectl say that before a line), and its number."""
    source = _FROM.match(before)
    return " ".join(filter(None, (source[1] if source else "", engine)))


def worked(samples: Sequence[Sample]) -> list[Sample]:
    """The samples with work; all of them when there never was any."""
    busy = [s for s in samples if s.busy]
    return busy or [s for s in samples if s.works] or list(samples)


def load(samples: Sequence[Sample], where: Mapping[int, str]) -> Iterator[Row]:
    """Facts of the samples with work.

    Args:
        samples: in the order of the log.
        where: ``file:line`` of the samples' places.
    """
    if not samples:
        return
    moments = _moments(samples)
    at = where[samples[0].place]
    running, waiting = _totals(moments, "running"), _totals(moments, "waiting")
    yield row(GEN + "requests.running", _mean(running), REQUEST, at)
    yield row(GEN + "requests.waiting", _mean(waiting), REQUEST, at)
    yield row(GEN + "requests.waiting.trend", _trend(moments, waiting), "{request}/s", at)
    yield row(GEN + "prompt_tokens.rate", _mean(_totals(moments, "prompt")), TOKENS, at)
    yield row(GEN + "generation_tokens.rate", _mean(_totals(moments, "generated")), TOKENS, at)
    engines = _per_engine(samples, "running")
    yield row(GEN + "batch.size.mean", _mean(list(engines.values())) or None, REQUEST, at)
    if len(engines) > 1 and any(engines.values()):
        worst = max(engines, key=lambda name: engines[name])
        uneven = engines[worst] * len(engines) / sum(engines.values())
        yield row(GEN + "replica.load.imbalance", uneven, "1", at)
    yield share(GEN + "kv_cache.utilization", max(_per_engine(samples, "cache").values(), default=None), at)
    fullest = max((s for s in samples if s.cache is not None), key=lambda s: s.cache or 0.0, default=None)
    if fullest is not None:
        yield share(GEN + "kv_cache.utilization.peak", fullest.cache, where.get(fullest.place, at))


def series(samples: Sequence[Sample]) -> dict[str, Series]:
    """The load over time, in seconds since the first sample, idle times included."""
    timed = [m for m in _moments(samples) if m[0].at is not None]
    if len(timed) < 2:
        return {}
    start = timed[0][0].at or 0.0
    names = {
        "requests.running": "running",
        "requests.waiting": "waiting",
        "prompt_tokens.rate": "prompt",
        "generation_tokens.rate": "generated",
        "kv_cache.utilization": "cache",
    }
    step = -(-len(timed) // POINTS)
    kept = timed[::step]
    found = {}
    for name, of in names.items():
        pick = max if of == "cache" else sum
        points = [(round((m[0].at or 0.0) - start, 3), _of(m, of)) for m in kept]
        told = [(t, pick(v)) for t, v in points if v]
        if told:
            found[GEN + name] = Series(tuple(t for t, _ in told), tuple(v for _, v in told))
    return found


def _moments(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Samples of several engines at one time, together: until an engine speaks again."""
    moments: list[list[Sample]] = []
    seen: set[str] = set()
    for sample in samples:
        first = moments[-1][0].at if moments else None
        apart = first is not None and sample.at is not None and abs(sample.at - first) > TOGETHER_S
        if not moments or sample.engine in seen or apart:
            moments.append([])
            seen = set()
        moments[-1].append(sample)
        seen.add(sample.engine)
    return moments


def _of(moment: Sequence[Sample], name: str) -> list[float]:
    return [value for s in moment if (value := getattr(s, name)) is not None]


def _totals(moments: Sequence[Sequence[Sample]], name: str) -> list[float]:
    return [sum(values) for m in moments if (values := _of(m, name))]


def _per_engine(samples: Sequence[Sample], name: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for sample in samples:
        value = getattr(sample, name)
        if value is not None:
            values.setdefault(sample.engine, []).append(value)
    return {engine: sum(v) / len(v) for engine, v in values.items()}


def _trend(moments: Sequence[Sequence[Sample]], waiting: Sequence[float]) -> float | None:
    """How fast the queue grew from the first moment to the last, in requests per second."""
    first, last = moments[0][0].at, moments[-1][0].at
    if first is None or last is None or last <= first or len(waiting) < 2:
        return None
    return (waiting[-1] - waiting[0]) / (last - first)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
