"""Which stretch of a trace is looked at: the profiler's steps, or what comes closest to them.

The rule is the one of the TensorBoard plugin: a step is a ``ProfilerStep#N`` of the main thread, and it ends when
the last work ends that was launched in it; what comes later starts no earlier than that. The first step starts
when its CPU work does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from advisor.readers.trace.arrays import Floats, Mask
from advisor.readers.trace.intervals import Intervals
from advisor.readers.trace.load import Spans, Trace

_STEP = re.compile(r"ProfilerStep[#*]?\s*\d*$")


@dataclass(frozen=True, slots=True)
class Window:
    """What is looked at.

    Args:
        spans: the steps, or one span; disjoint and sorted, microseconds.
        marked: the steps as the CPU marks them, before they are extended; else the same span.
        steps: whether they are steps.
        thread: the thread that the steps ran on, None when there are none.
        rule: how the window was found, for people.
    """

    spans: Intervals
    marked: Intervals
    steps: bool
    thread: int | None
    rule: str

    @property
    def length(self) -> float:
        """Microseconds."""
        return self.spans.length

    @property
    def count(self) -> int:
        """Number of steps, 1 for a span."""
        return int(self.spans.start.size)

    def holds(self, times: Floats) -> Mask:
        """Whether each of `times` lies in the window."""
        return self.spans.hold(times)


def find(trace: Trace, launched_by: Floats) -> Window | None:
    """The window of a trace; None when nothing in it takes time.

    Args:
        trace: all events.
        launched_by: for each work on a device the start of the call that launched it, NaN when that is not known.
    """
    steps = _steps(trace)
    if len(steps):
        return _of_steps(trace, steps, launched_by)
    if len(trace.device) and float(trace.device.end.max()) > float(trace.device.start.min()):
        return _span(trace.device.start, trace.device.end, "no profiler steps: from the first to the last GPU work")
    spans = [s for s in (trace.ops, trace.notes, trace.calls) if len(s)]
    if not spans:
        return None
    start = np.concatenate([s.start for s in spans])
    end = np.concatenate([s.end for s in spans])
    return _span(start, end, "no profiler steps and no GPU work: from the first to the last operator")


def _span(start: Floats, end: Floats, rule: str) -> Window | None:
    first, last = float(start.min()), float(end.max())
    span = Intervals(np.array([first]), np.array([last]))
    return Window(span, span, False, None, rule) if last > first else None


def _steps(trace: Trace) -> Spans:
    """The steps of the thread that spent most time in steps, without those inside of others."""
    named = trace.names.like(_STEP)
    every = max((spans.only(named[spans.name]) for spans in (trace.notes, trace.ops)), key=len)
    if not len(every):
        return every
    threads = np.unique(every.thread)
    busiest = max(threads, key=lambda t: float((every.end - every.start)[every.thread == t].sum()))
    mine = every.only(every.thread == busiest)
    reach = np.maximum.accumulate(np.r_[-np.inf, mine.end[:-1]])
    return mine.only((mine.start >= reach) & (mine.end > mine.start))


def _of_steps(trace: Trace, steps: Spans, launched_by: Floats) -> Window:
    """The steps, each until the last work that was launched in it ends."""
    index = np.searchsorted(steps.start, launched_by, "right") - 1
    inside = (index >= 0) & (launched_by < steps.end[np.maximum(index, 0)])  # NaN compares as False
    reach = np.full(len(steps), -np.inf)
    np.maximum.at(reach, index[inside], trace.device.end[inside])
    used = np.flatnonzero(np.isfinite(reach))
    if used.size:  # steps after the last that launched anything are the profiler's own end
        steps, reach = steps.only(np.arange(used[-1] + 1)), reach[: used[-1] + 1]
    end = np.maximum.accumulate(np.maximum(steps.end, reach))
    start = np.maximum(steps.start, np.r_[-np.inf, end[:-1]])
    kept = end > start
    rule = "steps as ProfilerStep marks them, each to the end of the last GPU work launched in it"
    if not used.size:
        rule = "steps as ProfilerStep marks them"
    marked = Intervals(steps.start, steps.end)
    return Window(Intervals(start[kept], end[kept]), marked, True, int(steps.thread[0]), rule)
