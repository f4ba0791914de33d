"""How long the threads of a job run, and how long they wait for a CPU: read within a budget of CPU time.

A job may have thousands of threads, so they are looked at only as often as half a thousandth of a core allows.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from advisor.collect.base import Facts, Sample, rate, read_optional, span, times

THREAD_BUDGET = 0.0005  # share of one core that reading threads may cost
THREAD_PAUSE = 4.0  # seconds: short windows still get their readings, whatever they cost
Row = tuple[int, int, int, int]  # run ns, wait ns, preemptions, times it was given a CPU
LEAST_ACTIVE = 0.01  # of one core: below it the share of waiting is noise


class Threads:
    """Cumulative run time, run-queue delay and preemptions over all threads, read within a budget of CPU time."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc
        self._last: dict[int, dict[int, Row]] = {}  # by process and thread
        self._stats: dict[int, str] = {}  # the process's stat when its threads were read last
        self._totals = [0, 0, 0]
        self._started: float | None = None
        self._due = 0.0

    def read(self, stats: Mapping[int, str]) -> list[int] | None:
        """[run ns, wait ns, preemptions] since the first call; None when it is not time or not possible.

        Args:
            stats: by process its /proc/pid/stat; where that has not changed, no thread has run.
        """
        now = time.monotonic()
        if now < self._due:
            return None
        before = time.thread_time()
        ran = [pid for pid, stat in stats.items() if self._stats.get(pid) != stat]
        current = {pid: self._threads(pid) for pid in ran}
        if not any(current.values()) and not self._last:
            return None
        if self._started is None:
            self._started, self._last = now, current
        for pid, threads in current.items():
            before_that = self._last.get(pid, {})
            for tid, row in threads.items():
                known = before_that.get(tid, (0, 0, 0, 0))  # a thread born since: its whole life is new
                for i in range(3):
                    self._totals[i] += max(0, row[i] - known[i])
        self._last = {pid: current.get(pid) or self._last.get(pid, {}) for pid in stats}
        self._stats = dict(stats)
        longest = max(THREAD_PAUSE, (now - self._started) / 5)
        self._due = now + min(longest, (time.thread_time() - before) / THREAD_BUDGET)
        return list(self._totals)

    def _threads(self, pid: int) -> dict[int, Row]:
        found = {}
        last = self._last.get(pid, {})
        folder = f"{self._proc}/{pid}/task"
        try:
            names = os.listdir(folder)
        except OSError:
            return {}
        for name in names:
            ran = read_optional(f"{folder}/{name}/schedstat")
            row = self._row(f"{folder}/{name}", ran, last.get(int(name))) if ran else None
            if row:
                found[int(name)] = row
        return found

    def _row(self, folder: str, schedstat: str, before: Row | None) -> Row | None:
        run, wait, slices = map(int, schedstat.split())
        if before and (before[0], before[3]) == (run, slices):
            return before  # it has not run since, so nothing preempted it
        status = read_optional(f"{folder}/status")
        preempted = (status or "").rpartition("nonvoluntary_ctxt_switches:")[2]
        return (run, wait, int(preempted or 0), slices) if status else None


def waiting(facts: Facts, samples: Sequence[Sample], cpus: int | None) -> None:
    """Preemptions, the share of time runnable threads waited, and how many there were per CPU that they may use."""
    scans = [s for s in samples if s.get("threads")]
    if len(scans) < 2 or span(scans) <= 0:
        return
    t = times(scans)
    run, wait, preempted = (rate(t, [s["threads"][i] for s in scans]) or 0.0 for i in range(3))
    facts.add("process.context_switches.involuntary.rate", preempted, "{context_switch}/s")
    runnable = (run + wait) / 1e9  # threads that ran or could have run, on average
    if runnable >= LEAST_ACTIVE:
        facts.share("process.run_delay.fraction", wait / (run + wait))
    if cpus:
        facts.add("process.thread.runnable.per_cpu", runnable / cpus, "{thread}")
