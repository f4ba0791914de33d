"""CPU time and load: vmstat, mpstat, sar -u and -q, iostat's first lines, top, uptime, lscpu, numactl, ps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from advisor.readers.host.part import Part, Shared, Table, mean, number, size, tables
from advisor.readers.rows import Row, row, share

SATURATED = 90.0  # percent, as the live collector counts
WHOLE = (85.0, 115.0)  # percent: shares that do not add up are not shares
LOAD = re.compile(r"load averages?: (\d{1,7}[.,]\d\d)")
UPTIME = re.compile(r"\bup +(?:(\d{1,6}) days?, +)?(?:(\d{1,2}):(\d\d)|(\d{1,3}) ?min|(\d{1,2}) ?hours?)?")
BANNER = re.compile(r"^Linux \S.{0,200}\((\d{1,6}) CPU\)", re.MULTILINE)
PAGE = 4096  # bytes, on x86 and on most others; vmstat and sar tell sizes and pages, the facts are in pages


def busy(
    user: float | None,
    system: float | None,
    idle: float | None,
    iowait: float | None = None,
    steal: float | None = None,
    interrupt: float | None = None,
    where: str | None = None,
) -> Iterator[Row]:
    """Facts from shares of CPU time in percent; nothing when they do not add up."""
    if user is None or system is None or idle is None:
        return
    total = user + system + idle + (iowait or 0.0) + (steal or 0.0) + (interrupt or 0.0)
    if not WHOLE[0] <= total <= WHOLE[1]:
        return
    yield share("system.cpu.utilization", 1 - (idle + (iowait or 0.0)) / 100, where)
    for name, value in (("user", user), ("system", system), ("iowait", iowait), ("steal", steal)):
        yield share(f"system.cpu.{name}.utilization", None if value is None else value / 100, where)
    yield share("system.cpu.interrupt.utilization", None if interrupt is None else interrupt / 100, where)


def vmstat(part: Part, shared: Shared) -> Iterator[Row]:
    """Means over the reports; the first, since boot, counts only when it is alone."""
    found = list(tables(part, re.compile(r"\br +b +swpd\b")))
    reports = [
        (t, r, line) for t in found for r, line in zip(t.rows, t.lines, strict=True) if t.value(r, "id") is not None
    ]
    later = reports[1:] or reports
    if not later:
        return
    shared.notes.append(_reports("vmstat", len(reports)))

    def of(*names: str) -> float | None:
        return mean([v for t, r, _ in later if (v := t.value(r, *names)) is not None])

    where = part.where(later[0][2])
    yield from busy(of("us"), of("sy"), of("id"), of("wa"), of("st"), where=where)
    yield row("system.process.blocked.count", of("b"), "{process}", where)
    unit = _unit(part.command, "S")
    swapped, read, written = of("si"), of("bi"), of("bo")
    yield row("system.paging.swap_in.rate", None if swapped is None else swapped * unit / PAGE, "{page}/s", where)
    yield row("system.disk.read.rate", None if read is None else read * 1024, "By/s", where)
    yield row("system.disk.write.rate", None if written is None else written * 1024, "By/s", where)


def _unit(command: str, option: str) -> float:
    """Bytes of the unit that an option chose; KiB without one."""
    match = re.search(rf"-\w*{option} ?([kKmM])\b", command)
    return {"k": 1e3, "K": 1024.0, "m": 1e6, "M": 1024.0**2}[match[1]] if match else 1024.0


def _reports(tool: str, count: int) -> str:
    if count > 1:
        return f"{tool}: mean of {count - 1} reports; the first, since boot, was left out"
    return f"{tool}: one report, which is the mean since boot"


def mpstat(part: Part, shared: Shared) -> Iterator[Row]:
    """Mpstat and sar -u: all CPUs together, and each of them where it is listed."""
    _banner(part, shared)
    found = list(tables(part, re.compile(r"\bCPU +%us"), right=True))
    cells = [
        (t, r, line) for t in found for r, line in zip(t.rows, t.lines, strict=True) if t.value(r, "%idle") is not None
    ]
    means = [
        c
        for c in cells
        if re.match(r"\S{1,20}:\s", part.lines[c[2]].lstrip()) and not part.lines[c[2]].lstrip()[0].isdigit()
    ]
    chosen = means or cells
    if not chosen:
        return
    shared.notes.append(f"CPU time over {max(1, len(cells) - len(means))} lines of mpstat or sar")
    together = [c for c in chosen if c[1][0].lower() == "all"]
    if together:
        yield from _percent(together, part)
    cpus = {
        name: mean([_taken(t, r) for t, r, _ in chosen if r[0] == name]) or 0.0
        for name in {r[0] for _, r, _ in chosen}
        if name.isdigit()
    }
    if len(cpus) > 1:
        shared.cpus = shared.cpus or len(cpus)
        yield from each({f"cpu{name}": value for name, value in cpus.items()})


def each(cpus: dict[str, float]) -> Iterator[Row]:
    """Facts from the busy share of every CPU, in percent."""
    yield row("system.cpu.logical.count", len(cpus), "{cpu}")
    yield row("system.cpu.saturated.count", sum(1 for value in cpus.values() if value > SATURATED), "{cpu}")
    busiest = max(cpus, key=lambda name: cpus[name])
    yield share("system.cpu.core.utilization.max", cpus[busiest] / 100, busiest)


def _taken(table: Table, cells: Sequence[str]) -> float:
    return 100.0 - (table.value(cells, "%idle") or 0.0) - (table.value(cells, "%iowait") or 0.0)


def _percent(rows: Sequence[tuple[Table, Sequence[str], int]], part: Part) -> Iterator[Row]:
    def of(*names: str) -> float | None:
        return mean([v for t, r, _ in rows if (v := t.value(r, *names)) is not None])

    def added(*names: str) -> float | None:
        known = [v for name in names if (v := of(name)) is not None]
        return sum(known) if known else None

    user = [v for v in (of("%usr", "%user"), of("%nice"), of("%guest"), of("%gnice")) if v is not None]
    interrupt = added("%irq", "%soft")
    where = part.where(rows[0][2])
    yield from busy(sum(user), of("%sys", "%system"), of("%idle"), of("%iowait"), of("%steal"), interrupt, where)


def _banner(part: Part, shared: Shared) -> None:
    told = BANNER.search(part.text)
    if told:
        shared.cpus = float(told[1])


def averages(part: Part, shared: Shared) -> Iterator[Row]:
    """The avg-cpu lines of iostat."""
    _banner(part, shared)
    found = list(tables(part, re.compile(r"(?<=avg-cpu:) +%us"), right=True))
    found = [t for t in found if t.rows and t.value(t.rows[0], "%idle") is not None]
    later = [(t, t.rows[0], t.line) for t in (found[1:] or found)]
    if later:
        yield from _percent(later, part)


def queue(part: Part, shared: Shared) -> Iterator[Row]:
    """Sar -q: load, and tasks that wait for storage."""
    for table in tables(part, re.compile(r"\brunq-sz\b"), right=True):
        load = mean([v for r in table.rows if (v := table.value(r, "ldavg-1")) is not None])
        if load is not None:
            shared.load = load, part.where(table.line)
        blocked = mean([v for r in table.rows if (v := table.value(r, "blocked")) is not None])
        yield row("system.process.blocked.count", blocked, "{process}", part.where(table.line))


def top(part: Part, shared: Shared) -> Iterator[Row]:
    """The summary of top; of several the first, which is since boot, is left out."""
    pattern = r"(\d{1,3}(?:[.,]\d)?)\s{0,3}%?\s{0,3}(us|sy|ni|id|wa|hi|si|st)\b"
    reports = []
    for match in re.finditer(r"^\s{0,4}%?Cpu(?:\(s\)|\d{1,5})\s{0,3}:([^\n]{0,300})", part.text, re.MULTILINE):
        modes = {name: value for text, name in re.findall(pattern, match[1]) if (value := number(text)) is not None}
        if len(modes) >= 4:
            reports.append((modes, match.start(), "(s)" in match.group()))
    if reports and all(r[2] for r in reports):
        reports = reports[1:] or reports
    if not reports:
        return

    def of(*names: str) -> float | None:
        values = [sum(m[n] for n in names) for m, _, _ in reports if all(n in m for n in names)]
        return mean(values)

    shared.notes.append(f"top: CPU time of {len(reports)} summary line{'s' if len(reports) > 1 else ''}")
    yield from busy(of("us", "ni"), of("sy"), of("id"), of("wa"), of("st"), of("hi", "si"), part.at(reports[0][1]))
    if not reports[0][2]:
        shared.cpus = shared.cpus or len(reports)


def top_memory(part: Part, _: Shared) -> Iterator[Row]:
    """The memory lines of top, old and new."""
    unit = {"k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40}
    found: dict[str, float] = {}
    places = r"^\s{0,4}(?:([KMGT])iB )?(Mem|Swap) ?: {1,4}([^\n]{0,200})"
    for match in re.finditer(places, part.text, re.MULTILINE):
        for text, name in re.findall(
            r"(\d{1,15}(?:[.,]\d{1,3})?[kKmMgGtT]?)\+? +(total|free|used|avail Mem)", match[3]
        ):
            value = size(text, unit[(match[1] or "k").lower()])
            if value is not None:
                found[name if name == "avail Mem" else f"{match[2]} {name}"] = value
    total, available = found.get("Mem total"), found.get("avail Mem")
    if total and "Mem free" in found and "Mem used" in found:
        yield row("system.memory.limit", total, "By")
        yield row("system.memory.available", available, "By")
        yield share("system.memory.available.fraction", None if available is None else available / total)
    if "Swap total" in found and "Swap used" in found:
        swap = found["Swap total"]
        yield share("system.paging.utilization", found["Swap used"] / swap if swap else 0.0)


def uptime(part: Part, shared: Shared) -> Iterator[Row]:
    """Load and time since boot, of uptime, w and the first line of top."""
    load = LOAD.search(part.text)
    if load and (value := number(load[1])) is not None:
        shared.load = value, part.at(load.start())
        line = part.text[part.text.rfind("\n", 0, load.start()) + 1 : load.start()]
        since = UPTIME.search(line)
        if since and any(since.groups()):
            days, hours, minutes, only, alone = (int(x or 0) for x in since.groups())
            shared.uptime = shared.uptime or days * 86400.0 + (hours + alone) * 3600.0 + (minutes + only) * 60.0
    yield from ()


def nproc(part: Part, shared: Shared) -> Iterator[Row]:
    """CPUs that the shell may use, which are those of the machine unless it is bound to some."""
    if part.named(r"\bnproc\b"):
        shared.cpus = shared.cpus or number(part.text)
    yield from ()


def lscpu(part: Part, shared: Shared) -> Iterator[Row]:
    """Logical and physical CPUs, memory nodes, top clock."""
    told = dict(re.findall(r"^ {0,8}([A-Z][\w() ./-]{1,40}): {1,40}([^\n]{1,200})$", part.text, re.MULTILINE))
    numbers = {key: number(text) for key, text in told.items()}
    cpus, cores, sockets = (numbers.get(k) for k in ("CPU(s)", "Core(s) per socket", "Socket(s)"))
    if cpus is None:
        return
    shared.cpus = cpus
    yield row("system.cpu.logical.count", cpus, "{cpu}")
    yield row("system.cpu.physical.count", cores * sockets if cores and sockets else None, "{cpu}")
    yield row("system.numa.node.count", numbers.get("NUMA node(s)"), "{node}")
    yield row("system.cpu.frequency.max", numbers.get("CPU max MHz"), "MHz")


def numactl(part: Part, _: Shared) -> Iterator[Row]:
    """Memory nodes that have memory."""
    sizes = re.findall(r"^ {0,4}node \d{1,4} size: (\d{1,12}) MB", part.text, re.MULTILINE)
    yield row("system.numa.node.count", sum(int(s) > 0 for s in sizes) or None, "{node}")


def states(part: Part, _: Shared) -> Iterator[Row]:
    """ps: processes that cannot be woken because they wait for a device."""
    for table in tables(
        part, re.compile(r"\b(?:F +)?(?:S +UID|USER +PID|UID +PID|PID +(?:TTY +)?STAT|[FS] +S +UID|PID +STAT)\b")
    ):
        place = table.column("STAT", "S")
        if place is None or len(table.rows) < 2 or any(r[place] == "-" for r in table.rows):
            continue
        count = sum(r[place].startswith("D") for r in table.rows)
        yield row("system.process.blocked.count", count, "{process}", part.where(table.line))
        return
