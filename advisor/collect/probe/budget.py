"""What a probe may use, and whether the machine has that much to spare."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from advisor.collect.base import keyed, read_optional
from advisor.collect.cgroup import Cgroup

MIB = 1 << 20
SPARE = 4  # a probe takes at most a quarter of what is free


class Refused(FileNotFoundError):
    """A probe that was not started, and why: its source is absent."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one probe may use: `seconds` of time, `size` bytes of memory, and the same of storage."""

    seconds: float = 10.0
    size: int = 256 * MIB


DEFAULT = Budget()


def need_memory(size: int) -> None:
    """Raise Refused unless `size` bytes are a small part of what this machine and this container have free."""
    free = free_memory()
    if free is not None and free < SPARE * size:
        raise Refused(
            f"only {free // MIB} MiB of memory are free here and the probe wants {size // MIB} MiB: "
            f"it was not started; free {SPARE * size // MIB} MiB first"
        )


def free_memory(proc: str = "/proc") -> int | None:
    """Bytes that can be allocated without anyone being killed or swapped; None when that is not known."""
    kib = keyed(read_optional(f"{proc}/meminfo") or "", ("MemAvailable",)).get("MemAvailable")
    known = [] if kib is None else [kib * 1024]
    try:
        facts, _ = Cgroup().parse([{**Cgroup().read(), "t": 0.0}])
    except OSError:
        facts = ()
    values = {f.name: float(f.value) for f in facts if isinstance(f.value, float)}
    limit, used = values.get("container.memory.limit"), values.get("container.memory.utilization")
    if limit is not None and used is not None:
        known.append(int(limit * (1 - used)))
    return min(known, default=None)


def crowd() -> str:
    """Words for the note when others use so much of the CPUs that a probe shows less than the machine can do."""
    load, cpus = os.getloadavg()[0], len(os.sched_getaffinity(0))
    return f"; the load was {load:.1f} on {cpus} CPUs, so the machine can do more than this" if load > cpus / 2 else ""


def need_space(folder: Path, size: int) -> None:
    """Raise Refused unless `size` bytes are a small part of the free space of the file system of `folder`."""
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    if free < SPARE * size:
        raise Refused(
            f"only {free // MIB} MiB are free in {folder} and the probe would write {size // MIB} MiB: "
            "it was not started; give existing files with --data"
        )
