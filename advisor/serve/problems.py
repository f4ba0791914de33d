"""Errors on the wire: RFC 9457 problems (`application/problem+json`).

A problem holds one sentence that says what is wrong and what to do. It never repeats
the request's own text, so nothing that was sent can come back as markup or break the
encoding. Which exception becomes which problem is in `handlers`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import Response
from pydantic import BaseModel, Field

from advisor.errors import AdvisorError, InputError, NotFound, TooLarge

MEDIA_TYPE = "application/problem+json"
# Types are part of the interface, so they are not made from the phrases of Python's HTTPStatus, which change.
_KINDS = {
    400: ("unreadable", "The request cannot be read"),
    403: ("other-site", "Refused: from another site"),
    404: ("not-found", "Not found"),
    405: ("method", "Method not allowed"),
    413: ("too-large", "Too large"),
    415: ("media-type", "Wrong media type"),
    422: ("invalid", "The input cannot be used"),
    500: ("internal", "Internal error"),
}


class Fault(BaseModel):
    """One part of a request that does not fit."""

    loc: str = Field(description="where, as a dotted path")
    msg: str = Field(description="what is expected there")


class Problem(BaseModel):
    """An RFC 9457 problem: `detail` is one sentence that says what is wrong and what to do."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] | None = None


def problem(status: int, detail: str, instance: str, errors: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
    """The JSON object of a problem; `instance` is the path that was asked for."""
    kind, title = _KINDS.get(status, ("other", HTTPStatus(status).phrase))
    document: dict[str, Any] = {
        "type": f"urn:advisor:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors:
        document["errors"] = [dict(e) for e in errors]
    return document


def problem_response(document: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A problem as a response with its own media type."""
    body = json.dumps(document, ensure_ascii=False)
    return Response(body, int(document["status"]), dict(headers or {}), MEDIA_TYPE)


def status_of(error: AdvisorError) -> int:
    """The HTTP status of an error that a person can be told."""
    match error:
        case TooLarge():
            return 413
        case InputError():
            return 422
        case NotFound():
            return 404
        case _:
            return 500


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for OpenAPI: these statuses, and any other, are problems.

    FastAPI's ``{"model": Problem}`` would document `application/json`, which is not what is sent.
    """
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    known: dict[int | str, dict[str, Any]] = {
        status: {"description": _KINDS[status][1], "content": content} for status in statuses
    }
    return known | {"default": {"description": "Any other error", "content": content}}
