"""A conversation in a terminal: one message per line, each answered with what was said before in mind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from advisor.cli.shared import print_page
from advisor.errors import AdvisorError
from advisor.pipeline import MAX_HISTORY, MAX_HISTORY_LENGTH

if TYPE_CHECKING:
    from advisor.models import Answer

PROMPT = "> "
_LEAVE = frozenset(["exit", "quit", "bye", "退出", "再见"])


def chat(answer: Callable[[str, Sequence[str]], Answer], document: Callable[[Answer], object] | None) -> None:
    """Read messages until the input ends, and print each answer; as one JSON line when `document` makes one of it.

    A message that cannot be used costs one sentence, not the conversation.
    """
    with suppress(ImportError):  # line editing and recall, where Python has it
        import readline  # noqa: F401

    said: list[str] = []
    while (message := _next()) is not None:
        if not message.strip():
            continue
        try:
            found = answer(message, said)
        except AdvisorError as error:
            print(f"advisor: {error}", file=sys.stderr)
            continue
        if document:
            print(json.dumps(document(found), ensure_ascii=False), flush=True)
        else:
            print_page(found.blocks, sys.stdout)
        said = _within_limits([*said, message])


def _next() -> str | None:
    """The next message; None when the person has ended the conversation."""
    try:
        message = input(PROMPT)
    except EOFError:
        print()
        return None
    return None if message.strip().lower() in _LEAVE else message


def _within_limits(said: Sequence[str]) -> list[str]:
    """The end of a conversation that is as long as an answer can take into account."""
    kept = list(said[-MAX_HISTORY:])
    while sum(map(len, kept)) > MAX_HISTORY_LENGTH:
        kept.pop(0)
    return kept
