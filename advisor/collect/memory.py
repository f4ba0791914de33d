"""Memory that processes hold alone: what tells a leak from a mapped file, and copies made after a fork.

Resident memory also counts pages of mapped files and pages shared with the parent, so it grows
without a leak and hides copies. Only the kernel's walk over all pages (smaps_rollup) tells them
apart. It costs about 15 ms of CPU per GB, so a few processes are read, at growing intervals.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from advisor.collect.base import Facts, NotYet, Parsed, Sample, growth, keyed, median, ratio, read_optional, read_text
from advisor.collect.process import Tree

FOLLOWED = 5  # the largest process and some workers
LARGEST_KIB = 16 << 20  # together; above it one reading would take a quarter of a second
FIRST_PAUSE_S, BUDGET = 10.0, 0.001  # the budget is a share of one core
KEYS = ("Rss", "Pss", "Anonymous", "Private_Dirty", "Private_Hugetlb")


class Memory:
    """The largest processes of the tree of `pid`, each followed until it ends."""

    kind = "process"
    origin = "/proc/pid/smaps_rollup"

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self._pid, self._proc = pid, proc
        self._tree = Tree(pid, proc) if pid is not None else None
        self._followed: list[int] = []
        self._began: float | None = None
        self.pause_s = FIRST_PAUSE_S

    def read(self) -> Sample:
        """Per followed process "parent rss pss private", in KiB."""
        if self._tree is None:
            raise FileNotFoundError("no process was given, so no job was watched")
        before, now = time.thread_time(), time.monotonic()
        self._began = self._began or now
        sizes = {pid: size for pid in self._tree.refresh() if (size := self._resident(pid))}
        if not sizes:
            raise NotYet(f"process {self._pid} is not running")
        self._follow(sizes)
        rows = dict(filter(None, map(self._row, self._followed)))
        spent = time.thread_time() - before
        self.pause_s = min(max(FIRST_PAUSE_S, (now - self._began) / 5), max(FIRST_PAUSE_S, spent / BUDGET))
        return {"procs": rows}

    def _resident(self, pid: int) -> int:
        """KiB, from the cheap file."""
        text = read_optional(f"{self._proc}/{pid}/statm")
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024 if text else 0

    def _follow(self, sizes: Mapping[int, int]) -> None:
        """Keep whom we follow; room goes to the largest others, and one twice as large takes a place."""
        followed = [pid for pid in self._followed if pid in sizes]
        for pid in sorted(sizes.keys() - set(followed), key=lambda p: -sizes[p]):
            if len(followed) >= FOLLOWED:
                least = min(followed, key=lambda p: sizes[p])
                if sizes[pid] < 2 * sizes[least]:
                    break
                followed.remove(least)
            if sizes[pid] + sum(sizes[p] for p in followed) <= LARGEST_KIB:
                followed.append(pid)
        self._followed = followed

    def _row(self, pid: int) -> tuple[str, str] | None:
        stat = read_optional(f"{self._proc}/{pid}/stat")
        if not stat:
            return None
        try:
            found = keyed(read_text(f"{self._proc}/{pid}/smaps_rollup"), KEYS)
        except (FileNotFoundError, ProcessLookupError):
            return None  # it ended, or has no memory of its own
        field = stat.rpartition(")")[2].split()
        # Pages of a file that was just written are dirty as well, but not anonymous; shared ones are not private.
        private = min(found.get("Private_Dirty", 0), found.get("Anonymous", 0)) + found.get("Private_Hugetlb", 0)
        return f"{pid}/{field[19]}", f"{field[1]} {found.get('Rss', 0)} {found.get('Pss', 0)} {private}"

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Memory and growth of the process that forked or, without workers, holds most, and of its workers."""
        facts = Facts(self.origin)
        seen: dict[str, list[list[int]]] = {}
        for sample in samples:
            for pid, row in sample["procs"].items():
                above, *sizes = map(int, row.split())
                seen.setdefault(pid, []).append([above, *(kib * 1024 for kib in sizes)])
        if not seen:
            return (), {}
        workers = {pid: _workers(pid, seen) for pid in seen}
        # After a fork parent and children share everything: who forked is found by its children, not by its size.
        main = max(seen, key=lambda pid: (len(workers[pid]), median([row[3] for row in seen[pid]]) or 0.0))
        number = main.partition("/")[0]
        rows = seen[main]
        facts.add("process.memory.unique", rows[-1][3], "By", f"process {number}")
        facts.add("process.memory.unique.growth", growth([row[3] for row in rows]), "1", f"process {number}")
        facts.add("process.memory.proportional.growth", growth([row[2] for row in rows]), "1", f"process {number}")
        held = median([seen[pid][-1][3] for pid in workers[main]])
        facts.add("process.memory.worker.unique", held, "By", f"children of process {number}")
        grown = _together([seen[pid] for pid in workers[main]])
        facts.add("process.memory.workers_unique.growth", grown, "1", f"children of process {number}")
        return facts.all(), {}


def _workers(parent: str, seen: Mapping[str, Sequence[Sequence[int]]]) -> list[str]:
    """The children that began no larger than their parent: a rank outgrows its launcher, a forked worker does not."""
    number = int(parent.partition("/")[0])
    largest = max(row[1] for row in seen[parent])
    return [pid for pid, rows in seen.items() if rows[0][0] == number and rows[0][1] <= largest]


def _together(workers: Sequence[Sequence[Sequence[int]]]) -> float | None:
    """Growth of the private memory of several processes, each over its own life, weighted by their size."""
    grown, held = 0.0, 0.0
    for rows in workers:
        share = growth([row[3] for row in rows])
        before = median([row[3] for row in rows]) or 0.0
        if share is not None:
            grown, held = grown + share * before, held + before
    return ratio(grown, held)
