"""What every request passes before a route sees it, and what every response carries.

One plain ASGI middleware: the Host must be known (against DNS rebinding), a request
that changes or computes something must not come from another site, its body must be
of the right type and size, and each response gets the headers that keep a page from
loading anything foreign. There are no users here: the service listens on loopback
unless told otherwise, and whoever reaches it may ask.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from advisor.serve.limits import BODY_TYPES, body_limit
from advisor.serve.problems import MEDIA_TYPE, problem

log = logging.getLogger("advisor.serve")

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# A saved report carries its style inside and runs nothing.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_WILDCARDS = frozenset({"0.0.0.0", "[::]"})


class _Refused(Exception):
    """A request that goes no further: its status, and the sentence that says why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class Guard:
    """The middleware. `hosts` are the names that the Host header may have, without port.

    ``0.0.0.0`` or ``[::]`` among them stands for every address of this machine; an
    address cannot be rebound, so then any literal address is let in.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(Headers(scope=scope), scope["method"])
            body = b"" if scope["method"] in _SAFE else await _read(scope, receive)
            await self._app(scope, _replay(body, receive), send_on)
        except _Refused as refused:
            await _refuse(scope, send_on, refused.status, refused.detail)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                detail = "The service failed on this request; its log has the traceback. Please report it."
                await _refuse(scope, send_on, 500, detail)

    def _check(self, headers: Mapping[str, str], method: str) -> None:
        host = headers.get("host", "")
        if not self._known(_name(host)):
            raise _Refused(400, "This host name is not served here; use 127.0.0.1 or the name given to --host.")
        if method not in _SAFE and _foreign(headers, host):
            raise _Refused(403, "Requests from other web sites are refused; ask from the advisor page or a client.")

    def _known(self, name: str) -> bool:
        return name in self._hosts or (not self._hosts.isdisjoint(_WILDCARDS) and _is_address(name))


def _name(host: str) -> str:
    """The Host header without its port; IPv6 keeps its brackets."""
    end = host.find("]")
    return (host[: end + 1] if end >= 0 else host.partition(":")[0]).lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _foreign(headers: Mapping[str, str], host: str) -> bool:
    """Whether a browser sends this for a page of another origin; clients that are no browsers send neither header."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != host.lower()


async def _read(scope: Scope, receive: Receive) -> bytes:
    """The whole body, or `_Refused` as soon as it is known to be too large; the rest is then not read."""
    headers, path = Headers(scope=scope), scope["path"]
    limit = body_limit(path)
    if scope["method"] == "POST":
        _check_type(path, headers.get("content-type", ""))
    size = headers.get("content-length", "0")
    if not size.isdecimal() or int(size) > limit:
        raise _too_large(limit)
    chunks, total = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunk = message.get("body", b"")
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            break
    return b"".join(chunks)


def _too_large(limit: int) -> _Refused:
    return _Refused(413, f"The body is over the limit of {limit // 2**20} MB for this address; send less.")


def _check_type(path: str, content_type: str) -> None:
    media = content_type.partition(";")[0].strip().lower()
    wanted = BODY_TYPES.get(path, media)
    if media != wanted:
        raise _Refused(415, f"This address takes {wanted}; set the Content-Type header to it.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive channel that gives `body` once, and then what really comes: the client's disconnect."""
    given = False

    async def channel() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return channel


async def _refuse(scope: Scope, send: Send, status: int, detail: str) -> None:
    body = json.dumps(problem(status, detail, scope["path"])).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if status == 413:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
