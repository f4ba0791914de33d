"""The host below the job: CPU time, memory, disks, NFS and network, and how each shows in levels and counters."""

# ruff: noqa: E501 - tables read better in one line

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bench.accuracy.captures.machine import DISK, Machine, merged, storage_rate

DEFAULTS: dict[str, Any] = {
    "cpus": 96, "user": 0.21, "system": 0.025, "steal": 0.0, "softirq": 0.003, "hot": 0, "memory_gib": 1008.0,
    "used_gib": 214.0, "cached_gib": 560.0, "dirty_gib": 0.4, "swap_gib": 8.0, "swapped_gib": 0.0, "swap_in": 0.0,
    "refaults": 12.0, "majors": 0.2, "oom_kills": 0, "shm_gib": 504.0, "shm_used": 0.02, "full": 0.41, "inodes": 0.93,
    "retransmits": 2e-5, "link_gbit": 100, "rx_mb": 60.0, "tx_mb": 45.0, "mtu": 9000, "governor": "performance",
    "ib": 0, "ib_gbit": {}, "ib_wait": 0.0, "symbol_errors": 0, "remote": 0.04, "nfs": None, "write_mb": 12.0, "bond": None,
}  # fmt: skip


@dataclass(frozen=True)
class Disk:
    """The data disk: reads per second, their size in kB, time per read in s, depth of the queue, share busy."""

    reads: float
    request_kb: float
    latency: float
    queue: float
    busy: float


class Host:
    """The host of a described machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.told = merged(DEFAULTS, machine.section("host"))

    def __getitem__(self, key: str) -> Any:
        return self.told[key]

    @cached_property
    def disk(self) -> Disk:
        """An open queue: what is asked for comes until the disk is full, then readers stand in line (Little)."""
        told = merged(DISK, self.told.get("disk") or {})
        training = self.machine.section("training")
        asked = training.get("batch_mb", 0.0) / self.machine.step if training.get("batch_mb") else told.get("mb_s", 8.0)
        most, kb = storage_rate(told), float(told["request_kb"])
        share = asked / most
        base = float(told["base_ms"]) / 1e3
        if share >= 0.97 or self._starves(most, training):
            reads = most * 1000 / kb
            return Disk(reads, kb, told["readers"] / reads, float(told["readers"]), 0.997)
        reads = asked * 1000 / kb
        latency = base / (1 - share)
        return Disk(reads, kb, latency, reads * latency, min(1.0, max(share, 0.9 * reads * base)))

    def _starves(self, most: float, training: dict[str, Any]) -> bool:
        """Whether the job waits for this disk: then it is never idle."""
        return training.get("batch_mb", 0.0) / most > self.machine.compute + self.machine.comm

    @property
    def full_stall(self) -> float:
        """Share of time in which everything that could run waits for storage."""
        if self.told.get("io_full") is not None:
            return float(self.told["io_full"])
        waits = self.disk.queue >= 1 and self.machine.spec.get("training") is not None
        return 0.95 * self.machine.wait / self.machine.step if waits else 0.001

    @property
    def modes(self) -> dict[str, float]:
        """Shares of the time of all CPUs."""
        iowait = min(0.9, self.disk.queue / self["cpus"]) if self.disk.queue >= 1 else 0.0005
        iowait = self.told.get("iowait", iowait)
        used = {
            "user": self["user"], "nice": 0.0, "system": self["system"], "iowait": iowait, "irq": 0.0,
            "softirq": self["softirq"], "steal": self["steal"],
        }  # fmt: skip
        return used | {"idle": max(0.0, 1 - sum(used.values()))}

    def of_cpu(self, cpu: int) -> dict[str, float]:
        """Shares of the time of one CPU: the first `hot` ones are full of soft interrupts."""
        if cpu < self["hot"]:
            return {"user": 0.005, "nice": 0.0, "system": 0.02, "iowait": 0.0, "irq": 0.0, "softirq": 0.97,
                    "steal": 0.0, "idle": 0.005}  # fmt: skip
        return self.modes

    @property
    def available_gib(self) -> float:
        """What programs can still have: free memory and most of the page cache."""
        return float(self["memory_gib"] - self["used_gib"] - 6.0)
