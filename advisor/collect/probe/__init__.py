"""Active probes: what this machine can reach, measured for a few seconds and only on request.

Each is a collector that is read once. What the user allows is in `Budget`; what a probe did cost stands in the
note of its source. Nothing is left behind: files are unlinked before they are written, children are waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from advisor.collect.base import Collector
from advisor.collect.probe.budget import Budget
from advisor.collect.probe.disk import DiskProbe
from advisor.collect.probe.loader import LoaderProbe
from advisor.collect.probe.matmul import MatmulProbe
from advisor.collect.probe.memory import MemoryProbe
from advisor.collect.probe.network import NetworkProbe

__all__ = [
    "PROBES",
    "Budget",
    "DiskProbe",
    "LoaderProbe",
    "MatmulProbe",
    "MemoryProbe",
    "NetworkProbe",
    "Probe",
    "Wanted",
    "probe",
]


class Probe(Collector, Protocol):
    """A collector that says what it will do before it is read."""

    def plan(self) -> str:
        """Verb, object and bounds, to follow the probe's name."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user asked to have probed.

    `data` is the file or folder that training reads, `python` the interpreter that has torch, `peers` are
    ``host:port`` of other nodes, `command` is what the loader probe runs.
    """

    data: Path | None = None
    python: str | None = None
    peers: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    budget: Budget = field(default_factory=Budget)


PROBES: Mapping[str, Callable[[Wanted], Probe]] = {
    "disk": lambda w: DiskProbe(w.data, w.budget),
    "memory": lambda w: MemoryProbe(w.python, w.budget),
    "matmul": lambda w: MatmulProbe(w.python, w.budget),
    "loader": lambda w: LoaderProbe(w.command, w.budget),
    "network": lambda w: NetworkProbe(w.peers, w.budget),
}


def probe(name: str, wanted: Wanted) -> Probe:
    """The probe of that name, ready to be read (raises InputError when only the user can say what it lacks)."""
    return PROBES[name](wanted)
