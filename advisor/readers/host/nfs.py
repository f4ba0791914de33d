"""The NFS client: nfsiostat, nfsstat, /proc/PID/mountstats."""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.readers.host.part import Part, Shared, number
from advisor.readers.rows import Row, row, share

LEAST_CALLS = 20  # of fewer NFS calls a mean means nothing
METADATA = (
    "getattr",
    "lookup",
    "lookupp",
    "access",
    "open",
    "open_noat",
    "open_noattr",
    "readdir",
    "readdirplus",
    "readlink",
    "close",
    "statfs",
    "fsstat",
)


def nfsiostat(part: Part, shared: Shared) -> Iterator[Row]:
    """Response and waiting time of the mount where most is waited; the first report, since mounting, counts alone."""
    reports: dict[str, list[list[float]]] = {}
    point, queued = "", False
    for line in part.lines:
        if mounted := re.search(r"\bmounted on (\S{1,200}?):?$", line.strip()):
            point = mounted[1]
            reports.setdefault(point, []).append([0.0, 0.0, 0.0])
        elif "avg RTT" in line:
            queued = "avg queue" in line
        elif point and len(values := _numbers(line)) >= 7:
            # operations, kB, kB per operation, retransmissions and their share, RTT, execution, queue
            total = reports[point][-1]
            total[0] += values[0]
            total[1] += values[0] * values[5]
            total[2] += values[0] * values[7] if queued and len(values) > 7 else 0.0
    means = {p: [sum(x) for x in zip(*(r[1:] or r), strict=True)] for p, r in reports.items()}
    busy = {p: m for p, m in means.items() if m[0] > 0}
    if busy:
        slowest = max(busy, key=lambda p: busy[p][1] + busy[p][2])
        ops, waited, queue = busy[slowest]
        shared.notes.append(
            f"nfsiostat: {slowest}, {'without' if len(reports[slowest]) > 1 else 'only'} the report since mounting"
        )
        yield row("nfs.client.rpc.rtt", waited / ops, "ms", slowest)
        yield row("nfs.client.rpc.queue_time", queue / ops if queued else None, "ms", slowest)


def _numbers(line: str) -> list[float]:
    return [v for text in re.split(r"[\s()]+", line) if (v := number(text)) is not None]


def nfsstat(part: Part, _: Shared) -> Iterator[Row]:
    """Nfsstat -c: the share of operations that are metadata, since boot."""
    calls: dict[str, float] = {}
    head: list[str] = []
    for line in part.text.partition("Client nfs")[2].split("\n"):
        words = line.split()
        values = [number(word) for word in words if not word.endswith("%")]
        if words and all(re.fullmatch(r"[a-z]\w{1,24}", word) for word in words):
            head = words
        elif head and len(values) == len(head) and all(v is not None for v in values):
            calls.update({name: v for name, v in zip(head, values, strict=True) if v is not None and name != "null"})
    total = sum(calls.values())
    if total >= LEAST_CALLS:
        yield share("nfs.client.getattr_lookup.fraction", sum(calls.get(name, 0.0) for name in METADATA) / total)


def mountstats(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/PID/mountstats: means since mounting, of the mount where most was waited."""
    found: dict[str, dict[str, list[int]]] = {}
    for block in re.split(r"^device ", part.text, flags=re.MULTILINE)[1:]:
        mounted = re.match(r"\S{1,300} mounted on (\S{1,300}) with fstype nfs", block)
        if mounted:
            lines = re.finditer(r"^\s{1,24}([A-Z_]{2,30}): ((?:\d{1,19} ){7,40}\d{1,19}) ?$", block, re.MULTILINE)
            found[mounted[1]] = {m[1].lower(): [int(x) for x in m[2].split()] for m in lines}
    waits = {point: sum(c[5] + c[6] for c in ops.values()) for point, ops in found.items() if ops}
    if not waits:
        return
    slowest = max(waits, key=lambda point: waits[point])
    ops = found[slowest]
    calls = sum(c[0] for c in ops.values())
    if calls >= LEAST_CALLS:
        shared.notes.append(f"mountstats: {slowest}, since mounting")
        yield row("nfs.client.rpc.rtt", sum(c[6] for c in ops.values()) / calls, "ms", slowest)
        yield row("nfs.client.rpc.queue_time", sum(c[5] for c in ops.values()) / calls, "ms", slowest)
        yield share(
            "nfs.client.getattr_lookup.fraction",
            sum(c[0] for name, c in ops.items() if name in METADATA) / calls,
            slowest,
        )
