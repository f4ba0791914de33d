"""What is measured: facts and where they come from, gathered in a profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advisor.models.words import SourceState, Value


@dataclass(frozen=True, slots=True)
class Fact:
    """A named value with its unit and where it comes from.

    `unit` is a UCUM code (``1``, ``s``, ``By``, ``By/s``, ``{worker}``; ``{bool}`` and
    ``{string}`` for attributes); `where` is ``file:line`` of the user's code when known.
    """

    name: str
    value: Value
    unit: str
    origin: str
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where raw data comes from, and whether it could be read."""

    kind: str
    origin: str
    state: SourceState
    note: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """A fact over time: `t` in seconds since the profile's start. For pictures and the noise of a comparison only."""

    t: tuple[float, ...]
    v: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source said: its state, the facts parsed from it, and series for pictures."""

    source: Source
    facts: tuple[Fact, ...] = ()
    series: Mapping[str, Series] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two sources disagree about one fact; `kept` is the one that the profile uses."""

    kept: Fact
    other: Fact


@dataclass(frozen=True, slots=True)
class Profile:
    """All facts of one subject (a run, host, rank or server) over one window."""

    id: str
    subject: str
    started: str
    duration_s: float
    sources: tuple[Source, ...]
    facts: Mapping[str, Fact]
    series: Mapping[str, Series] = field(default_factory=dict)
    members: tuple[Profile, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()

    @property
    def unmeasured(self) -> bool:
        """Whether all that is known was read in a script, and nothing measured."""
        return bool(self.sources) and all(s.kind == "script" for s in self.sources)

    @property
    def stated(self) -> bool:
        """Whether all that is known was said by a person."""
        return bool(self.sources) and all(s.kind == "question" for s in self.sources)
