"""What a reader hands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advisor.models import Reading


@dataclass(frozen=True, slots=True)
class Told:
    """What artefacts of one kind say together about one run, server or machine.

    Args:
        readings: what each of them says about the whole.
        ranks: of a run of several ranks, the name of each rank and what its artefact says about it alone.
        started: when the window began, Unix seconds; None when that is not told.
        seconds: length of the window; 0 for a moment.
        subject: what was looked at, where the artefact itself has a name for it.
    """

    readings: tuple[Reading, ...]
    ranks: tuple[tuple[str, Reading], ...] = ()
    started: float | None = None
    seconds: float = 0.0
    subject: str = ""


def together(parts: Sequence[Told]) -> Told:
    """What several kinds of artefacts say about one thing."""
    starts = [t.started for t in parts if t.started is not None]
    return Told(
        tuple(reading for t in parts for reading in t.readings),
        tuple(rank for t in parts for rank in t.ranks),
        min(starts, default=None),
        max((t.seconds for t in parts), default=0.0),
        ", ".join(dict.fromkeys(t.subject for t in parts if t.subject)),
    )
