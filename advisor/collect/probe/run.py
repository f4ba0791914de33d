"""Runs probes one after the other, so that none measures another, in the thread that Ctrl-C reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from advisor.collect.probe import Probe
from advisor.collect.sampler import read_now
from advisor.models import Reading


def run_probes(probes: Sequence[Probe], say: Callable[[str], None]) -> tuple[Reading, ...]:
    """One reading per probe; `say` hears what each is about to do. What fails is that probe's state."""
    readings = []
    for probe in probes:
        say(f"the {probe.origin} {probe.plan()}")
        readings.append(read_now(probe))
        say(f"the {probe.origin} {readings[-1].source.note}")
    return tuple(readings)
