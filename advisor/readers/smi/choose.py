"""Which looks show the load: those at an idle machine are left out, and never averaged with the others.

Looks are taken in the order of the text. A form that comes again begins a new *round*, so that the
table, ``-q`` and ``dmon`` that somebody took one after another are one round, and the same again
under load is the next. A heading that says ``idle`` or ``load`` decides, else what the GPUs did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from advisor.readers.smi.look import FIXED, Look, Moment, level

IDLE = 0.05  # desktops draw their windows with some percent
QUIET = 0.2  # of the busiest round: that much is idle beside it
FEW = 5  # rounds or moments below which every one of them tells something
DYNAMIC = ("util", "encoder", "decoder", "power", "sm", "used", "temperature")


@dataclass
class Choice:
    """What is used, what only stands in for what does not change, and what a person should know about it."""

    used: list[Look]
    spare: list[Look] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def choose(looks: Sequence[Look]) -> Choice:
    """The looks under load where there are any, else all; static ones always."""
    moving = [look for look in looks if any(key in state for _, state in look.states() for key in DYNAMIC)]
    still = [look for look in looks if look not in moving]
    rounds = _rounds(moving)
    active = _active(rounds)
    if all(active) or not any(active):
        return Choice([*moving, *still])
    used = [look for kept, looks_ in zip(active, rounds, strict=True) if kept for look in looks_]
    spare = [look for kept, looks_ in zip(active, rounds, strict=True) if not kept for look in looks_]
    idle = f"{len(spare)} looks at idle GPUs were left out" if len(spare) > 1 else "a look at idle GPUs was left out"
    return Choice([*used, *still], spare, [f"taken under load; {idle}"])


def _rounds(looks: Sequence[Look]) -> list[list[Look]]:
    rounds: list[list[Look]] = []
    for look in looks:
        last = rounds[-1] if rounds else []
        if not last or last[-1].label != look.label or any(other.form == look.form for other in last):
            rounds.append([look])
        else:
            last.append(look)
    return rounds


def _active(rounds: Sequence[Sequence[Look]]) -> list[bool]:
    """Which rounds count: where headings tell them apart, those of the load, else all but idle ones at the ends."""
    labels = [looks[0].label for looks in rounds]
    if "load" in labels and "idle" in labels:
        return [label == "load" for label in labels]
    levels = [_round_level(looks) for looks in rounds]
    peak = max((known for known in levels if known is not None), default=0.0)
    limit = max(IDLE, QUIET * peak)
    busy = [label != "idle" and (known is None or known > limit) for label, known in zip(labels, levels, strict=True)]
    first, last = edges(busy)
    return [first <= i < last for i in range(len(busy))]


def edges(busy: Sequence[bool]) -> tuple[int, int]:
    """The part between idle ends; where there are many, only ends longer than the gaps in between are cut.

    >>> edges([False, True, False, True]), edges([False, True, False, True, True, False])
    ((1, 4), (0, 6))
    """
    places = [i for i, is_busy in enumerate(busy) if is_busy]
    if not places:
        return 0, len(busy)
    first, last = places[0], places[-1] + 1
    if len(busy) < FEW:
        return first, last
    gap = max((b - a - 1 for a, b in pairwise(places)), default=0)
    least = max(FEW, 2 * gap + 1)
    return first if first >= least else 0, last if len(busy) - last >= least else len(busy)


def _round_level(looks: Sequence[Look]) -> float | None:
    """How busy a round was, by the look of most moments: one reading may be stale."""
    best = max(looks, key=lambda look: (_telling(look.moments), look.rank))
    levels = [known for moment in best.moments if (known := level(moment)) is not None]
    return sum(levels) / len(levels) if levels else None


def _telling(moments: Sequence[Moment]) -> int:
    return sum(level(moment) is not None for moment in moments)


def trim(look: Look) -> str:
    """Cut the time before and after the load off a long recording; says what was cut."""
    levels = [level(moment) for moment in look.moments]
    if len(levels) <= 2 * FEW or any(known is None for known in levels):
        return ""
    first, last = edges([known > IDLE for known in levels if known is not None])
    gone = len(levels) - (last - first)
    look.moments = look.moments[first:last]
    return f"{gone} moments before and after the load were left out" if gone else ""


def fixed(states: dict[str, float]) -> dict[str, float]:
    """What does not change with the load."""
    return {key: value for key, value in states.items() if key in FIXED}
