"""Fetches the metrics pages of servers and exporters, several times over a window.

Only text is taken here; what it means is for `readers`. A page is asked for like Prometheus does:
directly, without a proxy. A redirect is followed on the same host only, so that an address
cannot send the request, or its credentials, somewhere else.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from advisor import __version__
from advisor.errors import InputError, TooLarge

MAX_BYTES = 32 * 1024 * 1024
TIMEOUT_S = 10.0
ROUNDS = 10  # scrapes per window, besides the first: enough for the mean of a gauge
LEAST_PAUSE_S = 1.0  # servers renew their gauges about once a second
CHUNK = 1 << 16
_PATH = "/metrics"
_HEADERS = {
    "User-Agent": f"advisor/{__version__}",
    "Accept": "text/plain;version=0.0.4, application/openmetrics-text;q=0.5, */*;q=0.1",
    "Accept-Encoding": "gzip",
}


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


def is_url(text: str) -> bool:
    """Whether an argument names an endpoint rather than a file.

    >>> is_url("http://host:8000/metrics"), is_url("profile.json")
    (True, False)
    """
    return text.lower().startswith(("http://", "https://"))


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
        self._parts = _checked(url)
        self._timeout = timeout_s
        if self._parts.path in ("", "/"):
            self._parts = self._parts._replace(path=_PATH)
        self.scraped = Scraped(_shown(self._parts))

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
            self._parts, self.scraped.origin = other, _shown(other)
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
    shown = _shown(parts)
    headers = dict(_HEADERS)
    if parts.username is not None:
        secret = f"{parts.username}:{parts.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()
    request = urllib.request.Request(_bare(parts), headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _SameHost(parts.hostname))
    try:
        with opener.open(request, timeout=timeout_s) as response:
            body = _read(response, shown, time.monotonic() + timeout_s)
            kind = response.headers.get("Content-Type", "")
    except urllib.error.HTTPError as error:
        raise _refused(shown, error) from None
    except (OSError, http.client.HTTPException, zlib.error) as error:
        raise InputError(f"{shown} cannot be read ({_reason(error, timeout_s)}); {_NEXT}") from None
    text = body.decode("utf-8", "replace")
    if "html" in kind.lower() or "json" in kind.lower() or text.lstrip()[:1] == "<":
        what = "JSON" if "json" in kind.lower() else "a web page"
        raise NoMetrics(f"{shown} answers with {what}, not with metrics; give the address of the metrics page")
    return text


_NEXT = "check that the server runs and that its metrics port can be reached from here"


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_ok = urlsplit(""), False
    if not is_url(url.strip()) or not parts.hostname or not port_ok:
        raise InputError(f"{url[:200]!r} is not an address of metrics; give one like http://localhost:8000/metrics")
    return parts


def _bare(parts: SplitResult) -> str:
    """The address without credentials: what is sent, and all that is ever shown or stored."""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _shown(parts: SplitResult) -> str:
    return _bare(parts._replace(query=""))


class _SameHost(urllib.request.HTTPRedirectHandler):
    max_redirections = 3

    def __init__(self, host: str | None) -> None:
        self._host = host

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        target = urlsplit(newurl)
        if target.hostname != self._host:
            fp.close()
            here, meant = _shown(urlsplit(req.full_url)), _shown(target)
            raise InputError(f"{here} redirects to another host; if that is meant, give its address: {meant}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _read(response: Any, shown: str, deadline: float) -> bytes:
    """The body, unpacked; both a flood and a drip end."""
    packed = response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip")
    unpack = zlib.decompressobj(wbits=31) if packed else None
    body = bytearray()
    while chunk := response.read1(CHUNK):
        body += unpack.decompress(chunk, MAX_BYTES + 1) if unpack else chunk
        if len(body) > MAX_BYTES or (unpack and unpack.unconsumed_tail):
            raise TooLarge(f"{shown} answers with more than {MAX_BYTES:,} bytes; give an address that serves less")
        if time.monotonic() > deadline:
            raise TimeoutError
    if unpack and not unpack.eof:
        raise zlib.error("the compressed answer is cut off")
    return bytes(body)


def _refused(shown: str, error: urllib.error.HTTPError) -> InputError:
    error.close()
    if error.code in (401, 403):
        return InputError(
            f"{shown} refuses (HTTP {error.code}); give credentials, as in http://user:password@host/metrics"
        )
    if error.code == http.client.NOT_FOUND:
        return NoMetrics(f"{shown} has no such page (HTTP 404); switch the server's metrics on, or give their address")
    return InputError(f"{shown} answers HTTP {error.code}; look at the server's log, then try again")


def _reason(error: Exception, timeout_s: float) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason or cause}"
    if isinstance(cause, socket.gaierror):
        return "its name does not resolve"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
