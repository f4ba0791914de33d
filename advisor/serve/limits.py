"""What a request may contain: sizes, and the check that every question passes, from whichever route it comes.

The limits on bytes are enforced by `security.Guard` while the body arrives; the
limit on characters here, once the text is known. Nothing here reads a request.
"""

from __future__ import annotations

import re

from advisor.errors import InputError, TooLarge

QUESTION_CHARACTERS = 20_000
ASK_BYTES = 2 * 1024 * 1024
DIAGNOSE_BYTES = 64 * 1024 * 1024
BODY_TYPES = {
    "/api/v1/ask": "application/json",
    "/api/v1/diagnose": "application/json",
    "/": "application/x-www-form-urlencoded",
}

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def body_limit(path: str) -> int:
    """How many bytes a request body to `path` may have."""
    return DIAGNOSE_BYTES if path == "/api/v1/diagnose" else ASK_BYTES


def clean_question(text: str) -> str:
    """The question with plain newlines and without terminal colours.

    Raises `TooLarge` over 20,000 characters, and `InputError` when it is empty or
    holds control characters: those come from binary files, not from people or logs.
    """
    if len(text) > QUESTION_CHARACTERS:
        raise TooLarge(
            f"The question has {len(text):,} characters and the limit is {QUESTION_CHARACTERS:,}; "
            "keep the part that shows the problem."
        )
    plain = _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not plain:
        raise InputError("The question is empty; write what is slow, or paste a log or an error.")
    if found := _CONTROL.search(plain):
        raise InputError(
            f"The question holds the control character U+{ord(found[0]):04X} at position {found.start() + 1}; "
            "remove it and send the text again."
        )
    return plain
