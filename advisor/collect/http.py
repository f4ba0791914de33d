"""Asks an address over HTTP as Prometheus does: directly, without a proxy, for text of a bounded size.

A redirect is followed on the same host only, so that an address cannot send the request, or its
credentials, somewhere else.
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
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from advisor import __version__
from advisor.errors import InputError, TooLarge

MAX_BYTES = 32 * 1024 * 1024
TIMEOUT_S = 10.0
CHUNK = 1 << 16
_HEADERS = {"User-Agent": f"advisor/{__version__}", "Accept-Encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class Response:
    """What an address answers: HTTP status, media type in small letters, text."""

    status: int
    kind: str
    text: str


def is_url(text: str) -> bool:
    """Whether an argument names an endpoint rather than a file.

    >>> is_url("http://host:8000/metrics"), is_url("profile.json")
    (True, False)
    """
    return text.lower().startswith(("http://", "https://"))


def ask(parts: SplitResult, timeout_s: float, accept: str) -> Response:
    """The answer of an address, also where it is an error.

    Raises:
        TooLarge: over `MAX_BYTES`.
        InputError: when nothing answers.
    """
    shown = address(parts)
    headers = {**_HEADERS, "Accept": accept}
    if parts.username is not None:
        secret = f"{parts.username}:{parts.password or ''}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()
    request = urllib.request.Request(_bare(parts), headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _SameHost(parts.hostname))
    try:
        try:
            answer = opener.open(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = _read(answer, shown, time.monotonic() + timeout_s)
            kind = answer.headers.get("Content-Type", "").lower()
            status = answer.status
    except (OSError, http.client.HTTPException, zlib.error) as error:
        raise InputError(f"{shown} cannot be read ({_reason(error, timeout_s)}); {_NEXT}") from None
    return Response(status or 0, kind, body.decode("utf-8", "replace"))


def refusal(parts: SplitResult, status: int) -> InputError:
    """What a person should do about an address that answers with an error."""
    shown = address(parts)
    if status in (401, 403):
        return InputError(f"{shown} refuses (HTTP {status}); give credentials, as in http://user:password@host/metrics")
    return InputError(f"{shown} answers HTTP {status}; look at the server's log, then try again")


_NEXT = "check that the server runs and that its metrics port can be reached from here"


def checked(url: str) -> SplitResult:
    """The parts of an address (raises InputError)."""
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


def address(parts: SplitResult) -> str:
    """How an address is shown."""
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
            here, meant = address(urlsplit(req.full_url)), address(target)
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
