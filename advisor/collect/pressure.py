"""Pressure stall information of the whole machine, from /proc/pressure.

Facts are shares of the window, from the cumulative ``total=`` microseconds: the kernel's
own ten-second averages would describe a different window than every other fact.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path

from advisor.collect.base import Facts, Kept, Parsed, Sample, pictures, rate, steps, times

OFF = "PSI is not enabled in this kernel (boot with psi=1)"
LINES = (("cpu", "some"), ("memory", "some"), ("memory", "full"), ("io", "some"), ("io", "full"))


def total_us(text: str, line: str) -> int | None:
    """Microseconds of stall since boot in the ``some`` or ``full`` line of a pressure file."""
    for row in text.splitlines():
        if row.startswith(line + " "):
            return int(row.rpartition("total=")[2])
    return None


class Pressure:
    """PSI for CPU, memory and I/O."""

    kind = "host"
    origin = "/proc/pressure"

    def __init__(self, proc: str = "/proc") -> None:
        self._folder = Path(proc) / "pressure"
        self._files = Kept()

    def read(self) -> Sample:
        """The three pressure files as text."""
        try:
            return {name: self._files.read(f"{self._folder}/{name}") for name in ("cpu", "memory", "io")}
        except FileNotFoundError:
            raise FileNotFoundError(OFF) from None
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                raise FileNotFoundError(OFF) from None
            raise

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Share of the window stalled, per resource and kind."""
        t = times(samples)
        facts = Facts(self.origin)
        stalls = {}
        for name, line in LINES:
            values = [total_us(s[name], line) for s in samples]
            known = [v / 1e6 for v in values if v is not None]
            if len(known) == len(samples):  # "full" is missing for some resources of some kernels
                stalls[name, line] = known
                facts.share(f"system.pressure.{name}.{line}", rate(t, known))
        io = stalls.get(("io", "full"))
        drawn = steps(t, lambda i: io[i] - io[i - 1]) if io else None
        return facts.all(), pictures(system_pressure_io_full=drawn)
