"""Which exception becomes which problem, and when a browser gets a page instead.

Every error that a route raises ends here; what is refused before a route sees it is
answered by `security.Guard`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from advisor.errors import AdvisorError
from advisor.serve.pages import error_page, wants_page
from advisor.serve.problems import problem, problem_response, status_of

# Starlette's and FastAPI's own details are fragments; these are the sentences in their place.
_DETAILS = {
    400: "The body could not be read as JSON; send one JSON object in UTF-8.",
    404: "Nothing is at this address; the list of addresses is at /openapi.json.",
    405: "This address does not take that method; the Allow header names those that it takes.",
}


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make `app` answer every error with a problem, or with a page where a browser asks for one.

    `routes` are what its routers hold: the Allow header is made from them.
    """

    def advisor_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, AdvisorError)
        return _answer(request, status_of(error), str(error))

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(routes, request))
        detail = error.detail
        if not detail.endswith("."):
            detail = _DETAILS.get(error.status_code, "The request could not be answered.")
        return _answer(request, error.status_code, detail, headers=headers)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _answer(request, *_explain(error))

    app.add_exception_handler(AdvisorError, advisor_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)


def _answer(
    request: Request,
    status: int,
    detail: str,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    if wants_page(request):
        return error_page(request, status, detail, headers)
    return problem_response(problem(status, detail, request.url.path, errors), headers)


def _methods(routes: Sequence[BaseRoute], request: Request) -> list[str]:
    """Every method that some route takes at this path; Starlette names only those of the first one."""
    methods: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


def _explain(error: RequestValidationError) -> tuple[int, str, list[dict[str, str]]]:
    faults = error.errors()
    if any(f["type"] == "json_invalid" for f in faults):
        return 400, "The body is not valid JSON; send one JSON object in UTF-8.", []
    errors = [{"loc": _place(f["loc"]), "msg": str(f["msg"])} for f in faults[:20]]
    first = errors[0]
    return 422, f"{first['loc']}: {first['msg']}. The schema is at /openapi.json.", errors


def _place(loc: Sequence[int | str]) -> str:
    """``body.question``; what the client named itself (an unknown key) is cut short and kept printable."""
    return ".".join(str(part) if str(part).isprintable() else "?" for part in loc)[:120]
