"""Memory that was given from another node than asked, and whether the job is bound to the node of its GPU.

Only for machines with more than one node. Which GPU a process uses is told by the device files it
holds open, and where that GPU is plugged in by its PCI address.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from advisor.collect.base import Facts, Parsed, Sample, increase, keyed, ratio, read_optional
from advisor.collect.process import Tree

LEAST_PAGES = 10_000  # of fewer allocations a share means nothing
KEYS = ("numa_hit", "numa_miss", "other_node")


class Numa:
    """The memory nodes, and the processes under `pid` that hold a GPU."""

    kind = "host"
    origin = "/sys/devices/system/node"
    pause_s = 5.0

    def __init__(self, pid: int | None = None, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc, self._sys = Path(proc), Path(sys)
        self._tree = Tree(pid, proc) if pid is not None else None
        self._gpus: dict[int, str] | None = None

    def read(self) -> Sample:
        """Counters and CPUs per node, the node of each GPU, and CPUs and GPUs of each process that holds one."""
        nodes = sorted((self._sys / "devices/system/node").glob("node[0-9]*"))
        if len(nodes) < 2:
            raise FileNotFoundError("this machine has one memory node")
        if self._gpus is None:
            self._gpus = self._places()
        return {
            "nodes": {node.name: read_optional(node / "numastat") or "" for node in nodes},
            "cpus": {node.name: (read_optional(node / "cpulist") or "").strip() for node in nodes},
            "gpus": {str(minor): node for minor, node in self._gpus.items()},
            "procs": self._users() if self._tree and self._gpus else {},
        }

    def _places(self) -> dict[int, str]:
        """Minor number of /dev/nvidiaN -> node, for the GPUs whose node the firmware tells."""
        found = {}
        for folder in sorted((self._proc / "driver/nvidia/gpus").glob("*")):
            minor = keyed((read_optional(folder / "information") or "").replace("Device Minor", "minor"), ("minor",))
            node = read_optional(self._sys / "bus/pci/devices" / folder.name.lower() / "numa_node")
            if minor and node and int(node) >= 0:
                found[minor["minor"]] = f"node{int(node)}"
        return found

    def _users(self) -> dict[str, list[str]]:
        assert self._tree is not None  # asked before
        users = {}
        for pid in sorted(self._tree.refresh()):
            minors = self._held(pid)
            status = read_optional(self._proc / str(pid) / "status") or ""
            allowed = status.partition("Cpus_allowed_list:")[2].partition("\n")[0].strip()
            if minors and allowed:
                users[str(pid)] = [allowed, " ".join(sorted(minors))]
        return users

    def _held(self, pid: int) -> set[str]:
        folder = f"{self._proc}/{pid}/fd"
        minors = set()
        try:
            for name in os.listdir(folder):
                target = os.readlink(f"{folder}/{name}")
                minor = target.removeprefix("/dev/nvidia")
                if minor != target and minor.isdigit():
                    minors.add(minor)
        except OSError:
            return set()  # it has ended, or belongs to another user
        return minors

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Share of remote allocations over the window; binding as it was last."""
        facts = Facts(self.origin)
        counts = {n: [keyed(s["nodes"][n], KEYS) for s in samples if n in s["nodes"]] for n in samples[-1]["nodes"]}
        grown = [{k: increase([row.get(k, 0) for row in rows]) for k in KEYS} for rows in counts.values()]
        pages = sum(g["numa_hit"] + g["numa_miss"] for g in grown)
        if pages >= LEAST_PAGES:
            # other_node counts allocations by CPUs of another node, whether they wanted this node or not.
            facts.share("system.numa.remote.fraction", ratio(sum(g["other_node"] for g in grown), pages))
        _binding(facts, samples[-1])
        return facts.all(), {}


def _binding(facts: Facts, sample: Sample) -> None:
    nodes = {name: numbers(text) for name, text in sample["cpus"].items() if text}
    verdicts: dict[str, bool | None] = {}
    for pid, (allowed, minors) in sample["procs"].items():
        near = {sample["gpus"][m] for m in minors.split() if m in sample["gpus"]}
        if near:
            verdicts[pid] = _bound(numbers(allowed), near, nodes)
    loose = [pid for pid, bound in verdicts.items() if bound is False]
    if loose:
        facts.add("config.numa_bound", False, "{bool}", f"process {loose[0]}")
    elif verdicts and all(verdicts.values()):
        facts.add("config.numa_bound", True, "{bool}")


def _bound(allowed: set[int], near: set[str], nodes: Mapping[str, set[int]]) -> bool | None:
    """Whether the CPUs lie in the node of the GPU; None when the process holds GPUs of several nodes."""
    inside = {name for name in near if allowed <= nodes.get(name, set())}
    if not inside:
        return False
    return True if len(near) == 1 else None


def numbers(text: str) -> set[int]:
    """The CPUs that a kernel list names.

    >>> sorted(numbers("0-2,8"))
    [0, 1, 2, 8]
    """
    ends = (part.partition("-") for part in text.split(","))
    return {n for first, _, last in ends for n in range(int(first), int(last or first) + 1)}
