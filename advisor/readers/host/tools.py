"""Which tool or file a text is of, by what it prints; and what all of them say together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.host import cpu, disk, memory, network, nfs, pci, proc
from advisor.readers.host.part import Part, Shared
from advisor.readers.rows import Row, facts, row

KIND = "host"
ONE_LINE, SMALL = 100, 1 << 16  # characters
CPUS = "system.cpu.logical.count"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool or a file: what it is called, what it always prints, and the parser of its output.

    Args:
        name: for notes.
        word: a fixed string that is in every output, looked for first since that is fast.
        sign: the pattern that decides.
        read: the parser.
        longest: characters of the longest output, for files of a line.
    """

    name: str
    word: str
    sign: re.Pattern[str]
    read: Callable[[Part, Shared], Iterator[Row]]
    longest: int = 1 << 30

    def holds(self, text: str) -> bool:
        """Whether a text is of this tool."""
        return len(text) <= self.longest and self.word in text and self.sign.search(text) is not None


def _tool(
    name: str, word: str, sign: str, read: Callable[[Part, Shared], Iterator[Row]], longest: int = 1 << 30
) -> Tool:
    return Tool(name, word, re.compile(sign, re.MULTILINE), read, longest)


# In this order: what tells the time since boot and the CPUs first; intervals before means since boot.
TOOLS: Sequence[Tool] = (
    _tool("/proc/uptime", ".", r"\A\s{0,9}\d{1,10}\.\d\d \d{1,14}\.\d\d\s*\Z", proc.uptime, ONE_LINE),
    _tool("uptime", "load average", r"\bload averages?: ", cpu.uptime),
    _tool("nproc", "", r"\A\s{0,9}\d{1,5}\s{0,9}\Z", cpu.nproc, ONE_LINE),
    _tool("lscpu", "Thread(s)", r"^ {0,8}Thread\(s\) per core:", cpu.lscpu),
    _tool("mpstat", "%us", r"\bCPU +%us(?:e)?r\b", cpu.mpstat),
    _tool("iostat", "avg-cpu", r"\bavg-cpu: +%user", cpu.averages),
    _tool("vmstat", "swpd", r"\br +b +swpd\b", cpu.vmstat),
    _tool("top", "Cpu", r"Cpu(?:\(s\)|\d{1,5})\s{0,3}:", cpu.top),
    _tool("sar", "runq-sz", r"\brunq-sz\b", cpu.queue),
    _tool("sar", "kb", r"\b(?:kbmemfree|kbswpfree)\b", memory.sar),
    _tool("sar", "pswpin/s", r"\bpswpin/s\b", memory.sar),
    _tool("sar", "pgpgin/s", r"\bpgpgin/s\b", memory.sar),
    _tool("sar", "DEV ", r"\b(?:DEV +tps)\b", disk.sar),
    _tool("sar", "xpck/s", r"\brxpck/s\b", network.sar),
    _tool("sar", "xerr/s", r"\brxerr/s\b", network.sar),
    _tool("sar", "seg/s", r"\boseg/s\b", network.sar),
    _tool("iostat", "Device", r"\bDevice:? +(?:tps|r/s|rrqm/s)\b", disk.iostat),
    _tool("/proc/pressure", "avg10=", r"\b(?:some|full) avg10=", proc.pressure),
    _tool("/proc/meminfo", "MemTotal", r"^\s{0,4}MemTotal: ", memory.meminfo),
    _tool("free", "total", r"^[ \t]{0,40}total {1,20}used {1,20}free\b", memory.free),
    _tool("top", "Mem", r"^\s{0,4}(?:[KMGT]iB )?Mem ?: {1,4}[\d.,]{1,15}[kKmMgG]?\+? total", cpu.top_memory),
    _tool("/proc/stat", "cpu  ", r"^cpu {2}\d", proc.stat),
    _tool("/proc/loadavg", "/", r"^\d{1,7}\.\d\d \d{1,7}\.\d\d \d{1,7}\.\d\d \d{1,7}/\d", proc.loadavg, ONE_LINE),
    _tool("/proc/cpuinfo", "processor", r"^processor\s{0,4}: \d", proc.cpuinfo),
    _tool("/proc/vmstat", "nr_free_pages", r"^nr_free_pages \d", memory.vmstat_file),
    _tool(
        "/proc/diskstats", " ", r"^ {0,8}\d{1,5} {1,8}\d{1,7} \S{1,40} \d{1,20} \d{1,20} \d{1,20} \d", disk.diskstats
    ),
    _tool("/proc/mdstat", "Personalities", r"^Personalities :", disk.mdstat),
    _tool("/proc/net/dev", "Inter-", r"^Inter-\| ", network.net_dev),
    _tool("/proc/net/snmp", "RtoAlgorithm", r"^Tcp: RtoAlgorithm ", network.snmp),
    _tool("/proc/net/bonding", "Slave Interface", r"^Slave Interface:", network.bonding),
    _tool("/proc/mountstats", "mounted on", r"^device \S{1,300} mounted on ", nfs.mountstats),
    _tool("control group", "_", r"(?:^|:)(?:nr_periods|oom_kill|inactive_file) \d", proc.group, SMALL),
    _tool("control group", "m", r"\b(?:cpu|memory)\.(?:max|limit_in_bytes):\w", proc.group, SMALL),
    _tool("control group", "", r"\A\s{0,9}(?:max|\d{1,20})(?: \d{1,9})?\s{0,9}\Z", proc.group, ONE_LINE),
    _tool("df", "Mounted on", r"\bMounted on$", disk.df),
    _tool("numactl", "available", r"^ {0,4}available: \d{1,4} nodes? \(", cpu.numactl),
    _tool("ulimit", "open files", r"^ {0,4}(?:open files {1,30}\(|Max open files )", memory.limits),
    _tool("ps", "PID", r"\bPID\b[^\n]{0,200}\bCO?MM?A?N?D?\b", cpu.states),
    _tool("ethtool", "Settings for", r"^Settings for ", network.ethtool),
    _tool("ibstat", "'", r"^(?:CA '|Infiniband device ')", network.ports),
    _tool("nfsiostat", "avg RTT", r"\bavg RTT \(ms\)", nfs.nfsiostat),
    _tool("nfsstat", "Client nfs", r"^Client nfs v", nfs.nfsstat),
    _tool("lspci", "controller", r"^(?:[0-9a-f]{4,6}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f] [A-Z3]", pci.lspci),
)


def read(parts: Iterable[Part], shared: Shared | None = None) -> tuple[tuple[Reading, ...], Shared]:
    """One reading per tool whose output is among the parts and says something, and what they share."""
    shared = shared or Shared()
    held = [part for part in parts if part.text.strip()]
    found: list[Reading] = []
    done: set[tuple[int, int]] = set()  # a parser reads a part once, however many of its tables are in it
    for tool in TOOLS:
        for i, part in enumerate(held):
            if (id(tool.read), i) in done or not tool.holds(part.text):
                continue
            done.add((id(tool.read), i))
            before = len(shared.notes)
            said = facts(tool.read(part, shared), part.origin)
            notes = list(dict.fromkeys(shared.notes[before:])) or [tool.name]
            del shared.notes[before:]
            if said:
                found.append(Reading(Source(KIND, part.origin, "ok", "; ".join(notes)), said))
    counted = any(fact.name == CPUS for reading in found for fact in reading.facts)
    return (*found, *_together(shared, counted, held)), shared


def _together(shared: Shared, counted: bool, parts: Sequence[Part]) -> Iterator[Reading]:
    """What needs the output of two tools: the load of one CPU, and CPUs that only a banner told."""
    rows = [] if counted else [row(CPUS, shared.cpus, "{cpu}")]
    origin = parts[0].origin if parts else ""
    if shared.load is not None:
        value, where = shared.load
        origin = where.rpartition(":")[0]
        rows.append(row("system.load.per_cpu", value / shared.cpus if shared.cpus else None, "1", where))
    said = facts(rows, origin)
    if said:
        note = "load average of one minute" if len(said) == 1 and said[0].name != CPUS else "the number of CPUs"
        yield Reading(Source(KIND, origin, "ok", note), said)
