"""What a question meets, and what is decided about it before anything is put into words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from advisor.answer.conversation import Shown, State
from advisor.blocks import Block, Words
from advisor.models import AnswerKind, Diagnosis, Finding, Rule, Scored, Text


@dataclass(frozen=True, slots=True)
class Situation:
    """What a question meets besides the knowledge.

    `diagnosis` is of the run that it may be about. `attached` says that the person chose that run, so that it is
    about it unless it is clearly a matter of knowledge; `stated` that it rests on the person's words alone.
    `premises` are the corrections of what the question takes for granted.
    """

    diagnosis: Diagnosis | None = None
    attached: bool = False
    stated: bool = False
    state: State = field(default_factory=State)
    premises: tuple[Text, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Which answer a question gets; `build` puts it into words only when somebody reads it.

    `cites` are the references that it rests on beside those of its rules.
    """

    kind: AnswerKind
    topics: tuple[Scored, ...]
    rules: tuple[Rule, ...]
    shown: Shown
    build: Callable[[Words], list[Block]]
    diagnosis: Diagnosis | None = None
    cites: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that is talked about: its rule, and its finding where it was found on the run."""

    rule: Rule
    finding: Finding | None
    diagnosis: Diagnosis | None
