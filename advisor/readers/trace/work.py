"""One trace, made ready: the window, the device that is looked at, what launched its work, and what that work is."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from advisor.readers.trace import window
from advisor.readers.trace.arrays import Column, Floats, Ints, Mask
from advisor.readers.trace.categories import COPY, KERNEL
from advisor.readers.trace.intervals import Intervals, union
from advisor.readers.trace.kernels import COMM, classes
from advisor.readers.trace.load import Device, Spans, Trace
from advisor.readers.trace.window import Window

_OPTIMIZER = re.compile(r"Optimizer\.step#")
# What the accelerators of Meta record between pieces of work: waiting is no work.
_MARKS = re.compile(r"event_(wait|record)$")


@dataclass(frozen=True, slots=True)
class Work:
    """What the formulas look at.

    Args:
        trace: everything.
        window: the stretch that facts are about.
        gpu: the work of the one device that most was done on.
        devices: how many devices did work.
        call: for each work the place of the call in `trace.calls` that launched it, -1 when that is not known.
        classes: for each work the bits of what its name says (see kernels).
    """

    trace: Trace
    window: Window
    gpu: Device
    devices: int
    call: Ints
    classes: Column

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.window.length * 1e-6

    @property
    def step_times(self) -> Floats:
        """Seconds of each step; without profiler steps those between the ends of optimizer steps, if there are any."""
        if self.window.steps:
            return (self.window.spans.end - self.window.spans.start) * 1e-6
        return np.diff(np.sort(self.optimizer_steps.end)) * 1e-6

    @property
    def optimizer_steps(self) -> Spans:
        """Steps of optimizers in the window."""
        best = self.noted(_OPTIMIZER)
        return best.only(self.window.holds(best.start))

    def per_step(self, total: float) -> float | None:
        """A total over the window, per step; None when there is no telling how many steps there were."""
        steps = self.window.count if self.window.steps else len(self.optimizer_steps)
        return total / steps if steps else None

    @property
    def every(self) -> Mask:
        """All work."""
        return np.ones(len(self.gpu), np.bool_)

    @property
    def computing(self) -> Mask:
        """Kernels that compute, and memory that is set."""
        return np.asarray((self.gpu.kind != COPY) & ((self.classes & COMM) == 0))

    @property
    def communicating(self) -> Mask:
        """Kernels of collectives."""
        return np.asarray((self.gpu.kind == KERNEL) & ((self.classes & COMM) != 0))

    @property
    def copying(self) -> Mask:
        """Copies by the copy engines."""
        return np.asarray(self.gpu.kind == COPY)

    def kernels(self, bits: int) -> Mask:
        """Kernels whose names say any of `bits`."""
        return np.asarray((self.gpu.kind == KERNEL) & ((self.classes & bits) != 0))

    def when(self, which: Mask) -> Intervals:
        """The times at which any of the work runs for which the mask holds."""
        return union(self.gpu.start[which], self.gpu.end[which])

    def share(self, these: Intervals) -> float:
        """Share of the window that intervals cover."""
        return these.within(self.window.spans) / self.window.length

    def named(self, spans: Spans, pattern: re.Pattern[str]) -> Spans:
        """The spans whose names match."""
        return spans.only(self.trace.names.like(pattern)[spans.name])

    def noted(self, pattern: re.Pattern[str]) -> Spans:
        """Annotations whose names match: versions write some of them as annotations, some as operators."""
        return max((self.named(spans, pattern) for spans in (self.trace.notes, self.trace.ops)), key=len)

    def launched(self, begin: bool = True) -> Floats:
        """When the call began (or ended) that launched each work; NaN when that is not known."""
        return launch_times(self.trace, self.call, begin)


def prepare(trace: Trace) -> Work | None:
    """A trace made ready; None when nothing in it takes time."""
    call = _calls(trace)
    found = window.find(trace, launch_times(trace, call))
    if found is None:
        return None
    real = ~trace.names.like(_MARKS)[trace.device.name]
    used, index = np.unique(trace.device.device[real], return_inverse=True)
    mine = real.copy()
    if used.size > 1:
        busy = np.bincount(index, (trace.device.end - trace.device.start)[real])
        mine &= trace.device.device == used[int(busy.argmax())]
    gpu = trace.device.only(mine)
    bits = classes(trace.names, gpu.name) if len(gpu) else np.empty(0, np.uint8)
    return Work(trace, found, gpu, int(used.size), call[mine], bits)


def launch_times(trace: Trace, call: Ints, begin: bool = True) -> Floats:
    """Start (or end) of the call at each place, NaN for -1."""
    times = trace.calls.start if begin else trace.calls.end
    if not times.size:
        return np.full(call.size, np.nan)
    return np.where(call >= 0, times[np.maximum(call, 0)], np.nan)


def _calls(trace: Trace) -> Ints:
    """For each work on a device the call with the same link, -1 when there is none."""
    known = np.flatnonzero(np.isfinite(trace.link) & (trace.link > 0))
    if not known.size or not len(trace.device):
        return np.full(len(trace.device), -1)
    order = known[np.argsort(trace.link[known], kind="stable")]
    links = trace.link[order]
    at = np.minimum(np.searchsorted(links, trace.device.link), links.size - 1)
    return np.where(links[at] == trace.device.link, order[at], -1)


def inside(spans: Spans, times: Floats, threads: Column | None = None) -> Ints:
    """For each time the place of the span it falls into, -1 for none; spans of one thread must not overlap.

    Args:
        spans: sorted by start.
        times: microseconds.
        threads: the thread of each time; None when the thread does not matter.
    """
    found = np.full(times.size, -1)
    for thread in np.unique(spans.thread) if threads is not None else (None,):
        rows = np.flatnonzero(spans.thread == thread) if thread is not None else np.arange(len(spans))
        mine = np.flatnonzero(threads == thread) if threads is not None else np.arange(times.size)
        if not rows.size or not mine.size:
            continue
        at = np.searchsorted(spans.start[rows], times[mine], "right") - 1
        hit = (at >= 0) & (times[mine] <= spans.end[rows[np.maximum(at, 0)]])
        found[mine[hit]] = rows[at[hit]]
    return found
