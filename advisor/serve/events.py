"""Server-sent events: how a stream is framed. What is in the events is decided by the routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

MEDIA_TYPE = "text/event-stream"
Event = tuple[str, object]


def wanted(request: Request) -> bool:
    """Whether the client asks for a stream."""
    return MEDIA_TYPE in request.headers.get("accept", "")


def stream(events: Iterator[Event]) -> StreamingResponse:
    """The events as they come, each name with its data as one line of JSON."""
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse((_frame(*e) for e in events), headers=headers, media_type=MEDIA_TYPE)


def _frame(name: str, data: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
