"""The file system behind the data that a job has open: its type, how full it is, how many inodes are left.

The working directory is often on another file system than the data. What counts as data is a
regular file that is open for reading only, or mapped and not executable, and not part of the
system or of a program. A file that is read quickly is seldom caught open; one that is slow, often.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from advisor.collect.base import Facts, NotYet, Parsed, Sample, ratio, read_optional
from advisor.collect.disk import mount_of
from advisor.collect.process import Tree

PROCESSES, MAPPED, DESCRIPTORS = 16, 2, 256  # looked at per reading: processes, of them for mapped files; files of each
SEARCHING_S, FOUND_S = 1.0, 5.0  # a file that is open for moments is caught by looking often, and then it is known
SYSTEM = ("/dev/", "/proc/", "/sys/", "/run/", "/usr/", "/lib", "/etc/", "/bin/", "/sbin/", "/boot/", "/memfd:")
PROGRAM = (".py", ".pyc", ".so", ".pth", ".egg", ".whl", ".log", ".lock", ".sh", " (deleted)")
REMOTE = ("nfs", "cifs", "smb", "ceph", "lustre", "gpfs", "9p", "beegfs", "weka", "virtiofs", "orangefs", "afs", "fuse")
REMOTE_WEIGHT = 5  # a remote file system makes the waits even when more files are open on a local one


class DataFiles:
    """The data files that the tree of `pid` has open."""

    kind = "process"
    origin = "/proc/pid/fd"

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self.pause_s = SEARCHING_S
        self._pid, self._proc = pid, proc
        self._tree = Tree(pid, proc) if pid is not None else None
        self._turn = 0

    def read(self) -> Sample:
        """Per mount "type point": how many data files are open there, and its size when most of them are."""
        if self._tree is None:
            raise FileNotFoundError("no process was given, so no job was watched")
        pids = sorted(self._tree.refresh())
        if not pids:
            raise NotYet(f"process {self._pid} is not running")
        self._turn += 1
        start = self._turn * PROCESSES % len(pids) if len(pids) > PROCESSES else 0
        paths: set[str] = set()
        for i, pid in enumerate((pids + pids)[start : start + min(len(pids), PROCESSES)]):
            paths.update(self._opened(pid))
            if i < MAPPED:
                paths.update(self._mapped(pid))
        mountinfo = read_optional(f"{self._proc}/{self._pid}/mountinfo") or ""
        mounts: dict[str, int] = {}
        for folder, count in _folders(paths).items():
            point, kind = mount_of(mountinfo, folder)
            if kind:
                mounts[f"{kind} {point}"] = mounts.get(f"{kind} {point}", 0) + count
        best = max(mounts, key=lambda m: _weight(m, mounts[m]), default=None)
        self.pause_s = FOUND_S if best else SEARCHING_S
        return {"mounts": mounts, "best": best, "size": self._size(best) if best else None}

    def _opened(self, pid: int) -> Iterator[str]:
        folder = f"{self._proc}/{pid}/fd"
        try:
            for name in os.listdir(folder)[:DESCRIPTORS]:
                path = os.readlink(f"{folder}/{name}")
                # The mode of the link tells how the file was opened: one that may be written is no data that is read.
                if _is_data(path) and not os.lstat(f"{folder}/{name}").st_mode & stat.S_IWUSR:
                    yield path
        except OSError:
            return  # it has ended, or belongs to another user

    def _mapped(self, pid: int) -> set[str]:
        """Files mapped for reading; one that is mapped for execution too is a program."""
        readable: set[str] = set()
        programs: set[str] = set()
        for line in (read_optional(f"{self._proc}/{pid}/maps") or "").splitlines():
            if "/" in line and (" r--" in line or " r-x" in line):
                path = line.split(maxsplit=5)[5]
                (programs if " r-x" in line else readable).add(path)
        return {path for path in readable - programs if _is_data(path)}

    def _size(self, mount: str) -> list[int] | None:
        """Blocks, free and available ones, inodes and free ones; through the job's root, which may not be ours."""
        try:
            found = os.statvfs(f"{self._proc}/{self._pid}/root{mount.partition(' ')[2]}")
        except OSError:
            return None
        return [found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree]

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """The file system that most data files were open on, over all readings."""
        facts = Facts(self.origin)
        seen: dict[str, int] = {}
        for sample in samples:
            for mount, count in sample["mounts"].items():
                seen[mount] = seen.get(mount, 0) + count
        if not seen:
            return (), {}
        best = max(seen, key=lambda m: _weight(m, seen[m]))
        kind, _, point = best.partition(" ")
        facts.add("process.data.file.count", max(s["mounts"].get(best, 0) for s in samples), "{file}", point)
        facts.add("process.data.filesystem.type", kind, "{string}", point)
        sizes = [s["size"] for s in samples if s["best"] == best and s["size"]]
        if sizes:
            blocks, free, available, inodes, inodes_free = sizes[-1]
            used = ratio(blocks - free, blocks - free + available)
            facts.share("process.data.filesystem.utilization", used, point)
            facts.share("process.data.filesystem.inodes.free_fraction", ratio(inodes_free, inodes), point)
        return facts.all(), {}


def _is_data(path: str) -> bool:
    """Whether a path names something that a program reads as data.

    >>> _is_data("/mnt/set/0001.tar"), _is_data("/usr/lib/locale/x"), _is_data("socket:[1]"), _is_data("/a/b.so.6")
    (True, False, False, False)
    """
    if not path.startswith("/") or path == "/" or path.startswith(SYSTEM):
        return False
    return not path.endswith(PROGRAM) and ".so." not in path


def _folders(paths: set[str]) -> dict[str, int]:
    """Files per folder: a mount point is looked up once for all files of a folder."""
    counts: dict[str, int] = {}
    for path in paths:
        folder = os.path.dirname(path)
        counts[folder] = counts.get(folder, 0) + 1
    return counts


def _weight(mount: str, count: int) -> int:
    return count * (REMOTE_WEIGHT if mount.startswith(REMOTE) and not mount.startswith("fuseblk ") else 1)
