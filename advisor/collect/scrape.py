"""Fetches the metrics pages of servers and exporters, several times over a window.

Only text is taken here; what it means is for `readers`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult

from advisor.collect.http import TIMEOUT_S, address, ask, checked, refusal
from advisor.errors import InputError

ROUNDS = 10  # scrapes per window, besides the first: enough for the mean of a gauge
LEAST_PAUSE_S = 1.0  # servers renew their gauges about once a second
NOT_FOUND = 404
_PATH = "/metrics"
_ACCEPT = "text/plain;version=0.0.4, application/openmetrics-text;q=0.5, */*;q=0.1"


@dataclass
class Scraped:
    """The pages of one address, oldest first: seconds on a steady clock, and the text."""

    origin: str
    pages: list[tuple[float, str]] = field(default_factory=list)
    failed: int = 0
    failure: str = ""

    @property
    def note(self) -> str:
        """What a person should know about the scrapes that failed."""
        if not self.failed:
            return ""
        tried = self.failed + len(self.pages)
        return f"{self.failed} of {tried} scrapes failed: {self.failure}" if self.pages else self.failure


def scrape(
    urls: Sequence[str], seconds: float, progress: Callable[[float], None] | None = None, timeout_s: float = TIMEOUT_S
) -> list[Scraped]:
    """The pages of every address over `seconds`: at least two where it keeps answering.

    Raises:
        InputError: when no address answers with metrics at first; the first one's reason.
    """
    endpoints = [Endpoint(url, timeout_s) for url in urls]
    pause = max(LEAST_PAUSE_S, seconds / ROUNDS)
    errors = [error for endpoint in endpoints if (error := endpoint.scrape())]
    if len(errors) == len(endpoints):
        raise errors[0]
    began = time.monotonic()  # after the first pages: the window is never shorter than what was asked for
    while (left := began + seconds - time.monotonic()) > 0:
        if progress:
            progress(1 - left / seconds)
        time.sleep(min(pause, left))
        for endpoint in endpoints:
            endpoint.scrape()
    if progress:
        progress(1.0)
    return [endpoint.scraped for endpoint in endpoints]


class Endpoint:
    """One address of metrics. The page under ``/metrics`` is tried once where the address itself has none."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._parts = checked(url)
        self._timeout = timeout_s
        if self._parts.path in ("", "/"):
            self._parts = self._parts._replace(path=_PATH)
        self.scraped = Scraped(address(self._parts))

    def scrape(self) -> InputError | None:
        """Take one page; the reason when there is none."""
        began = time.monotonic()
        try:
            text = self._page()
        except InputError as error:
            self.scraped.failed += 1
            self.scraped.failure = str(error)
            return error
        self.scraped.pages.append(((began + time.monotonic()) / 2, text))
        return None

    def _page(self) -> str:
        try:
            return fetch(self._parts, self._timeout)
        except NoMetrics:
            path = self._parts.path.rstrip("/")
            if self.scraped.pages or path.endswith(_PATH):
                raise
            other = self._parts._replace(path=path + _PATH)
            try:
                text = fetch(other, self._timeout)
            except InputError:
                text = ""
            if not text:
                raise
            self._parts, self.scraped.origin = other, address(other)
            return text


class NoMetrics(InputError):
    """Something answers, but not with metrics."""


def fetch(parts: SplitResult, timeout_s: float) -> str:
    """The text at an address.

    Raises:
        NoMetrics: when what answers is not text of metrics.
        TooLarge: over `MAX_BYTES`.
        InputError: when nothing answers, or it refuses.
    """
    shown = address(parts)
    answer = ask(parts, timeout_s, _ACCEPT)
    if answer.status == NOT_FOUND:
        raise NoMetrics(f"{shown} has no such page (HTTP 404); switch the server's metrics on, or give their address")
    if answer.status >= 400:
        raise refusal(parts, answer.status)
    if "html" in answer.kind or "json" in answer.kind or answer.text.lstrip()[:1] == "<":
        what = "JSON" if "json" in answer.kind else "a web page"
        raise NoMetrics(f"{shown} answers with {what}, not with metrics; give the address of the metrics page")
    return answer.text
