"""What a Prometheus server is asked: which series, and which moments."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from advisor.errors import InputError

LEAST_SAMPLES = 4  # per series, however short the time asked for: a rate of two says nothing of its course
MOST_SAMPLES = 60
MAX_SAMPLES = 600_000  # of all series together
_MATCHER = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*+")\s*(?:,|$)')


def selector(text: str) -> str:
    """The matchers of ``{job="vllm"}``, with or without braces, without spaces.

    >>> selector('{job="a", instance=~"n1:.*"}'), selector('job="a"')
    ('job="a",instance=~"n1:.*"', 'job="a"')

    Raises:
        InputError: when it is none.
    """
    inside = text.strip()
    if inside.startswith("{") and inside.endswith("}"):
        inside = inside[1:-1].strip()
    matchers: list[str] = []
    place = 0
    while place < len(inside) and (match := _MATCHER.match(inside, place)):
        matchers.append(match[1] + match[2] + match[3])
        place = match.end()
    if place < len(inside) or not matchers:
        raise InputError(f'{text[:200]!r} selects nothing; give labels as in \'{{job="vllm",instance=~"gpu1:.*"}}\'')
    return ",".join(matchers)


@dataclass(frozen=True, slots=True)
class Family:
    """Series whose name matches an expression and whose labels match the matchers."""

    names: str
    select: str

    @property
    def query(self) -> str:
        """The family as an expression."""
        matchers = [f'__name__=~"{self.names}"', self.select]
        return "{" + ",".join(filter(None, matchers)) + "}"


class Span(NamedTuple):
    """Which moments are asked for: Unix seconds."""

    start: float
    end: float
    step: float


def plan(now: float, seconds: float, interval: float, lasts: Sequence[float], series: int) -> Span:
    """The moments to ask for.

    Their distance is a multiple of that between two scrapes, and they lie as far from any scrape as
    they can: then every target's sample is equally old at each, and what a counter grew between two of
    them is what it grew in just that time.

    >>> plan(1000.0, 60.0, 15.0, [993.0], 500)
    Span(start=925.5, end=985.5, step=15.0)
    """
    most = max(LEAST_SAMPLES, min(MOST_SAMPLES, MAX_SAMPLES // max(1, series)))
    step = interval * max(1, math.ceil(seconds / (most * interval) - 1e-6))
    count = max(LEAST_SAMPLES, math.ceil(seconds / step - 1e-6))
    phases = sorted({last % interval for last in lasts})
    end = now
    if phases:
        gap, phase = max((b - a, a) for a, b in pairwise([*phases, phases[0] + interval]))
        end = now - (now - phase - gap / 2) % interval
    return Span(end - count * step, end, step)
