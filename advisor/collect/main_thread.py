"""CPU used by the main thread of the process that does the work.

A launcher or a shell sleeps while its children train, so the root is not always the one to look
at: of the processes that use a CPU at all, those nearest to the root are followed. Loader workers
are further down than the rank that started them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor.collect.base import Facts, Kept, Sample, increase

FOLLOWED = 4
WORKS = 0.02  # of one core; a launcher that polls its children uses less


class MainThreads:
    """Follows the main threads of a few working processes."""

    def __init__(self, proc: str, files: Kept) -> None:
        self._proc, self._files = proc, files
        self._before: dict[int, tuple[int, float]] = {}
        self._followed: dict[int, int] = {}  # process -> its distance from the root

    def read(self, stats: Mapping[int, Sequence[str]], root: int, uptime: float, tick: int) -> dict[str, str]:
        """For ``pid/start`` its distance from the root and the CPU ticks of its main thread and of all threads.

        `stats` holds the fields of /proc/PID/stat after the name, `uptime` is in seconds.
        """
        now = {pid: (int(field[11]) + int(field[12]), uptime) for pid, field in stats.items()}
        for pid, (ticks, at) in now.items():
            before, then = self._before.get(pid, (ticks, at))
            if at > then and (ticks - before) / tick / (at - then) > WORKS and pid not in self._followed:
                self._followed[pid] = _distance(pid, root, stats)
        self._before = now
        near = sorted((d, pid) for pid, d in self._followed.items() if pid in stats)[:FOLLOWED]
        self._followed = {pid: d for d, pid in near}
        found = {}
        for pid, distance in self._followed.items():
            text = self._files.optional(f"{self._proc}/{pid}/task/{pid}/stat")
            if text:
                field = text.rpartition(")")[2].split()
                found[f"{pid}/{stats[pid][19]}"] = f"{distance} {int(field[11]) + int(field[12])} {now[pid][0]}"
        return found


def _distance(pid: int, root: int, stats: Mapping[int, Sequence[str]]) -> int:
    steps = 0
    while pid != root and pid in stats and steps < len(stats):
        pid, steps = int(stats[pid][1]), steps + 1
    return steps


def main_thread(facts: Facts, samples: Sequence[Sample], tick: int) -> None:
    """CPUs that the busiest main thread used, of the followed processes nearest to the root."""
    seen: dict[str, list[tuple[float, ...]]] = {}
    for sample in samples:
        for pid, text in sample.get("main", {}).items():
            seen.setdefault(pid, []).append((sample["t"], *map(int, text.split())))
    longest = max((rows[-1][0] - rows[0][0] for rows in seen.values()), default=0.0)
    used = []
    for pid, rows in seen.items():
        seconds = rows[-1][0] - rows[0][0]
        if seconds > 0 and seconds >= longest / 2:
            main, whole = (increase([row[i] for row in rows]) / tick / seconds for i in (2, 3))
            if whole > WORKS:  # a launcher worked at its start only
                used.append((-rows[-1][1], main, pid.partition("/")[0]))
    if used:
        _, cpus, pid = max(used)
        facts.add("process.cpu.main_thread.utilization", cpus, "{cpu}", f"process {pid}")
