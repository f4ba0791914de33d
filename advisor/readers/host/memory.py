"""Memory: free, /proc/meminfo, /proc/vmstat, sar -r, -S, -W, -B, and the limits of a shell or process."""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.readers.host.part import Part, Shared, mean, size, tables
from advisor.readers.rows import Row, row, share

# A number without a unit is KiB unless an option says otherwise. Hosts have 1 GiB to 8 TiB, so that a number
# outside of these ranges can only be of one unit; between them the unit is not known and shares alone are told.
KIB_FROM, KIB_UNSURE = 1e6, 3.2e6
MIB_FROM, MIB_UNSURE = 8e3, 1e6


def free(part: Part, shared: Shared) -> Iterator[Row]:
    """All layouts of free: with ``available``, with ``-/+ buffers/cache``, with and without units."""
    head = re.search(r"^[ \t]{0,40}total {1,20}used {1,20}free[^\n]{0,80}$", part.text, re.MULTILINE)
    if not head:
        return
    names = head.group().split()
    body = part.text[head.end() :]
    cells = {
        m[1]: m[2].split()
        for m in re.finditer(r"^[ \t]{0,8}(Mem|Swap|-/\+ buffers/cache): {1,40}([^\n]{1,200})$", body, re.MULTILINE)
    }
    if "Mem" not in cells:
        return
    unit = _free_unit(part.command, cells["Mem"][0])
    values = [size(text, unit or 1.0) for text in cells["Mem"]]
    memory = dict(zip(names, values, strict=False))
    total, available = memory.get("total"), memory.get("available")
    old = cells.get("-/+ buffers/cache", [])
    if available is None and len(old) == 2:
        available = size(old[1], unit or 1.0)
        shared.notes.append(
            "free: an old version, whose free memory without buffers and cache stands for what is available"
        )
    sized = unit is not None or cells["Mem"][0][-1:].isalpha()
    where = part.at(head.start())
    if total:
        yield row("system.memory.limit", total if sized else None, "By", where)
        yield row("system.memory.available", available if sized else None, "By", where)
        yield share("system.memory.available.fraction", None if available is None else available / total, where)
    swap = [size(text, unit or 1.0) for text in cells.get("Swap", [])]
    if len(swap) >= 2 and swap[0] is not None and swap[1] is not None:
        yield share("system.paging.utilization", swap[1] / swap[0] if swap[0] else 0.0, where)


def _free_unit(command: str, total: str) -> float | None:
    """Bytes of the unit; None when it cannot be told."""
    option = re.search(r"\bfree\b[^|;]{0,40}? -\w{0,4}?([bkmg])\b", command)
    if option:
        return {"b": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30}[option[1]]
    if re.search(r"\bfree$", command.strip()):
        return 2.0**10
    value = size(total) or 0.0
    if KIB_UNSURE <= value < 1e10:
        return 2.0**10
    return 2.0**20 if MIB_FROM <= value < MIB_UNSURE else None


def meminfo(part: Part, _: Shared) -> Iterator[Row]:
    """/proc/meminfo."""
    kib = {
        key: int(value)
        for key, value in re.findall(r"^\s{0,4}(\w{1,30}): {1,20}(\d{1,15})(?: kB)?$", part.text, re.MULTILINE)
    }
    total, available = kib.get("MemTotal"), kib.get("MemAvailable")
    if not total:
        return
    yield row("system.memory.limit", total * 1024, "By")
    yield row("system.memory.available", None if available is None else available * 1024, "By")
    yield share("system.memory.available.fraction", None if available is None else available / total)
    yield row("system.memory.cached", kib["Cached"] * 1024 if "Cached" in kib else None, "By")
    yield row("system.memory.dirty", (kib["Dirty"] + kib.get("Writeback", 0)) * 1024 if "Dirty" in kib else None, "By")
    if "SwapTotal" in kib and "SwapFree" in kib:
        yield share("system.paging.utilization", 1 - kib["SwapFree"] / kib["SwapTotal"] if kib["SwapTotal"] else 0.0)


def vmstat_file(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/vmstat: kills since boot, and rates since boot where the time since boot is known."""
    told = {key: int(value) for key, value in re.findall(r"^(\w{1,60}) (\d{1,19})$", part.text, re.MULTILINE)}
    yield row("system.memory.oom_kills", told.get("oom_kill"), "{kill}")
    if not shared.uptime:
        return
    refault = told.get("workingset_refault_file", told.get("workingset_refault"))
    for name, value, unit in (
        ("system.paging.swap_in.rate", told.get("pswpin"), "{page}/s"),
        ("system.paging.major_faults.rate", told.get("pgmajfault"), "{fault}/s"),
        ("system.paging.refault.rate", refault, "{page}/s"),
    ):
        yield row(name, None if value is None else value / shared.uptime, unit)


def sar(part: Part, shared: Shared) -> Iterator[Row]:
    """Sar -r, -S, -W and -B: means over the lines; available memory is the least seen."""
    for head, names in (
        (r"\bkbmemfree\b", ("kbavail", "kbcached", "kbdirty")),
        (r"\bkbswpfree\b", ("%swpused",)),
        (r"\bpswpin/s\b", ("pswpin/s",)),
        (r"\bpgpgin/s\b", ("majflt/s",)),
    ):
        for table in tables(part, re.compile(head), right=True):
            for name in names:
                values = [v for r in table.rows if (v := table.value(r, name)) is not None]
                if values:
                    shared.notes.append(f"sar: {name} over {len(values)} lines")
                    yield _sar(name, values, part.where(table.line))


def _sar(name: str, values: list[float], where: str) -> Row:
    middle = mean(values) or 0.0
    return {
        "kbavail": row("system.memory.available", min(values) * 1024, "By", where),
        "kbcached": row("system.memory.cached", middle * 1024, "By", where),
        "kbdirty": row("system.memory.dirty", max(values) * 1024, "By", where),
        "%swpused": share("system.paging.utilization", middle / 100, where),
        "pswpin/s": row("system.paging.swap_in.rate", middle, "{page}/s", where),
        "majflt/s": row("system.paging.major_faults.rate", middle, "{fault}/s", where),
    }[name]


def limits(part: Part, _: Shared) -> Iterator[Row]:
    """Ulimit -a, and /proc/PID/limits."""
    shell = r"^ {0,4}(open files|max locked memory) +\((?:(kbytes), )?-[nl]\) +(\d{1,18})\s*$"
    for match in re.finditer(shell, part.text, re.MULTILINE):
        yield _limit(match[1], int(match[3]) * (1024 if match[2] else 1), part.at(match.start()))
    file = r"^ {0,4}(Max open files|Max locked memory) +(\d{1,18}) +(?:\d{1,18}|unlimited) +\w+"
    for match in re.finditer(file, part.text, re.MULTILINE):
        yield _limit(match[1], int(match[2]), part.at(match.start()))


def _limit(what: str, value: float, where: str) -> Row:
    if "open files" in what:
        return row("process.open_file_descriptor.limit", value, "{file_descriptor}", where)
    return row("process.memlock.limit", value, "By", where)
