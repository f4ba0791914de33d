"""Storage: iostat, sar -d, df, /proc/diskstats, /proc/mdstat.

Only whole physical disks count: partitions, stacked devices and loops would count the same bytes twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from advisor.readers.host.part import Part, Shared, Table, mean, number, size, tables
from advisor.readers.metrics.node import DISKS_LEFT_OUT, SYSTEM_MOUNTS, VIRTUAL_FS
from advisor.readers.rows import Row, row, share

SECTOR = 512
LEFT_OUT = (*DISKS_LEFT_OUT, "dev253-", "dev252-", "dev7-", "dev9-", "dev11-", "dev1-")
PARTITION = re.compile(r"^(?:(?:nvme\d+n\d+|mmcblk\d+)p|(?:[shv]d|xvd)[a-z]{1,3})\d+$")
READ = (
    ("rkB/s", 1024.0),
    ("kB_read/s", 1024.0),
    ("rMB/s", 2.0**20),
    ("MB_read/s", 2.0**20),
    ("rsec/s", 512.0),
    ("Blk_read/s", 512.0),
    ("rd_sec/s", 512.0),
)
WRITTEN = (
    ("wkB/s", 1024.0),
    ("kB_wrtn/s", 1024.0),
    ("wMB/s", 2.0**20),
    ("MB_wrtn/s", 2.0**20),
    ("wsec/s", 512.0),
    ("Blk_wrtn/s", 512.0),
    ("wr_sec/s", 512.0),
)
Report = Mapping[str, tuple[Table, Sequence[str]]]


def physical(name: str) -> bool:
    """Whether a device is a whole physical disk, as far as its name tells."""
    return not name.startswith(LEFT_OUT) and not PARTITION.match(name)


def iostat(part: Part, shared: Shared) -> Iterator[Row]:
    """Means over the reports; the first, since boot, counts only when it is alone."""
    reports: list[Report] = []
    for table in tables(part, re.compile(r"\bDevice:? +(?:tps|r/s|rrqm/s)\b")):
        rows = {r[0].rstrip(":"): (table, r) for r in table.rows if len(r) > 1 and number(r[1]) is not None}
        if rows:
            reports.append(rows)
    later = reports[1:] or reports
    if later:
        left = "; the first, since boot, was left out" if len(reports) > 1 else ", which is the mean since boot"
        shared.notes.append(f"iostat: {len(reports)} report{'s' if len(reports) > 1 else ''}{left}")
        yield from _disks(later, part)


def sar(part: Part, shared: Shared) -> Iterator[Row]:
    """Sar -d."""
    reports: list[Report] = []
    for table in tables(part, re.compile(r"\bDEV +tps\b"), right=True):
        reports += [{r[0]: (table, r)} for r in table.rows if number(r[1]) is not None]
    if reports:
        shared.notes.append(f"sar: disks over {len(reports)} lines")
        yield from _disks(reports, part)


def _disks(reports: Sequence[Report], part: Part) -> Iterator[Row]:
    """Sums over the disks; what concerns one disk is of the busiest."""
    names = dict.fromkeys(name for report in reports for name in report)
    disks = [name for name in names if physical(name)] or list(names)

    def of(name: str, *columns: str) -> float | None:
        return mean([v for r in reports if name in r and (v := r[name][0].value(r[name][1], *columns)) is not None])

    def total(columns: Sequence[tuple[str, float]]) -> float | None:
        known = [v * factor for name in disks for column, factor in columns if (v := of(name, column)) is not None]
        return sum(known) if known else None

    where = part.where(next(iter(reports[0].values()))[0].line)
    read, reads = total(READ), total([("r/s", 1.0)])
    yield row("system.disk.read.rate", read, "By/s", where)
    yield row("system.disk.read.ops", reads, "{operation}/s", where)
    yield row("system.disk.read.size", read / reads if read is not None and reads else None, "By", where)
    yield row("system.disk.write.rate", total(WRITTEN), "By/s", where)
    used = {name: value for name in disks if (value := of(name, "%util")) is not None}
    if not used:
        return
    busiest = max(used, key=lambda name: used[name])
    yield share("system.disk.utilization", used[busiest] / 100, busiest)
    yield row("system.disk.queue_depth", of(busiest, "aqu-sz", "avgqu-sz"), "{request}", busiest)
    yield row("system.disk.read.latency", _weighted(reports, busiest, "r_await", "r/s"), "ms", busiest)
    yield row("system.disk.write.latency", _weighted(reports, busiest, "w_await", "w/s"), "ms", busiest)


def _weighted(reports: Sequence[Report], name: str, what: str, by: str) -> float | None:
    """The mean of a time per request over all requests."""
    pairs = [(t.value(r, what), t.value(r, by)) for report in reports if name in report for t, r in (report[name],)]
    known = [(value, weight) for value, weight in pairs if value is not None and weight is not None]
    weights = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / weights if weights else None


def df(part: Part, _: Shared) -> Iterator[Row]:
    """The fullest file system of a real device, free inodes, and /dev/shm."""
    head = re.search(
        r"^[^\n]{0,40}\bFilesystem +(Type +)?(\S+) +I?Used +(?:Avail\w*|IFree) +(?:I?Use%|Capacity|%iused) +Mounted on",
        part.text,
        re.MULTILINE,
    )
    if not head:
        return
    inodes = head[2] == "Inodes"
    unit = {
        "1K-blocks": 1024.0,
        "1024-blocks": 1024.0,
        "512-blocks": 512.0,
        "1M-blocks": 2.0**20,
        "1G-blocks": 2.0**30,
    }.get(head[2], 1.0)
    used: dict[str, tuple[float, str]] = {}
    for position, cells in _mounts(part.text, head.end()):
        kind = cells[1] if head[1] else ""
        taken, left, point = (size(cells[-4], unit), size(cells[-3], unit), cells[-1])
        if taken is None or left is None or taken + left <= 0:
            continue
        if point == "/dev/shm" and not inodes:
            yield row("system.filesystem.shm.limit", size(cells[-5], unit), "By", part.at(position))
            yield share("system.filesystem.shm.utilization", taken / (taken + left), part.at(position))
        elif _holds_data(cells[0], kind, point):
            used[point] = taken / (taken + left), part.at(position)
    if not used:
        return
    fullest = max(used, key=lambda point: used[point][0])
    if inodes:
        yield share("system.filesystem.inodes.free_fraction", 1 - used[fullest][0], used[fullest][1])
    else:
        yield share("system.filesystem.utilization", used[fullest][0], used[fullest][1])


def _mounts(text: str, start: int) -> Iterator[tuple[int, list[str]]]:
    """Lines of df with the device first and the mount point last; a long device name stands on a line of its own."""
    device = ""
    for line in re.compile(r"[^\n]+").finditer(text, start):
        cells = ([device] if device else []) + line.group().split()
        device = ""
        if len(cells) == 1:
            device = cells[0]
        elif len(cells) >= 6 and re.fullmatch(r"\d{1,3}%|-", cells[-2]):
            yield line.start(), cells


def _holds_data(device: str, kind: str, point: str) -> bool:
    real = device.startswith("/dev/") and not device.startswith(("/dev/loop", "/dev/sr", "/dev/fuse"))
    remote = ":" in device or kind.startswith(
        ("nfs", "lustre", "gpfs", "ceph", "beegfs", "fuse.", "cifs", "zfs", "wekafs")
    )
    return (real or remote) and kind not in VIRTUAL_FS and not point.startswith(SYSTEM_MOUNTS)


def diskstats(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/diskstats: means since boot; rates where the time since boot is known."""
    line = r"^ {0,8}\d{1,5} {1,8}\d{1,7} (\S{1,40}) ((?:\d{1,20} ){10,30}\d{1,20})[ \t]*$"
    lines = re.finditer(line, part.text, re.MULTILINE)
    disks = {m[1]: [int(x) for x in m[2].split()] for m in lines if physical(m[1])}
    busy = {name: c for name, c in disks.items() if any(c)}
    if not busy:
        return
    reads, sectors = sum(c[0] for c in busy.values()), sum(c[2] for c in busy.values())
    yield row("system.disk.read.size", sectors * SECTOR / reads if reads else None, "By")
    which = max(busy, key=lambda name: busy[name][9])
    counts = busy[which]
    shared.notes.append("/proc/diskstats: means since boot")
    if seconds := shared.uptime:
        yield row("system.disk.read.rate", sectors * SECTOR / seconds, "By/s")
        yield row("system.disk.read.ops", reads / seconds, "{operation}/s")
        yield row("system.disk.write.rate", sum(c[6] for c in busy.values()) * SECTOR / seconds, "By/s")
        yield share("system.disk.utilization", counts[9] / 1000 / seconds, which)
        yield row("system.disk.queue_depth", counts[10] / 1000 / seconds, "{request}", which)
    yield row("system.disk.read.latency", counts[3] / counts[0] if counts[0] else None, "ms", which)
    yield row("system.disk.write.latency", counts[7] / counts[4] if counts[4] else None, "ms", which)


def mdstat(part: Part, _: Shared) -> Iterator[Row]:
    """Arrays in use that lack a disk, and arrays that are being rebuilt or checked."""
    degraded, rebuilding = [], []
    for block in re.split(r"\n(?=md\w{1,30} : )", "\n" + part.text)[1:]:
        name, active = block.partition(" ")[0], re.match(r"md\w{1,30} : active\b", block) is not None
        disks = re.search(r"\[(\d{1,4})/(\d{1,4})\] \[[U_]", block)
        if active and disks and int(disks[2]) < int(disks[1]):
            degraded.append(name)
        if re.search(r"(?:recovery|resync|reshape|check|repair) {1,3}= {1,4}\d", block):
            rebuilding.append(name)
    yield row("system.disk.raid.degraded.count", len(degraded), "{array}", ", ".join(degraded[:4]) or None)
    yield row("system.disk.raid.rebuilding.count", len(rebuilding), "{array}", ", ".join(rebuilding[:4]) or None)
