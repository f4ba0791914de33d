"""What does not change while a job runs: cores, NUMA nodes, clock governor. Read once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advisor.collect.base import Facts, Parsed, Sample, read_optional


class Environment:
    """Static facts of the machine, from /sys."""

    kind = "environment"
    origin = "/sys/devices/system"
    once = True

    def __init__(self, sys: str = "/sys") -> None:
        self._system = Path(sys) / "devices/system"

    def read(self) -> Sample:
        """The CPU list of each core, NUMA nodes with their memory lines, governor and top clock of the first CPU."""
        if not (self._system / "cpu").is_dir():
            raise FileNotFoundError("no /sys/devices/system/cpu: the machine's cores cannot be listed")
        siblings = (self._system / "cpu").glob("cpu[0-9]*/topology/thread_siblings_list")
        cores = {text.strip() for text in map(read_optional, siblings) if text}  # one text per core, whatever its ids
        nodes = [read_optional(node / "meminfo") for node in (self._system / "node").glob("node[0-9]*")]
        return {
            "cores": sorted(cores),
            "nodes": [line for text in nodes if text for line in text.splitlines() if "MemTotal" in line],
            "governor": read_optional(self._system / "cpu/cpu0/cpufreq/scaling_governor"),
            "max_khz": read_optional(self._system / "cpu/cpu0/cpufreq/cpuinfo_max_freq"),
        }

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Counts, governor and top clock; a node without memory is not counted."""
        sample = samples[0]
        facts = Facts(self.origin)
        facts.add("system.cpu.physical.count", len(sample["cores"]) or None, "{cpu}")
        with_memory = [line for line in sample["nodes"] if int(line.split()[-2]) > 0]
        facts.add("system.numa.node.count", len(with_memory) or None, "{node}")
        governor = sample["governor"]
        facts.add("system.cpu.frequency.governor", governor.strip() if governor else None, "{string}")
        top = sample.get("max_khz")
        facts.add("system.cpu.frequency.max", int(top) * 1000 if top else None, "Hz")
        return facts.all(), {}
