"""The tree of processes under one root: CPU, memory, faults, storage, descriptors, waiting for a CPU.

Every process is read with three small /proc files per sample. Threads are read only as
often as one thousandth of a core allows, because a job may have thousands of them.
Counters of children that exited are found again in their parents, so rates never fall below zero.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from advisor.collect.base import (
    Facts,
    NotYet,
    Parsed,
    Sample,
    mean,
    picture,
    pictures,
    rate,
    ratio,
    read_optional,
    slope,
    span,
    steps,
    times,
)

# One process in a sample: these numbers, space-separated, under the key "pid/start".
FIELDS = ("minflt", "cminflt", "utime", "stime", "cutime", "cstime", "threads", "rss", "anon", "read", "write")
IO_KEYS = ("\nread_bytes: ", "\nwrite_bytes: ")
Row = dict[str, int]

TREND_SAMPLES, TREND_SECONDS = 10, 10.0
THREAD_BUDGET = 0.001  # share of one core that reading threads may cost
THREAD_PAUSE = 4.0  # seconds: short windows still get their readings, whatever they cost
LEAST_ACTIVE = 0.01  # of one core: below it the share of waiting is noise


class Tree:
    """The processes under `pid`; each remembered with its start time until it is gone.

    Only processes that are new since the last look are examined, so the cost does not grow
    with what else runs on the machine. A process whose parent exits stays in the tree.
    """

    def __init__(self, pid: int, proc: str = "/proc") -> None:
        self.root = pid
        self._proc = Path(proc)
        self._inside: set[int] = set()
        self._outside: set[int] = set()

    def refresh(self) -> set[int]:
        """The process ids of the tree now; empty when the root was never there or all have ended."""
        alive = {int(name) for name in os.listdir(self._proc) if name.isdigit()}
        self._inside &= alive
        self._outside &= alive
        if self.root in alive:
            self._inside.add(self.root)
        parents = {pid: self._parent(pid) for pid in alive - self._inside - self._outside}
        grew = True
        while grew:
            joined = {pid for pid, parent in parents.items() if parent in self._inside} - self._inside
            self._inside |= joined
            grew = bool(joined)
        self._outside |= parents.keys() - self._inside
        return set(self._inside)

    def _parent(self, pid: int) -> int:
        text = read_optional(self._proc / str(pid) / "stat")
        return int(text.rpartition(")")[2].split()[1]) if text else 0


class Threads:
    """Cumulative run time, run-queue delay and preemptions over all threads, read within a budget of CPU time."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = Path(proc)
        self._last: dict[int, tuple[int, int, int]] = {}
        self._totals = [0, 0, 0]
        self._started: float | None = None
        self._due = 0.0

    def read(self, pids: set[int]) -> list[int] | None:
        """[run ns, wait ns, preemptions] since the first call; None when it is not time or not possible."""
        now = time.monotonic()
        if now < self._due:
            return None
        before = time.thread_time()
        current = {tid: row for pid in pids for tid, row in self._threads(pid)}
        if not current:
            return None
        if self._started is None:
            self._started, self._last = now, current
        for tid, row in current.items():
            known = self._last.get(tid, (0, 0, 0))  # a thread born since: its whole life is new
            for i in range(3):
                self._totals[i] += max(0, row[i] - known[i])
        self._last = current
        longest = max(THREAD_PAUSE, (now - self._started) / 10)
        self._due = now + min(longest, (time.thread_time() - before) / THREAD_BUDGET)
        return list(self._totals)

    def _threads(self, pid: int) -> list[tuple[int, tuple[int, int, int]]]:
        found = []
        folder = self._proc / str(pid) / "task"
        try:
            names = os.listdir(folder)
        except OSError:
            return []
        for name in names:
            times_ns, status = (read_optional(f"{folder}/{name}/{file}") for file in ("schedstat", "status"))
            if times_ns and status:
                run, wait = times_ns.split()[:2]
                preempted = status.rpartition("nonvoluntary_ctxt_switches:")[2]
                found.append((int(name), (int(run), int(wait), int(preempted or 0))))
        return found


class Process:
    """The tree of `pid`; without one the source is absent."""

    kind = "process"
    origin = "/proc/pid"

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self._pid, self._proc = pid, Path(proc)
        self._tree = Tree(pid, proc) if pid is not None else None
        self._threads = Threads(proc)

    def read(self) -> Sample:
        """One row per process, and details of the root process."""
        if self._tree is None:
            raise FileNotFoundError("no process was given, so no job was watched")
        pids = self._tree.refresh()
        rows = dict(filter(None, (self._row(pid) for pid in sorted(pids))))
        if not rows:
            raise NotYet(f"process {self._pid} is not running")
        root = self._proc / str(self._pid)
        status = read_optional(root / "status") or ""
        return {
            "root": self._pid,
            "procs": rows,
            "threads": self._threads.read(pids),
            "limits": read_optional(root / "limits"),
            "fds": self._descriptors(root),
            "cpus": status.partition("Cpus_allowed_list:")[2].partition("\n")[0].strip() or None,
            "uptime": float((read_optional(self._proc / "uptime") or "0").split()[0]),
            "tick": os.sysconf("SC_CLK_TCK"),
            "page": os.sysconf("SC_PAGE_SIZE"),
        }

    def _row(self, pid: int) -> tuple[str, str] | None:
        folder = f"{self._proc}/{pid}"
        stat = read_optional(f"{folder}/stat")
        if not stat:
            return None  # it ended between the listing and the reading
        field = stat.rpartition(")")[2].split()
        rss, shared = (read_optional(f"{folder}/statm") or "0 0 0").split()[1:3]
        moved = read_optional(f"{folder}/io") or ""  # for the owner and root only
        read, write = (moved.partition(key)[2].partition("\n")[0] or "-1" for key in IO_KEYS)
        values = (*field[7:9], *field[11:15], field[17], rss, str(int(rss) - int(shared)), read, write)
        return f"{pid}/{field[19]}", " ".join(values)

    def _descriptors(self, root: Path) -> int | None:
        try:
            return len(os.listdir(root / "fd"))
        except OSError:
            return None

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Rates over the window; memory as the mean and the peak; threads and descriptors as the most seen."""
        facts = Facts(self.origin)
        t = times(samples)
        rows = [{pid: _numbers(row) for pid, row in s["procs"].items()} for s in samples]
        tick, page = samples[0]["tick"], samples[0]["page"]
        cpu = [_grown(a, b, ("utime", "stime"), ("cutime", "cstime")) / tick for a, b in pairwise(rows)]
        faults = [_grown(a, b, ("minflt",), ("cminflt",)) for a, b in pairwise(rows)]
        facts.add("process.count", max(len(r) for r in rows), "{process}")
        facts.add("process.cpu.utilization", _per_second(cpu, samples), "{cpu}")
        facts.add("process.paging.minor_faults.rate", _per_second(faults, samples), "{fault}/s")
        _memory(facts, rows, t, page)
        _storage(facts, rows, samples)
        _waiting(facts, samples)
        _largest(facts, rows)
        _root(facts, samples, tick)
        rss = [float(page * sum(row["rss"] for row in r.values())) for r in rows]
        drawn = steps(t, lambda i: cpu[i - 1])
        return facts.all(), pictures(process_cpu_utilization=drawn, process_memory_usage=picture(t, rss))


def _numbers(row: str) -> Row:
    return dict(zip(FIELDS, map(int, row.split()), strict=True))


def _per_second(grown: Sequence[float | None], samples: Sequence[Sample]) -> float | None:
    return ratio(sum(g or 0.0 for g in grown), span(samples)) if grown else None


def _grown(before: Mapping[str, Row], after: Mapping[str, Row], own: Sequence[str], reaped: Sequence[str]) -> float:
    """Growth of a counter over the tree between two samples.

    `own` counts what a process did itself, `reaped` what its waited-for children did: when a
    child ends, the kernel moves its total there, and what of it was counted before is taken off.
    """
    did = sum(max(0, row[f] - before[pid][f] if pid in before else row[f]) for pid, row in after.items() for f in own)
    inherited = sum(row[f] - (before[pid][f] if pid in before else 0) for pid, row in after.items() for f in reaped)
    counted = sum(row[f] for pid, row in before.items() if pid not in after for f in (*own, *reaped))
    return did + max(0, inherited - counted)


def _memory(facts: Facts, rows: Sequence[Mapping[str, Row]], t: Sequence[float], page: int) -> None:
    rss = [page * sum(row["rss"] for row in r.values()) for r in rows]
    facts.add("process.memory.usage", mean(rss), "By")
    facts.add("process.memory.usage.peak", max(rss), "By")
    if len(rows) >= TREND_SAMPLES and t[-1] >= TREND_SECONDS:
        start = len(rows) // 3  # start-up allocates; a leak goes on afterwards
        anonymous = [float(page * sum(row["anon"] for row in r.values())) for r in rows[start:]]
        facts.add("process.memory.anon.slope", slope(t[start:], anonymous), "By/s")
        facts.add("process.memory.anon.rising.fraction", rising(anonymous), "1")


def rising(values: Sequence[float]) -> float | None:
    """How many of the ten parts of a window have a higher floor than the one before; None for fewer than 20 values.

    A leak raises nearly every floor, a one-off allocation only one: a slope alone cannot tell them apart.

    >>> rising([float(i) for i in range(100)]), round(rising([1.0] * 80 + [9.0] * 20), 2), rising([1.0] * 5)
    (1.0, 0.11, None)
    """
    if len(values) < 20:
        return None
    floors = [min(values[i * len(values) // 10 : (i + 1) * len(values) // 10]) for i in range(10)]
    return sum(b > a for a, b in pairwise(floors)) / 9


def _storage(facts: Facts, rows: Sequence[Mapping[str, Row]], samples: Sequence[Sample]) -> None:
    for field, name in (("read", "process.disk.read.rate"), ("write", "process.disk.write.rate")):
        if any(row[field] < 0 for r in rows[:1] for row in r.values()):
            continue  # not permitted
        grown = [_moved(a, b, field) for a, b in pairwise(rows)]
        facts.add(name, _per_second(grown, samples), "By/s")


def _moved(before: Mapping[str, Row], after: Mapping[str, Row], field: str) -> float:
    """Bytes between two samples; the counter of a parent includes its ended children."""
    kept = sum(max(0, row[field]) - (max(0, before[pid][field]) if pid in before else 0) for pid, row in after.items())
    ended = sum(max(0, row[field]) for pid, row in before.items() if pid not in after)
    return max(0, kept - ended)


def _waiting(facts: Facts, samples: Sequence[Sample]) -> None:
    scans = [s for s in samples if s.get("threads")]
    if len(scans) < 2 or span(scans) <= 0:
        return
    t = times(scans)
    run, wait, preempted = (rate(t, [s["threads"][i] for s in scans]) or 0.0 for i in range(3))
    facts.add("process.context_switches.involuntary.rate", preempted, "{context_switch}/s")
    runnable = (run + wait) / 1e9  # threads that ran or could have run, on average
    if runnable >= LEAST_ACTIVE:
        facts.share("process.run_delay.fraction", wait / (run + wait))
    if scans[-1]["cpus"]:
        facts.add("process.thread.runnable.per_cpu", runnable / cpu_list(scans[-1]["cpus"]), "{thread}")


def cpu_list(text: str) -> int:
    """How many CPUs a kernel list such as ``0-3,8`` names."""
    ends = (part.partition("-") for part in text.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ends)


def _largest(facts: Facts, rows: Sequence[Mapping[str, Row]]) -> None:
    threads, pid = max((row["threads"], pid) for r in rows for pid, row in r.items())
    facts.add("process.thread.count", threads, "{thread}", f"process {pid.partition('/')[0]}")


def _root(facts: Facts, samples: Sequence[Sample], tick: int) -> None:
    seen = [s for s in samples if s["limits"]]
    if not seen:
        return
    opened = max((s["fds"] for s in seen if s["fds"] is not None), default=None)
    soft = _limit(seen[-1]["limits"], "Max open files")
    facts.add("process.open_file_descriptor.count", opened, "{file_descriptor}")
    facts.add("process.open_file_descriptor.limit", soft, "{file_descriptor}")
    facts.share("process.open_file_descriptor.utilization", ratio(opened, soft))
    facts.add("process.memlock.limit", _limit(seen[-1]["limits"], "Max locked memory"), "By")
    last = seen[-1]
    started = next((int(pid.partition("/")[2]) for pid in last["procs"] if pid.startswith(f"{last['root']}/")), None)
    if started is not None and last["uptime"]:
        facts.add("process.uptime", max(0.0, last["uptime"] - started / tick), "s")


def _limit(limits: str, name: str) -> int | None:
    soft = limits.partition(name)[2].split(maxsplit=1)[:1]
    return int(soft[0]) if soft and soft[0].isdigit() else None
