"""CPU, memory, paging, load and /dev/shm of the whole machine, from /proc.

Direct reads of /proc: one sample costs a tenth of a millisecond. Of the processors that
have a clock in /sys at most eight are asked, every fifth time, because each answer may interrupt that core.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from advisor.collect.base import (
    Facts,
    Kept,
    Parsed,
    Sample,
    keyed,
    mean,
    picture,
    pictures,
    rate,
    ratio,
    read_optional,
    times,
)

MEMINFO = ("MemTotal", "MemAvailable", "Cached", "Dirty", "Writeback", "SwapTotal", "SwapFree")
REFAULT = ("workingset_refault_file", "workingset_refault")  # the second before Linux 5.9
VMSTAT = ("pswpin", "pgmajfault", *REFAULT, "oom_kill")
CLOCKS, CLOCK_EVERY = 8, 5
SATURATED = 0.9


class Host:
    """The machine as a whole."""

    kind = "host"
    origin = "/proc"

    def __init__(self, proc: str = "/proc", sys: str = "/sys", shm: str = "/dev/shm") -> None:
        self._proc, self._sys, self._shm = Path(proc), Path(sys), shm
        self._clocks: list[Path] | None = None
        self._count = 0
        self._files = Kept()

    def read(self) -> Sample:
        """The cpu lines of stat as text, the wanted keys of meminfo and vmstat, load, clocks, shm."""
        stat = self._files.read(f"{self._proc}/stat")
        self._count += 1
        return {
            "stat": stat[: stat.find("intr ")] if "intr " in stat else stat,
            "meminfo": keyed(self._files.read(f"{self._proc}/meminfo"), MEMINFO),
            "vmstat": keyed(self._files.optional(f"{self._proc}/vmstat") or "", VMSTAT),
            "loadavg": self._files.optional(f"{self._proc}/loadavg"),
            "khz": self._read_clocks() if self._count % CLOCK_EVERY == 1 else [],
            "shm": self._read_shm(),
        }

    def _read_clocks(self) -> list[int]:
        if self._clocks is None:
            found = sorted((self._sys / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
            self._clocks = found[:: max(1, len(found) // CLOCKS)][:CLOCKS]
        texts = [read_optional(path) for path in self._clocks]
        return [int(text) for text in texts if text]

    def _read_shm(self) -> list[int] | None:
        try:
            stat = os.statvfs(self._shm)
        except OSError:
            return None
        return [stat.f_frsize * stat.f_blocks, stat.f_frsize * stat.f_bfree]

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Shares and rates over the window; memory that is left is the least seen, what is dirty the most."""
        facts = Facts(self.origin)
        t = times(samples)
        ticks = [cpu_ticks(s["stat"]) for s in samples]
        _cpu(facts, ticks)
        _load(facts, samples, len(ticks[-1]) - 1)
        _memory(facts, samples)
        _paging(facts, samples, t)
        facts.add("system.cpu.frequency", _times(mean(mean(s["khz"]) for s in samples), 1000.0), "Hz")
        shm = [s["shm"] for s in samples if s.get("shm")]
        if shm:
            facts.add("system.filesystem.shm.limit", shm[-1][0], "By")
            facts.share("system.filesystem.shm.utilization", max(1 - ratio_or(free, size) for size, free in shm))
        busy = [usage(a["cpu"], b["cpu"]) for a, b in pairwise(ticks)]
        drawn = picture(t[1:], [u["busy"] if u else None for u in busy])
        return facts.all(), pictures(system_cpu_utilization=drawn)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def ratio_or(part: float, whole: float) -> float:
    """`part` over `whole`, 1 when the whole is zero."""
    return part / whole if whole else 1.0


def cpu_ticks(stat: str) -> dict[str, list[int]]:
    """Tick counters (user nice system idle iowait irq softirq steal) per line of /proc/stat: cpu, cpu0, ..."""
    rows = (line.split() for line in stat.splitlines() if line.startswith("cpu"))
    return {row[0]: [int(x) for x in row[1:9]] for row in rows}


def usage(before: Sequence[int], after: Sequence[int]) -> dict[str, float] | None:
    """Shares of CPU time by mode between two readings; None when no tick passed."""
    grown = [max(0, b - a) for a, b in zip(before, after, strict=True)]  # iowait may step back
    total = sum(grown)
    if not total:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = (g / total for g in grown)
    return {
        "busy": 1.0 - idle - iowait,
        "user": user + nice,
        "system": system,
        "iowait": iowait,
        "interrupt": irq + softirq,
        "steal": steal,
    }


def _cpu(facts: Facts, ticks: Sequence[dict[str, list[int]]]) -> None:
    first, last = ticks[0], ticks[-1]
    facts.add("system.cpu.logical.count", len(last) - 1, "{cpu}")
    whole = usage(first["cpu"], last["cpu"])
    if whole is None:
        return
    facts.share("system.cpu.utilization", whole["busy"])
    for mode in ("user", "system", "iowait", "steal", "interrupt"):
        facts.share(f"system.cpu.{mode}.utilization", whole[mode])
    cores = {name: usage(first[name], last[name]) for name in last if name != "cpu" and name in first}
    busy = {name: core["busy"] for name, core in cores.items() if core}
    facts.add("system.cpu.saturated.count", sum(1 for share in busy.values() if share > SATURATED), "{cpu}")
    if busy:
        busiest = max(busy, key=lambda name: busy[name])
        facts.share("system.cpu.core.utilization.max", busy[busiest], busiest)


def _load(facts: Facts, samples: Sequence[Sample], cpus: int) -> None:
    text = samples[-1].get("loadavg")
    if text and cpus:
        facts.add("system.load.per_cpu", float(text.split()[0]) / cpus, "1")


def _memory(facts: Facts, samples: Sequence[Sample]) -> None:
    kib = [s["meminfo"] for s in samples]
    total = kib[-1].get("MemTotal")
    available = min((m["MemAvailable"] for m in kib if "MemAvailable" in m), default=None)
    facts.add("system.memory.limit", _times(total, 1024.0), "By")
    facts.add("system.memory.available", _times(available, 1024.0), "By")
    facts.share("system.memory.available.fraction", ratio(available, total))
    facts.add("system.memory.cached", _times(kib[-1].get("Cached"), 1024.0), "By")
    dirty = max((m["Dirty"] + m.get("Writeback", 0) for m in kib if "Dirty" in m), default=None)
    facts.add("system.memory.dirty", _times(dirty, 1024.0), "By")
    facts.add("system.memory.oom_kills", samples[-1]["vmstat"].get("oom_kill"), "{kill}")


def _refault(vmstat: dict[str, int]) -> str:
    return next((key for key in REFAULT if key in vmstat), REFAULT[0])


def _paging(facts: Facts, samples: Sequence[Sample], t: Sequence[float]) -> None:
    swap = samples[-1]["meminfo"]
    if swap.get("SwapTotal"):
        facts.share("system.paging.utilization", 1 - swap["SwapFree"] / swap["SwapTotal"])
    elif "SwapTotal" in swap:
        facts.share("system.paging.utilization", 0.0)
    for key, name, unit in (
        ("pswpin", "system.paging.swap_in.rate", "{page}/s"),
        ("pgmajfault", "system.paging.major_faults.rate", "{fault}/s"),
        (_refault(samples[0]["vmstat"]), "system.paging.refault.rate", "{page}/s"),
    ):
        values = [s["vmstat"][key] for s in samples if key in s["vmstat"]]
        if len(values) == len(samples):
            facts.add(name, rate(t, values), unit)
