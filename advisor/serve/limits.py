"""How large a request may be; `security.Guard` enforces it while the body arrives."""

from __future__ import annotations

ASK_BYTES = 4 * 1024 * 1024  # a message and its history, half a million characters each, in UTF-8
DIAGNOSE_BYTES = 64 * 1024 * 1024
BODY_TYPES = {
    "/api/v1/ask": "application/json",
    "/api/v1/diagnose": "application/json",
    "/api/v1/compare": "application/json",
    "/": "application/x-www-form-urlencoded",
}


def body_limit(path: str) -> int:
    """How many bytes a request body to `path` may have."""
    return DIAGNOSE_BYTES if path in ("/api/v1/diagnose", "/api/v1/compare") else ASK_BYTES
