"""What the NFS client of the kernel counts, from mountstats: response time, waiting in the client, kinds of calls.

The counters are those of the mounts that the job sees. Retransmissions are of the whole machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from advisor.collect.base import Facts, NotYet, Parsed, Sample, increase, rate, ratio, read_optional, read_text, times

METADATA = ("GETATTR", "LOOKUP", "LOOKUPP", "ACCESS", "OPEN", "OPEN_NOATTR", "READDIR", "READDIRPLUS", "READLINK",
            "CLOSE", "STATFS", "FSSTAT")  # fmt: skip
LEAST_CALLS = 20  # of fewer a mean means nothing
# columns of a line of per-op statistics: requests, transmissions, ..., milliseconds
OPS, SENT, QUEUE_MS, RTT_MS = 0, 1, 5, 6


class Nfs:
    """The NFS mounts that `pid` sees, or this process."""

    kind = "disk"
    origin = "/proc/pid/mountstats"
    pause_s = 5.0

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self._proc = Path(proc)
        self._process = self._proc / ("self" if pid is None else str(pid))

    def read(self) -> Sample:
        """Per mount point the counters of each operation that was used, and the calls of the RPC client."""
        try:
            mountstats = read_text(self._process / "mountstats")
        except (FileNotFoundError, ProcessLookupError):
            mountstats = ""  # the process has ended
        mounts = {point: dict(_used(block)) for point, block in _blocks(mountstats)}
        if not mounts:
            raise NotYet("no NFS file system is mounted here")  # an automounter may still
        return {"mounts": mounts, "rpc": read_optional(self._proc / "net/rpc/nfs")}

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Means over the calls of the window; times are those of the mount where most was waited."""
        facts = Facts(self.origin)
        grown = {point: _grown(samples, point) for point in samples[-1]["mounts"]}
        slowest = max(grown, key=lambda point: sum(op[RTT_MS] + op[QUEUE_MS] for op in grown[point].values()))
        ops = grown[slowest]
        calls = sum(op[OPS] for op in ops.values())
        if calls >= LEAST_CALLS:
            facts.add("nfs.client.rpc.rtt", sum(op[RTT_MS] for op in ops.values()) / calls / 1000, "s", slowest)
            facts.add(
                "nfs.client.rpc.queue_time", sum(op[QUEUE_MS] for op in ops.values()) / calls / 1000, "s", slowest
            )
            metadata = sum(op[OPS] for name, op in ops.items() if name in METADATA)
            facts.share("nfs.client.getattr_lookup.fraction", ratio(metadata, calls), slowest)
        known = [s for s in samples if s.get("rpc")]
        again = [int(s["rpc"].partition("\nrpc ")[2].split()[1]) for s in known if "\nrpc " in s["rpc"]]
        if len(again) == len(samples):
            facts.add("nfs.client.rpc.retransmit.rate", rate(times(samples), again), "{request}/s")
        return facts.all(), {}


def _blocks(mountstats: str) -> Iterator[tuple[str, str]]:
    """Mount point and statistics of every NFS mount."""
    for block in ("\n" + mountstats).split("\ndevice ")[1:]:
        head, _, rest = block.partition("\n")
        device, _, where = head.partition(" mounted on ")
        point, _, fstype = where.partition(" with fstype ")
        if fstype.startswith("nfs") and device:
            yield point.encode().decode("unicode_escape"), rest


def _used(block: str) -> Iterator[tuple[str, str]]:
    for line in block.partition("per-op statistics")[2].splitlines():
        name, colon, counters = line.strip().partition(": ")
        if colon and not counters.startswith("0 "):
            yield name, counters


def _grown(samples: Sequence[Sample], point: str) -> dict[str, list[float]]:
    """How much each counter of each operation grew; an operation that was not used before began at 0."""
    grown = {}
    for name in samples[-1]["mounts"][point]:
        texts = [s["mounts"].get(point, {}).get(name, "0 " * 8) for s in samples]
        rows = [[int(x) for x in text.split()[:8]] for text in texts]
        grown[name] = [increase([row[i] for row in rows]) for i in range(8)]
    return grown
