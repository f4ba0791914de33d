"""Sets of intervals of time: disjoint, sorted, as two arrays; and how long they are within others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.readers.trace.arrays import Floats, Mask


@dataclass(frozen=True, slots=True)
class Intervals:
    """Disjoint intervals, sorted; microseconds."""

    start: Floats
    end: Floats

    @property
    def length(self) -> float:
        """Total length."""
        return float((self.end - self.start).sum())

    def hold(self, times: Floats) -> Mask:
        """Whether each of `times` lies in one of them."""
        at = np.searchsorted(self.start, times, "right") - 1
        return np.asarray((at >= 0) & (times < self.end[np.maximum(at, 0)]))

    def before(self, times: Floats) -> Floats:
        """Total length of the intervals before each of `times`."""
        if not self.start.size:
            return np.zeros(times.shape)
        ends = np.r_[0.0, np.cumsum(self.end - self.start)]
        at = np.searchsorted(self.start, times, "right")
        beyond = np.where(at > 0, np.maximum(self.end[at - 1] - times, 0.0), 0.0)
        return np.asarray(ends[at] - beyond)

    def within(self, other: Intervals) -> float:
        """Length of what lies in both."""
        return float((self.before(other.end) - self.before(other.start)).sum())

    def each(self, other: Intervals) -> Floats:
        """Length of what lies in each interval of `other`."""
        return self.before(other.end) - self.before(other.start)

    def gaps(self, window: Intervals) -> Intervals:
        """What is between the intervals, inside of the windows."""
        return window.shared(Intervals(np.r_[-np.inf, self.end], np.r_[self.start, np.inf]))

    def shared(self, other: Intervals) -> Intervals:
        """What lies in both: of two sets never more than two intervals overlap, so each meeting has two ends."""
        start = np.sort(np.concatenate([self.start, other.start]))[1:]
        end = np.sort(np.concatenate([self.end, other.end]))[:-1]
        kept = start < end
        return Intervals(start[kept], end[kept])


def union(start: Floats, end: Floats) -> Intervals:
    """The times that any of the intervals covers; they may overlap and be in any order."""
    if not start.size:
        return Intervals(np.empty(0), np.empty(0))
    if start.size > 1 and (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        start, end = start[order], end[order]
    reach = np.maximum.accumulate(end)
    first = np.flatnonzero(np.r_[True, start[1:] > reach[:-1]])
    last = np.r_[first[1:] - 1, start.size - 1]
    return Intervals(start[first], reach[last])


def joined(*parts: Intervals) -> Intervals:
    """The times that any of them covers."""
    return union(np.concatenate([p.start for p in parts]), np.concatenate([p.end for p in parts]))
