"""Block devices from /proc/diskstats, and the file system behind the working directory.

Only whole physical disks count: partitions, loop, RAM and stacked devices (dm, md) would
count the same bytes twice. The file system is a source of its own, since asking a network
file system that is down never returns.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from advisor.collect.base import Facts, Kept, Parsed, Sample, increase, pictures, ratio, read_text, span, steps, times

VIRTUAL = ("loop", "ram", "zram", "sr", "fd")
SECTOR = 512  # the unit of /proc/diskstats, whatever the device's own sector size
# columns after the device name
READS, READ_SECTORS, READ_MS, WRITES, WRITE_SECTORS, WRITE_MS, BUSY_MS, QUEUE_MS = 0, 2, 3, 4, 6, 7, 9, 10


class Disk:
    """Throughput of all physical disks, and how busy the busiest is."""

    kind = "disk"
    origin = "/proc/diskstats"

    def __init__(self, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc, self._sys = Path(proc), Path(sys)
        self._physical: dict[str, bool] = {}
        self._files = Kept()

    def read(self) -> Sample:
        """Counters of every whole physical disk."""
        rows = (line.split() for line in self._files.read(f"{self._proc}/diskstats").splitlines())
        disks = {row[2]: " ".join(row[3:14]) for row in rows if self._is_physical(row[2])}
        if not disks:
            raise FileNotFoundError("no physical disk is visible here")
        return {"disks": disks}

    def _is_physical(self, name: str) -> bool:
        if name not in self._physical:
            block = self._sys / "block" / name.replace("/", "!")
            slaves = block / "slaves"
            stacked = slaves.is_dir() and any(slaves.iterdir())
            self._physical[name] = block.is_dir() and not stacked and not name.startswith(VIRTUAL)
        return self._physical[name]

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Rates summed over the disks; latency, queue and utilization of the busiest."""
        facts = Facts(self.origin)
        seconds = span(samples)
        if seconds <= 0:
            return (), {}
        names = [n for n in samples[-1]["disks"] if all(n in s["disks"] for s in samples)]
        rows = {n: [[int(x) for x in s["disks"][n].split()] for s in samples] for n in names}
        grown = {n: [increase([row[i] for row in r]) for i in range(11)] for n, r in rows.items()}
        if not grown:
            return (), {}
        reads, read_bytes = (sum(g[i] for g in grown.values()) for i in (READS, READ_SECTORS))
        facts.add("system.disk.read.rate", read_bytes * SECTOR / seconds, "By/s")
        facts.add("system.disk.read.ops", reads / seconds, "{operation}/s")
        facts.add("system.disk.read.size", ratio(read_bytes * SECTOR, reads), "By")
        facts.add("system.disk.write.rate", sum(g[WRITE_SECTORS] for g in grown.values()) * SECTOR / seconds, "By/s")
        name = max(grown, key=lambda n: grown[n][BUSY_MS])
        _busiest(facts, name, grown[name], seconds)
        total = [float(sum(r[i][READ_SECTORS] for r in rows.values()) * SECTOR) for i in range(len(samples))]
        drawn = steps(times(samples), lambda i: max(0.0, total[i] - total[i - 1]))
        return facts.all(), pictures(system_disk_read_rate=drawn)


def _busiest(facts: Facts, name: str, grown: Sequence[float], seconds: float) -> None:
    def milliseconds_each(total: float, count: float) -> float | None:
        each = ratio(total, count)
        return None if each is None else each / 1000

    facts.add("system.disk.read.latency", milliseconds_each(grown[READ_MS], grown[READS]), "s", name)
    facts.add("system.disk.write.latency", milliseconds_each(grown[WRITE_MS], grown[WRITES]), "s", name)
    facts.share("system.disk.utilization", grown[BUSY_MS] / 1000 / seconds, name)
    facts.add("system.disk.queue_depth", grown[QUEUE_MS] / 1000 / seconds, "{request}", name)


class FileSystem:
    """The file system that holds the working directory of `pid`, or of this process."""

    kind = "disk"
    origin = "file system of the working directory"

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self._folder = Path(proc) / ("self" if pid is None else str(pid))
        self._type: tuple[str, str | None] = ("", None)

    def read(self) -> Sample:
        """Size, free space and inodes, and the type of the mount."""
        path = os.readlink(self._folder / "cwd")
        if path != self._type[0]:
            self._type = (path, mount_of(read_text(self._folder / "mountinfo"), path)[1])
        stat = os.statvfs(self._folder / "cwd")  # through the link: right in another mount namespace too
        return {
            "type": self._type[1],
            "blocks": [stat.f_blocks, stat.f_bfree, stat.f_bavail],
            "inodes": [stat.f_files, stat.f_ffree],
        }

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """The last state."""
        facts = Facts(self.origin)
        size, free, available = samples[-1]["blocks"]
        inodes, inodes_free = samples[-1]["inodes"]
        facts.add("system.filesystem.type", samples[-1]["type"], "{string}")
        # Space kept for root does not help the job: used over what a user can have, as df counts.
        facts.share("system.filesystem.utilization", ratio(size - free, size - free + available))
        facts.share("system.filesystem.inodes.free_fraction", ratio(inodes_free, inodes))
        return facts.all(), {}


def mount_of(mountinfo: str, path: str) -> tuple[str, str | None]:
    """Mount point and type of the file system of `path`: the longest mount point above it, the last of equals."""
    best, kind = "", None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split(maxsplit=5)[4]
        if "\\" in point:
            point = point.encode().decode("unicode_escape")  # a space is written \040
        above = point in ("/", path) or path.startswith(point + "/")
        if above and len(point) >= len(best):
            best, kind = point, right.split(maxsplit=1)[0]
    return best, kind
