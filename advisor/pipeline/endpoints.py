"""From addresses to what stands there: pages are scraped for a while, Prometheus servers are asked for the past."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence

from advisor.collect.prometheus import SECONDS, Prometheus, find
from advisor.collect.prometheus_query import selector
from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.told import Told, together

LIVE_S = 10.0  # how long pages are scraped when nobody says
Progress = Callable[[float], None]


def look(
    urls: Sequence[str], seconds: float | None = None, selects: Sequence[str] = (), progress: Progress | None = None
) -> Told:
    """What all addresses say together.

    Args:
        urls: pages of metrics, and Prometheus servers in any mix.
        seconds: how long pages are scraped, and how far servers are asked to look back; each has its own default.
        selects: which series of the servers are meant, as ``{job="vllm"}``; any of these.
        progress: is told how much is done, of 1.

    Raises:
        InputError: when no address says anything that is known, or a selection cannot be used.
    """
    chosen = [selector(text) for text in selects]
    found = {url: find(url) for url in dict.fromkeys(urls)}
    servers = [server for server in found.values() if server is not None]
    pages = [url for url, server in found.items() if server is None]
    if chosen and not servers:
        raise InputError(
            f"--select is for Prometheus servers, and {', '.join(pages)} does not answer as one; leave it out"
        )
    told: list[Told] = []
    failed: list[tuple[str, InputError]] = []
    for server in servers:
        try:
            told.append(_recorded(server, seconds or SECONDS, chosen, progress if not pages else None))
        except InputError as error:
            failed.append((server.origin, error))
    if pages:
        try:
            told.append(_scraped(pages, seconds or LIVE_S, progress))
        except InputError as error:
            failed.append((pages[0], error))
    if not told:
        raise failed[0][1]
    wrong = tuple(Reading(Source("scrape", origin, "unreadable", f"{error}.")) for origin, error in failed)
    return together([*told, Told(wrong)])


def _recorded(server: Prometheus, seconds: float, selects: Sequence[str], progress: Progress | None) -> Told:
    from advisor.readers.metrics.history import read_answers
    from advisor.readers.metrics.kinds import KINDS, PROCESS

    recorded = server.record([kind.families for kind in KINDS], PROCESS, selects, seconds, progress or (lambda _: None))
    subject = " ".join([server.origin, *(f"--select {shlex.quote('{' + select + '}')}" for select in selects)])
    return read_answers(recorded.answers, recorded.origin, subject, recorded.notes)


def _scraped(urls: Sequence[str], seconds: float, progress: Progress | None) -> Told:
    from advisor.collect.scrape import scrape
    from advisor.readers.metrics.scrapes import read_targets

    started = time.time()
    scraped = scrape(urls, seconds, progress)
    readings = read_targets([(s.origin, s.pages, s.note) for s in scraped])
    length = max((s.pages[-1][0] - s.pages[0][0] for s in scraped if s.pages), default=0.0)
    return Told(readings, (), started, length, ", ".join(s.origin for s in scraped))
