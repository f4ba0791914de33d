"""One GPU in its window, and where it was idle.

The window is that of the steps where steps are marked, else it reaches from the first to the last operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.readers.profilers.timeline import Bools, Calls, Gpu, Ints, Ops, Spans, clipped, ints, merged


@dataclass(frozen=True)
class Steps:
    """Steps of a run as somebody marked them: start and end of each, ns, and the name."""

    start: Ints
    end: Ints
    name: str

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.start)

    @property
    def window(self) -> tuple[int, int]:
        """From the start of the first to the end of the last, ns."""
        return int(self.start.min()), int(self.end.max())


NO_STEPS = Steps(ints(), ints(), "")


@dataclass(frozen=True)
class View:
    """One GPU in its window."""

    gpu: Gpu
    ops: Ops
    calls: Calls
    low: int
    high: int
    steps: Steps

    @property
    def lasts(self) -> int:
        """Length of the window, ns."""
        return max(self.high - self.low, 1)

    def union(self, chosen: Bools) -> Spans:
        """When at least one of some operations was going on."""
        return merged(self.ops.start[chosen], self.ops.end[chosen])

    def asked(self, *kinds: int) -> Spans:
        """When the host was in calls of these kinds, in the window."""
        rows = np.isin(self.calls.kind, kinds)
        return clipped(self.calls.start[rows], self.calls.end[rows], self.low, self.high)


def view(gpu: Gpu, steps: Steps) -> View:
    """The GPU in the window of the steps, or in that of all that it did when there are none or none it took part in."""
    low, high = gpu.span
    if steps.count:
        low, high = steps.window
        late = gpu.calls.start[np.maximum(gpu.ops.call, 0)] if len(gpu.calls.start) else gpu.ops.start
        asked = gpu.ops.take((gpu.ops.call >= 0) & (late >= low) & (late < high))
        high = max(high, int(asked.end.max(initial=high)))  # the last step ends when its work is done
    inside = gpu.ops.within(low, high)
    if not len(inside.start) and steps.count:
        return view(gpu, NO_STEPS)
    calls = gpu.calls.of(gpu.processes) if len(gpu.processes) else gpu.calls
    return View(gpu, inside, calls, low, high, steps)


@dataclass(frozen=True)
class Gaps:
    """Idle gaps between operations: when each begins, how long it is, and the call that asked for what ends it."""

    start: Ints
    lasts: Ints
    call: Ints


def gaps(v: View) -> Gaps:
    """Idle times of a GPU between its operations."""
    if len(v.ops.start) < 2:
        return Gaps(ints(), ints(), ints())
    reached = np.maximum.accumulate(v.ops.end)
    after = np.flatnonzero(v.ops.start[1:] > reached[:-1]) + 1
    return Gaps(reached[after - 1], v.ops.start[after] - reached[after - 1], v.ops.call[after])


def longest_gap(v: View) -> tuple[float, float]:
    """The longest time without work: when it begins, after the begin of the window, and how long it is, s."""
    found = gaps(v)
    if not len(found.lasts):
        return 0.0, 0.0
    at = int(found.lasts.argmax())
    return float(found.start[at] - v.low) * 1e-9, float(found.lasts[at]) * 1e-9
