"""The Prometheus and OpenMetrics text format -> one page of samples.

A parser of its own: the official client's takes seven to eleven times as long, reads the value of
an OpenMetrics exemplar as a time stamp, and does not say which line it could not read.

Tolerant where exporters differ (missing HELP and TYPE, time stamps in either unit, exemplars,
trailing commas, a last line that was cut off), strict about everything else: a page that is
only half understood would give half the rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from advisor.errors import InputError, TooLarge

MAX_BYTES = 32 * 1024 * 1024
Labels = tuple[tuple[str, str], ...]  # sorted by name, so that a series is found again in the next page
Series = Mapping[Labels, float]

# Possessive groups: a long line that does not match is given up at once.
_LINE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:.]*)?[ \t]*+"
    r"(?P<labels>\{(?:[^\"{}]++|\"(?:[^\"\\]++|\\.)*+\")*+\})?[ \t]*+"
    r"(?<=[} \t])(?P<value>[+-]?(?:[0-9.]+(?:[eE][+-]?[0-9]+)?|[iI]nf(?:inity)?|[nN]a[nN]))"
    r"(?:[ \t]++(?P<time>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?))?[ \t]*+(?:#.*)?"
)
_QUOTED = r"\"((?:[^\"\\]++|\\.)*+)\"[ \t]*+"
_LABEL = re.compile(rf"[ \t]*+(?:([a-zA-Z_][a-zA-Z0-9_:.]*)[ \t]*+|{_QUOTED})(?:=[ \t]*+{_QUOTED})?(?:,|$)")
_ESCAPE = re.compile(r"\\(.)")
_COMMENT = re.compile(r"#[ \t]*(?:HELP|TYPE|UNIT)[ \t]+[a-zA-Z_:\"]|#[ \t]*EOF")
# A gateway in front of a server may rename everything that it hands on.
_GATEWAY = re.compile(r"(?:ray|kserve)_(?=(?:vllm|sglang)_)")
_MILLISECONDS = 1e11  # a time stamp above this is in milliseconds: in seconds it would be the year 5138


@dataclass(frozen=True, slots=True)
class Page:
    """One scrape: finite samples by canonical name, when they were taken (Unix seconds, if told), and what was odd."""

    samples: Mapping[str, Series]
    time: float | None = None
    note: str = ""

    def series(self, name: str) -> Series:
        """The series of a sample name (canonical); empty when there is none."""
        return self.samples.get(name, {})


class Line(NamedTuple):
    """One line: the name as it is spelled, labels, value, time stamp (Unix seconds) if it has one."""

    name: str
    labels: Labels
    value: float
    time: float | None


def canonical(name: str) -> str:
    """One spelling of a metric: ``vllm:x``, ``vllm_x`` and ``ray_vllm_x`` are the same.

    >>> canonical("vllm:num_requests_running"), canonical("ray_vllm_num_requests_running")
    ('vllm_num_requests_running', 'vllm_num_requests_running')
    """
    return _GATEWAY.sub("", name.replace(":", "_"))


def looks_like_metrics(head: str) -> bool:
    """Whether a text begins as an exposition does: one line like a sample may be anything (``step 12``).

    >>> looks_like_metrics("# TYPE up gauge"), looks_like_metrics('{"facts": {}}'), looks_like_metrics("<html>")
    (True, False, False)
    """
    lines = (line.strip() for line in head.lstrip("\ufeff").splitlines())
    first = list(islice((x for x in lines if x and (not x.startswith("#") or _COMMENT.match(x))), 3))
    if not first or first[0].startswith("#"):
        return bool(first)
    telling = any(c in first[0] for c in "_:{")
    return all(_sample(x, {}) is not None for x in (first[:1] if telling else first) if not x.startswith("#"))


def parse(text: str, origin: str) -> Page:
    """The samples of a page; NaN and infinities are left out.

    Args:
        text: the exposition.
        origin: where it comes from, for messages.

    Raises:
        InputError: when a line cannot be read, or nothing is there.
        TooLarge: when the text is over `MAX_BYTES`.
    """
    if len(text) > MAX_BYTES:
        raise TooLarge(f"{origin} has {len(text):,} characters of metrics, more than the limit of {MAX_BYTES:,}")
    samples: dict[str, dict[Labels, float]] = {}
    cache: dict[str, Labels] = {}
    names: dict[str, str] = {}
    newest, note = None, ""
    lines = text.lstrip("\ufeff").split("\n")
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped[0] == "#":
            continue
        found = _sample(stripped, cache)
        if found is None:
            if number == len(lines) and samples:  # the text ends without a newline
                note = "the last line is cut off and was left out"
                break
            raise InputError(
                f"{origin}, line {number}, is not in the Prometheus text format: {stripped[:60]!r}; save the page again"
            )
        name, labels, value, time = found
        if name not in names:
            names[name] = canonical(name)
        if math.isfinite(value):
            samples.setdefault(names[name], {})[labels] = value
        if time is not None:
            newest = time if newest is None else max(newest, time)
    if not samples:
        raise InputError(f"{origin} holds no metrics; give the page that a /metrics endpoint answers")
    return Page(samples, newest, note)


def parse_line(line: str) -> Line | None:
    """One line of the format without spaces around it; None when it is none.

    >>> parse_line('{__name__="up", job="a"} 1 1700000000000')
    Line(name='up', labels=(('job', 'a'),), value=1.0, time=1700000000.0)
    """
    found = _sample(line, {})
    return None if found is None else Line(*found)


def _sample(line: str, cache: dict[str, Labels]) -> tuple[str, Labels, float, float | None] | None:
    """Name, labels, value and time stamp (Unix seconds) of a line; None when it is none."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    name, inside, value, time = match.groups()
    labels = cache.get(inside) if inside else ()
    if labels is None:
        labels = _labels(inside[1:-1], named=bool(name))
        if labels is None:
            return None
        cache[inside] = labels
    if not name:  # OpenMetrics 2 may quote the name inside the braces
        name = dict(labels).get("__name__", "")
        labels = tuple(pair for pair in labels if pair[0] != "__name__")
    try:
        number = float(value)
    except ValueError:
        return None
    seconds = None if time is None else float(time)
    if seconds is not None and seconds > _MILLISECONDS:
        seconds /= 1000
    return (name, labels, number, seconds) if name else None


def _labels(inside: str, named: bool) -> Labels | None:
    """The pairs between the braces, sorted, and a quoted name where none stands before them; None: unreadable."""
    found: dict[str, str] = {}
    place = 0
    while place < len(inside):
        match = _LABEL.match(inside, place)
        if match is None:
            return None
        bare, quoted, value = match.groups()
        if value is not None:
            found[bare or _unescape(quoted or "")] = _unescape(value)
        elif quoted is not None and not named and "__name__" not in found:
            found["__name__"] = _unescape(quoted)
        else:
            return None
        place = match.end()
    return tuple(sorted(found.items()))


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], text) if "\\" in text else text
