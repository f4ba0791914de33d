"""A sosreport, or a copy of /proc: every file that is the output of a command or a file of /proc, read as such.

Counters are since boot, so their means are over the time since boot; levels are of the moment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, no_tick
from advisor.readers.host import proc
from advisor.readers.host.cpu import uptime as uptime_line
from advisor.readers.host.part import Part, Shared, parts
from advisor.readers.host.roots import sos_roots
from advisor.readers.host.tools import KIND, read
from advisor.readers.intake import Tree
from advisor.readers.log import kernel
from advisor.readers.log.log import load
from advisor.readers.told import Told

MAX_BYTES = 8 << 20  # of one output; tables of processes have some hundred kilobytes
FILES = re.compile(
    r"(?:proc/)?(?:uptime|stat|meminfo|vmstat|loadavg|cpuinfo|diskstats|mdstat|pressure/\w+|net/(?:dev|snmp|bonding/[\w.-]+))"
    r"|sos_commands/(?:memory/free\w*|memory/free_-\w|processor/lscpu|filesys/df_[\w.-]+|process/ps_[\w.,-]+"
    r"|(?:host|general)/uptime|pci/lspci[\w.-]*|numa/numactl[\w.-]*|networking/ethtool_[a-z]\w*|infiniband/ibstat\w*"
    r"|nfs/nfsstat[\w.-]*|block/iostat[\w.-]*|md/mdadm[\w.-]*)"
    r"|free|df|uptime|lspci|lscpu"
)
# One log is enough: they hold the same lines. The first of these that there is, is read.
LOGS = (
    r"sos_commands/kernel/dmesg[\w.-]*",
    r"dmesg|var/log/dmesg",
    r"var/log/kern\.log",
    r"sos_commands/logs/journalctl_[\w.-]*",
    r"var/log/(?:messages|syslog)",
)
AGREE_S = 120.0  # ``uptime`` tells whole minutes


def read_tree(tree: Tree, tick: Tick) -> list[Told]:
    """What the files of each machine say together (raises InputError when those of one say nothing)."""
    roots = sos_roots(tree.files)
    if len(roots) < 2:
        return [_machine(tree, tick)]
    return [_machine(_below(tree, root), tick) for root in roots]


def _below(tree: Tree, root: str) -> Tree:
    files = {name[len(root) :]: artefact for name, artefact in tree.files.items() if name.startswith(root)}
    return Tree(f"{tree.origin.rstrip('/')}/{root.rstrip('/')}", files)


def _machine(tree: Tree, tick: Tick) -> Told:
    texts = dict(_texts(tree, tick))
    shared = Shared(uptime=_since_boot(texts))
    readings, shared = read(texts.values(), shared)
    logged = _kernel(tree)
    if not readings and not logged:
        raise InputError(
            f"{tree.origin} has the layout of a copy of a machine's files, but none of them says anything that is "
            "known; collect it again as root"
        )
    seconds = shared.uptime or 0.0
    note = f"a copy of one machine's files, {len(texts)} of them read; levels are of the moment"
    note += (
        f", counters are means over the {seconds:,.0f} s since boot" if seconds else ", the time since boot is not told"
    )
    summary = Reading(Source(KIND, tree.origin, "ok", note), ())
    name = tree.origin.rstrip("/").rsplit("/", 1)[-1]
    return Told((summary, *_first(readings), *logged), (), _boot(texts), seconds, name)


def _first(readings: Sequence[Reading]) -> Iterator[Reading]:
    """Every fact once: several files say the same, some seconds apart."""
    seen: set[str] = set()
    for reading in readings:
        facts = tuple(fact for fact in reading.facts if fact.name not in seen)
        seen.update(fact.name for fact in facts)
        if facts:
            yield replace(reading, facts=facts)


def _texts(tree: Tree, tick: Tick) -> Iterator[tuple[str, Part]]:
    """Every file that is known by its name, in one part, in the order of their names."""
    for name in sorted(tree.files, key=lambda name: (len(name), name)):
        artefact = tree.files[name]
        if not FILES.fullmatch(name) or artefact.size > MAX_BYTES:
            tick(artefact.size)
            continue
        try:
            log = load(artefact, tick)
        except InputError:
            continue  # one damaged file does not hide the others
        part = next(parts(log), None)
        if part is not None:
            lines = log.text.split("\n")
            command = name.rsplit("/", 1)[-1].replace("_", " ") if name.startswith("sos") else name
            yield name, Part(log.origin, command, lines, range(1, len(lines) + 1))


def _since_boot(texts: Mapping[str, Part]) -> float | None:
    """Seconds: as /proc/uptime says, else by the ticks of a CPU where they agree with the minutes of ``uptime``."""
    exact, coarse = Shared(), Shared()
    for name, part in texts.items():
        if name.endswith("proc/uptime") or name == "uptime":
            list(proc.uptime(part, exact))
        if "load average" in part.text:
            list(uptime_line(part, coarse))
    if exact.uptime:
        return exact.uptime
    stat = next((part for name, part in texts.items() if name in ("proc/stat", "stat")), None)
    ticks = proc.uptime_of_ticks(stat.text) if stat else None
    if ticks and coarse.uptime and abs(ticks - coarse.uptime) <= max(AGREE_S, 0.02 * ticks):
        return ticks
    return coarse.uptime


def _boot(texts: Mapping[str, Part]) -> float | None:
    """When the machine was booted, Unix seconds."""
    for name in ("proc/stat", "stat"):
        told = re.search(r"^btime (\d{1,12})$", texts[name].text, re.MULTILINE) if name in texts else None
        if told:
            return float(told[1])
    return None


def _kernel(tree: Tree) -> tuple[Reading, ...]:
    for pattern in LOGS:
        for name in sorted(tree.files):
            if re.fullmatch(pattern, name):
                told = _told(tree.files[name])
                if told:
                    return told[0].readings
    return ()


def _told(artefact: Artefact) -> list[Told]:
    try:
        return kernel.find(load(artefact, no_tick))
    except InputError:
        return []
