"""Files of /proc and of control groups: stat, pressure, loadavg, cpuinfo, uptime, cpu.stat, memory.events, ..."""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.readers.host.cpu import busy, each
from advisor.readers.host.part import Part, Shared, mean, number
from advisor.readers.rows import Row, row, share

USER_HZ = 100  # ticks a second in /proc/stat, on every architecture that trains models
UNLIMITED = 1 << 60
FACTS = {("cpu", "some"), ("memory", "some"), ("memory", "full"), ("io", "some"), ("io", "full")}
GROUP_FACTS = {("cpu", "some"), ("memory", "full"), ("io", "full")}
LINE = re.compile(
    r"^(?P<path>[^\n ]{0,200}?(?P<name>cpu|io|irq|memory)(?:\.pressure)?:)?"
    r"(?P<kind>some|full) avg10=[\d.]{1,8} avg60=(?P<mean>[\d.]{1,8}) ",
    re.MULTILINE,
)


def stat(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/stat: shares of CPU time since boot, and processes that wait for storage now."""
    ticks = {
        m[1]: [int(x) for x in m[2].split()]
        for m in re.finditer(r"^(cpu\d{0,5}) {1,2}((?:\d{1,20} ){3,9}\d{1,20}) ?$", part.text, re.MULTILINE)
    }
    whole = ticks.get("cpu")
    cores = {name: values for name, values in ticks.items() if name != "cpu"}
    if whole and sum(whole[:8]):
        shared.notes.append("/proc/stat: mean since boot")
        user, system, idle, iowait, steal, interrupt = _modes(whole)
        yield from busy(user, system, idle, iowait, steal, interrupt)
    if cores:
        shared.cpus = float(len(cores))
        yield from each({name: _taken(values) for name, values in cores.items()})
    blocked = re.search(r"^procs_blocked (\d{1,9})$", part.text, re.MULTILINE)
    yield row("system.process.blocked.count", int(blocked[1]) if blocked else None, "{process}")


def uptime_of_ticks(text: str) -> float | None:
    """Seconds since boot by the ticks of the CPU that has most, in /proc/stat."""
    ticks = [
        sum(int(x) for x in m[1].split()[:8])
        for m in re.finditer(r"^cpu\d{1,5} ((?:\d{1,20} ){3,9}\d{1,20}) ?$", text, re.MULTILINE)
    ]
    return max(ticks, default=0) / USER_HZ or None


def _modes(ticks: list[int]) -> tuple[float, float, float, float, float, float]:
    """User, system, idle, iowait, steal and interrupts in percent; old kernels count fewer modes."""
    user, nice, system, idle, iowait, irq, softirq, steal = (
        100 * t / sum(ticks[:8]) for t in (*ticks[:8], *[0] * (8 - len(ticks[:8])))
    )
    return user + nice, system, idle, iowait, steal, irq + softirq


def _taken(ticks: list[int]) -> float:
    total = sum(ticks[:8])
    return 100 * (1 - sum(ticks[3:5]) / total) if total else 0.0


def uptime(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/uptime."""
    told = re.search(r"^(\d{1,10}\.\d\d) \d{1,14}\.\d\d\s*$", part.text, re.MULTILINE)
    if told:
        shared.uptime = float(told[1])
    yield from ()


def loadavg(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/loadavg."""
    told = re.search(
        r"^(\d{1,7}\.\d\d) \d{1,7}\.\d\d \d{1,7}\.\d\d \d{1,7}/\d{1,8} \d{1,9}\s*$", part.text, re.MULTILINE
    )
    if told:
        shared.load = float(told[1]), part.at(told.start())
    yield from ()


def cpuinfo(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/cpuinfo: CPUs, cores, and the mean of their clocks."""
    cpus = re.findall(r"^processor\s{0,4}: \d{1,5}$", part.text, re.MULTILINE)
    if not cpus:
        return
    shared.cpus = shared.cpus or float(len(cpus))
    clocks = [
        v for text in re.findall(r"^cpu MHz\s{0,4}: ([\d.]{1,12})$", part.text, re.MULTILINE) if (v := number(text))
    ]
    packages = re.findall(r"^physical id\s{0,4}: (\d{1,5})$", part.text, re.MULTILINE)
    cores = re.findall(r"^core id\s{0,4}: (\d{1,5})$", part.text, re.MULTILINE)
    yield row("system.cpu.logical.count", len(cpus), "{cpu}")
    places = set(zip(packages, cores, strict=True)) if len(packages) == len(cores) == len(cpus) else set()
    yield row("system.cpu.physical.count", len(places) or None, "{cpu}")
    yield row("system.cpu.frequency", mean(clocks), "MHz")


def pressure(part: Part, shared: Shared) -> Iterator[Row]:
    """Pressure stall information: the share of the last minute, as the kernel averages it."""
    found = list(LINE.finditer(part.text))
    names = _names(part, [m["kind"] for m in found])
    for match, unnamed in zip(found, names, strict=True):
        name, source = match["name"] or unnamed, match["path"] or part.command
        whose = "container" if re.search(r"\w\.pressure\b", source) else "system"
        value = number(match["mean"])
        if value is not None and (name, match["kind"]) in (GROUP_FACTS if whose == "container" else FACTS):
            yield share(f"{whose}.pressure.{name}.{match['kind']}", value / 100, part.at(match.start()))
    if found:
        shared.notes.append("pressure: the kernel's mean of the last minute")


def _names(part: Part, kinds: list[str]) -> list[str]:
    """What each line is about: by the name of the file, or by the order in which a shell lists all of them."""
    named = re.search(r"\b(?:pressure/(cpu|io|irq|memory)|(cpu|io|irq|memory)\.pressure)\b", part.command)
    if named:
        return [named[1] or named[2]] * len(kinds)
    if kinds == ["some", "full"] * 3:
        order = ["cpu", "cpu", "io", "io", "memory", "memory"]
    elif kinds == ["some", "some", "full", "some", "full"]:  # before Linux 5.13 there is no full line for the CPU
        order = ["cpu", "io", "io", "memory", "memory"]
    elif kinds == ["some", "full", "some", "full", "full", "some", "full"]:
        order = ["cpu", "cpu", "io", "io", "irq", "memory", "memory"]
    else:
        order = []
    return order if "pressure/*" in part.command and order else [""] * len(kinds)


def group(part: Part, shared: Shared) -> Iterator[Row]:
    """Files of a control group, each named by a path in front or by what was typed: counters since it was made."""
    files = _group_files(part)
    counts = {
        key: int(value)
        for key, value in re.findall(
            r"^(?:\S{0,300}:)?(nr_periods|nr_throttled|oom_kill|high) (\d{1,18})$", part.text, re.MULTILINE
        )
    }
    if counts.get("nr_periods"):
        shared.notes.append("cpu.stat: since the control group was made")
        yield share("container.cpu.throttled.fraction", counts.get("nr_throttled", 0) / counts["nr_periods"])
    if "memory.events" in part.text + part.command:
        yield row("container.memory.oom_kills", counts.get("oom_kill"), "{kill}")
        yield row("container.memory.high_events", counts.get("high"), "{event}")
    quota = files.get("cpu.max", "").split()
    if len(quota) == 2 and quota[0].isdigit() and quota[1].isdigit() and int(quota[1]):
        yield row("container.cpu.limit", int(quota[0]) / int(quota[1]), "{cpu}")
    limit, used = (
        _bytes(files.get(new) or files.get(old))
        for new, old in (("memory.max", "memory.limit_in_bytes"), ("memory.current", "memory.usage_in_bytes"))
    )
    yield row("container.memory.limit", limit, "By")
    inactive = re.search(r"^(?:\S{0,300}:)?(?:total_)?inactive_file (\d{1,18})$", part.text, re.MULTILINE)
    if used is not None and inactive:
        held = max(0, used - int(inactive[1]))
        yield row("container.memory.usage", held, "By")
        yield share("container.memory.utilization", held / limit if limit else None)


def _group_files(part: Part) -> dict[str, str]:
    names = r"cpu\.max|memory\.max|memory\.current|memory\.limit_in_bytes|memory\.usage_in_bytes"
    found = dict(re.findall(rf"^\S{{0,300}}?\b({names}):(\S[^\n]{{0,60}})$", part.text, re.MULTILINE))
    typed = re.findall(rf"\b({names})\b", part.command)
    values = [line.strip() for line in part.lines if line.strip()]
    if len(typed) == 1 and len(values) == 1:
        found[typed[0]] = values[0]
    return found


def _bytes(text: str | None) -> int | None:
    """A limit or a size in bytes; None for one that means none."""
    return int(text) if text and text.isdigit() and len(text) < 20 and int(text) < UNLIMITED else None
