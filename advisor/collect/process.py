"""The tree of processes under one root: CPU, memory, faults, storage, descriptors, what they wait for.

Every process is read with three small /proc files per sample, which stay open.
Counters of children that exited are found again in their parents, so rates never fall below zero.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from advisor.collect.base import (
    Facts,
    Kept,
    NotYet,
    Parsed,
    Sample,
    growth,
    mean,
    picture,
    pictures,
    ratio,
    read_optional,
    span,
    steps,
    times,
)
from advisor.collect.main_thread import MainThreads, main_thread
from advisor.collect.threads import Threads, waiting
from advisor.collect.trend import rising, trend
from advisor.collect.waits import Looks, waits

# One process in a sample: these numbers, space-separated, under the key "pid/start".
FIELDS = ("minflt", "cminflt", "utime", "stime", "cutime", "cstime", "threads", "rss", "anon", "read", "write")
IO_KEYS = ("\nread_bytes: ", "\nwrite_bytes: ")
Row = dict[str, int]

FULL_EVERY = 10  # readings: so often a process that sleeps is read in full
# Of a large job, new processes are looked for in every second reading, and what has slept long is read in every third.
LARGE, SLEPT = 16, 10
TREND_SAMPLES, TREND_SECONDS = 10, 10.0


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


class Process:
    """The tree of `pid`; without one the source is absent."""

    kind = "process"
    origin = "/proc/pid"

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self._pid, self._proc = pid, proc
        self._tree = Tree(pid, proc) if pid is not None else None
        self._threads = Threads(proc)
        self._files = Kept()
        self._main = MainThreads(proc, self._files)
        self._looks = Looks(pid or 0, proc, self._files)
        self._known: set[int] = set()
        self._rows: dict[int, tuple[str, str]] = {}  # process -> its stat and what was made of it
        self._asleep: dict[int, int] = {}  # for how many readings in a row a process has not run
        self._turn = 0

    def read(self) -> Sample:
        """One row per process, what a few of them wait in, and details of the root process."""
        if self._tree is None or self._pid is None:
            raise FileNotFoundError("no process was given, so no job was watched")
        self._turn += 1
        if len(self._known) <= LARGE or self._turn % 2:
            pids = self._tree.refresh()
            self._forget(self._known - pids)
            self._known = pids
        pids = self._known
        texts = {pid: text for pid in sorted(pids) if (text := self._stat(pid))}
        if not texts:
            raise NotYet(f"process {self._pid} is not running")
        stats = {pid: text.rpartition(")")[2].split() for pid, text in texts.items()}
        status = self._text(self._pid, "status") or ""
        uptime = float((self._files.optional(f"{self._proc}/uptime") or "0").split()[0])
        tick = os.sysconf("SC_CLK_TCK")
        return {
            "root": self._pid,
            "procs": {f"{pid}/{field[19]}": self._row(pid, field, texts[pid]) for pid, field in stats.items()},
            "threads": self._threads.read(texts),
            "main": self._main.read(stats, self._pid, uptime, tick),
            "looks": self._looks.read(stats),
            "limits": self._text(self._pid, "limits"),
            "fds": self._descriptors(sorted(stats)),
            "cpus": status.partition("Cpus_allowed_list:")[2].partition("\n")[0].strip() or None,
            "uptime": uptime,
            "tick": tick,
            "page": os.sysconf("SC_PAGE_SIZE"),
        }

    def _text(self, pid: int, file: str) -> str | None:
        return self._files.optional(f"{self._proc}/{pid}/{file}")

    def _stat(self, pid: int) -> str | None:
        """The process's line, or the last one when it has not run for long: its counters add up all the same."""
        if len(self._known) > LARGE and self._asleep.get(pid, 0) >= SLEPT and (pid + self._turn) % 3:
            return self._rows[pid][0]
        text = self._text(pid, "stat")
        slept = text is not None and text == self._rows.get(pid, ("", ""))[0]
        self._asleep[pid] = self._asleep.get(pid, 0) + 1 if slept else 0
        return text

    def _forget(self, pids: set[int]) -> None:
        for pid in pids:
            self._rows.pop(pid, None)
            self._asleep.pop(pid, None)
            for file in ("stat", "statm", "io", "wchan", f"task/{pid}/stat"):
                self._files.close(f"{self._proc}/{pid}/{file}")

    def _row(self, pid: int, field: Sequence[str], stat: str) -> str:
        before, row = self._rows.get(pid, ("", ""))
        if stat == before and (pid + self._turn) % FULL_EVERY:
            return row  # it slept: neither its memory nor its I/O moved
        rss, shared = (self._text(pid, "statm") or "0 0 0").split()[1:3]
        moved = self._text(pid, "io") or ""  # for the owner and root only
        read, write = (moved.partition(key)[2].partition("\n")[0] or "-1" for key in IO_KEYS)
        row = " ".join((*field[7:9], *field[11:15], field[17], rss, str(int(rss) - int(shared)), read, write))
        self._rows[pid] = stat, row
        return row

    def _descriptors(self, pids: Sequence[int]) -> int | None:
        """Open descriptors of the root or of the process whose turn it is, whichever has more."""
        counts = []
        for pid in {self._pid, pids[self._turn % len(pids)]}:
            try:
                counts.append(len(os.listdir(f"{self._proc}/{pid}/fd")))
            except OSError:
                continue  # it has ended, or belongs to another user
        return max(counts, default=None)

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
        waiting(facts, samples, cpu_list(samples[-1]["cpus"]) if samples[-1]["cpus"] else None)
        waits(facts, samples)
        main_thread(facts, samples, tick)
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
    rss = [float(page * sum(row["rss"] for row in r.values())) for r in rows]
    facts.add("process.memory.usage", mean(rss), "By")
    facts.add("process.memory.usage.peak", max(rss), "By")
    if len(rows) >= TREND_SAMPLES and t[-1] >= TREND_SECONDS:
        start = len(rows) // 3  # start-up allocates; a leak goes on afterwards
        anonymous = [float(page * sum(row["anon"] for row in r.values())) for r in rows[start:]]
        facts.add("process.memory.anon.slope", trend(t[start:], anonymous), "By/s")
        facts.add("process.memory.anon.rising.fraction", rising(anonymous), "1")
        facts.add("process.memory.usage.growth", growth(rss), "1")


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
