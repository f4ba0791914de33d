"""What the conversation is given from its neighbours, in one place: facts in words, and premises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from advisor.answer.stated import Stated, stated
from advisor.models import Text


@dataclass(frozen=True, slots=True)
class Parts:
    """The functions that read facts from normalised text, and the corrections of what it takes for granted."""

    stated: Callable[[str], tuple[Stated, ...]]
    premises: Callable[[str], tuple[Text, ...]]


def no_premises(plain: str) -> tuple[Text, ...]:  # noqa: ARG001
    """The corrections of a build that knows none."""
    return ()


PARTS = Parts(stated, no_premises)
