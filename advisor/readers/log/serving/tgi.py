"""The log of Text Generation Inference -> facts.

Its router writes one line per request, with the time it was checked, waited and was computed. The
mean numbers of requests that wait and run follow from them by Little's law: time spent over time seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.serving.clock import Clock, line_end, line_start
from advisor.readers.log.serving.load import GEN, REQUEST, TOKENS
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

_TIMED = re.compile(r"\bqueue_time\\?\"?[=:]")
_LENGTH = 4000  # of a line: the parameters of the request stand before its times
_SPAN = r'{}\\?"?\s?[=:]\s?\\?"([\d.]{{1,20}})([^\d\s".\\]{{1,4}})\\?"'
_PARTS = {name: re.compile(r"\b" + _SPAN.format(name)) for name in ("queue_time", "inference_time", "time_per_token")}
_TOTAL = re.compile(r"\b" + _SPAN.format("total_time"))
_LONGEST = re.compile(r"max_new_tokens: (?:Some\()?(\d{1,9})")
_SCALE = {"s": 1.0, "ms": 1e-3, "ns": 1e-9, "m": 60.0}  # any other unit is microseconds, in whatever encoding


@dataclass(frozen=True, slots=True)
class _Request:
    """One answered request, times in seconds."""

    queue: float
    inference: float
    token: float | None
    total: float
    longest: float | None
    place: int


def find(log: Log) -> list[Told]:
    """What the log of a TGI server says; nothing when no request was answered."""
    clock = Clock()
    requests = list(_requests(log, clock))
    if not requests:
        return []
    told = facts(_rows(requests, clock.seconds, log), log.origin)
    first, last = clock.shown
    window = f" from {first} to {last}" if first and last != first else ""
    note = "; ".join(filter(None, (f"TGI server log; {len(requests)} answered requests{window}", log.note)))
    reading = Reading(Source("log", log.origin, "ok", note), told)
    return [Told((reading,), started=clock.started, seconds=clock.seconds)]


def _requests(log: Log, clock: Clock) -> Iterator[_Request]:
    end = 0
    for match in _TIMED.finditer(log.text):
        if match.start() < end:
            continue
        first = line_start(log.text, match.start(), _LENGTH)
        end = line_end(log.text, match.start(), _LENGTH)
        line = log.text[first:end]
        said = {name: _seconds(found) for name, sign in _PARTS.items() if (found := sign.search(line))}
        queue, inference = said.get("queue_time"), said.get("inference_time")
        clock.read(log.text, first, min(first + 120, match.start()))
        if queue is None or inference is None:
            continue
        whole, longest = _TOTAL.search(line), _LONGEST.search(line)
        total = (_seconds(whole) if whole else None) or queue + inference
        most = float(longest[1]) if longest else None
        yield _Request(queue, inference, said.get("time_per_token"), total, most, match.start())


def _rows(requests: Sequence[_Request], seconds: float, log: Log) -> Iterator[Row]:
    count = len(requests)
    at = log.where(requests[0].place)
    yield row("run.phase", "serving", "{string}")
    yield row("run.framework", "tgi", "{string}")
    yield row(GEN + "request.duration", sum(r.total for r in requests) / count, "s", at)
    yield row(GEN + "queue.time", sum(r.queue for r in requests) / count, "s", at)
    made = [(r, r.inference / r.token) for r in requests if r.token]
    tokens = sum(n for _, n in made)
    # TGI divides the whole computation by the tokens, prefill included.
    spent = sum(r.inference for r, _ in made)
    yield row(GEN + "time_per_output_token", spent / tokens if tokens else None, "s", at)
    bounded = [(n, r.longest) for r, n in made if r.longest]
    asked = sum(most for _, most in bounded)
    yield row(GEN + "max_tokens.ratio", sum(n for n, _ in bounded) / asked if asked else None, "1", at)
    # Lines are written at the end of a request: the first one began before the first line.
    window = seconds + requests[0].total if seconds else 0.0
    if window:
        yield row(GEN + "requests.rate", count / window, "{request}/s", at)
        yield row(GEN + "requests.waiting", sum(r.queue for r in requests) / window, REQUEST, at)
        yield row(GEN + "requests.running", sum(r.inference for r in requests) / window, REQUEST, at)
        yield row(GEN + "generation_tokens.rate", tokens / window, TOKENS, at)


def _seconds(found: re.Match[str]) -> float | None:
    """A duration as Rust prints it: ``1.5s``, ``43.6ms``, ``754.5µs``."""
    if found[1].count(".") > 1 or found[1] == ".":
        return None
    return float(found[1]) * _SCALE.get(found[2], 1e-6)
