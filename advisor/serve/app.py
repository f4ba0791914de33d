"""The application, and the server that runs it on this machine.

Loopback unless told otherwise, no CDN documentation pages, no telemetry. The work is
done by `Advisor`; this only puts the routes, the guard and the page's files together.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from advisor import __version__
from advisor.blocks.strings import web_folder
from advisor.errors import InputError
from advisor.serve import api, handlers, pages
from advisor.serve.problems import Problem
from advisor.serve.security import Guard
from advisor.serve.shown import Shown

if TYPE_CHECKING:
    from advisor.pipeline import Advisor

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
PORT_TRIES = 20


class _Files(StaticFiles):
    """The page's files; browsers ask each time whether they changed, so an upgrade never mixes versions."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def create_app(advisor: Advisor, *, hosts: Sequence[str] = LOOPBACK) -> FastAPI:
    """The application over `advisor`; `hosts` are the Host headers it answers to (see `Guard`)."""
    app = FastAPI(
        title="advisor",
        version=__version__,
        description="Why is my training slow? The cause, proven by your own machine's numbers.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.advisor = advisor
    app.state.shown = Shown(advisor)
    routers = (api.router, api.health, pages.router)
    handlers.install(app, [route for router in routers for route in router.routes])
    for router in routers:
        app.include_router(router)
    app.mount("/static", _Files(directory=web_folder() / "static"))
    app.add_middleware(Guard, hosts=hosts)
    _document_problems(app)
    return app


def serve(advisor: Advisor, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` gets the URL once it listens.

    A taken port moves on to the next free one, up to `PORT_TRIES` of them; raises
    `InputError` when none is free or the host is not an address of this machine.
    """
    listener = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{listener.getsockname()[1]}/"
    app = create_app(advisor, hosts=[*LOOPBACK, name])
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=2, lifespan="off"
    )
    with listener, contextlib.suppress(KeyboardInterrupt):  # uvicorn has shut down and raises Ctrl-C again
        _Server(config, lambda: ready(url)).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn that says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._listening()


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"{port} is not a port; choose one from 1 to 65535 with --port.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = min(port + PORT_TRIES, 65536)
    for candidate in range(port, last):
        try:
            return socket.create_server((host, candidate), family=family, backlog=128)
        except socket.gaierror:
            raise InputError(f"{host!r} is not an address of this machine; use 127.0.0.1 or one of its own.") from None
        except PermissionError:
            raise InputError(f"Port {candidate} needs more rights; choose one above 1023 with --port.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise InputError(f"Cannot listen on {host}: {error.strerror}; use 127.0.0.1.") from None
    raise InputError(f"No port from {port} to {last - 1} is free on {host}; choose another with --port.")


def _document_problems(app: FastAPI) -> None:
    """Put the schema of a problem into OpenAPI, where the documented responses point."""
    original = app.openapi

    def openapi() -> dict[str, object]:
        document = original()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {}) | {"Problem": schema}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # the way FastAPI documents for extending it
