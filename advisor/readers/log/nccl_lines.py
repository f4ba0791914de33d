"""Lines of NCCL's debug log -> what they say together about transports, interfaces, ranks and settings.

Lines look like ``host:pid:tid [device] NCCL INFO text`` in all versions from 2.4 on, 2.3 leaves out the word
NCCL, and a paste may leave out everything before it. RCCL prints the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from advisor.readers.log.log import Log
from advisor.readers.log.near import near

_LINE = re.compile(r"NCCL (?P<level>INFO|WARN) (?P<text>[^\n]{1,4000})")
_OLD_LINE = re.compile(r"\] (?P<level>INFO|WARN) (?P<text>[^\n]{1,4000})")  # NCCL 2.3
# Looked for in the few characters before a message only: a line may be as long as a file.
_BEFORE = re.compile(r"(?P<host>[A-Za-z0-9_.\-]{1,128}):\d{1,10}:\d{1,10} \[-?\d{1,4}\] (?:\S{1,120} ){0,2}$")
_LOOK_BACK = 320
_PREFIXES = 10_000
_HOP = re.compile(r"(?:Channel|Ring|Tree|Chain) [\d/]{1,12} ?: [^\n]{1,90}? via (?P<path>[^\n]{1,80})")
_OLD_HOP = re.compile(r"^\d{1,6}(?:\[\w{1,16}\])? -> \d{1,6}(?:\[\w{1,16}\])? via (?P<path>[^\n]{1,80})")
_RANK = re.compile(r"\brank (?P<rank>\d{1,7}) (?:nranks|nRanks) (?P<ranks>\d{1,7})")
_PLACED = re.compile(r"\bnNodes (?P<nodes>\d{1,6}) localRanks (?P<local>\d{1,5})")
_RING = re.compile(r"^Channel (?P<n>\d{1,4})/(?P<of>\d{1,4}) :(?P<order>(?: {1,8}\d{1,7}){2,}) *$")
_COLL = re.compile(r"^(?P<coll>\d{1,4}) coll channels,")
_NVLS = re.compile(r"NVLS multicast support is (?P<not>not )?available")
_USING = re.compile(r"^NET/?(?P<net>[^:\n]{0,40}?) ?: Using (?P<devices>\[0\][^\n]{1,3000}|interface [^\n]{1,200})")
_DEVICE = re.compile(r"\[\d{1,3}\](?P<name>[^\s:<\[\]]{1,64})")
_OLD_DEVICE = re.compile(r"interface (?P<name>[^\s:<]{1,64})")
_NETWORK = re.compile(r"^Using (?:network|internal Network) (?P<net>[^\n(]{1,60})")
_OFI = re.compile(r"^NET/OFI Selected [Pp]rovider is (?P<name>\w{1,40})")
_ENV = re.compile(r"\b(?P<name>(?:NCCL|RCCL)_[A-Z0-9_]{2,60}) set by environment to (?P<value>\S{1,200})")
_INIT = re.compile(r"^Init timings\b[^\n]{0,120}? total (?P<seconds>\d{1,7}\.\d{1,6})")
_VERSION = re.compile(r"\b(?:NCCL|RCCL) version:? ?:?\s*(?P<version>\d{1,2}\.\d{1,2}(?:\.\d{1,3})?)")
_NO_MODULE = re.compile(r"GPU Direct RDMA Disabled for HCA")
_NO_PEER = re.compile(r"P2P is disabled between connected GPUs")
_FAILED = re.compile(
    r"returned \d+ \([^)]{0,20}\) (?:errno|or)|Connection (?:refused|reset|closed|timed out)|closed by remote peer|"
    r"Got completion|Cuda failure|HIP failure|\bibv_\w{1,40} failed|No (?:space|route|such device)|"
    r"[Ee]rror (?:while|encountered)|\b[Ff]ailed\b|unhandled (?:cuda|system) error|remote process exited|Mismatched|"
    r"Timeout|timed out"
)
_SHM = re.compile(r"/dev/shm/|shared memory segment|posix_fallocate")


@dataclass
class Seen:
    """What the lines of all ranks say together."""

    lines: int = 0
    at: int = 0
    version: tuple[str, int] | None = None
    paths: Counter[str] = field(default_factory=Counter)
    path_at: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, set[int]] = field(default_factory=dict)
    ranks: int = 0
    nodes: int = 0
    local: int = 0
    devices: dict[str, dict[str, int]] = field(default_factory=dict)
    network: tuple[str, int] | None = None
    env: dict[str, tuple[str, int]] = field(default_factory=dict)
    channels: int = 0
    nvls: bool | None = None
    init_s: float | None = None
    no_module: int | None = None
    no_peer: int | None = None
    failed: list[tuple[str, int]] = field(default_factory=list)
    shm_full: list[int] = field(default_factory=list)


def messages(log: Log) -> Iterator[tuple[str, str, str, int]]:
    """Host (empty where the line does not say), level, text and position of every message of NCCL."""
    old = not _LINE.search(log.text)
    hosts: dict[str, str | None] = {}  # by what stands before a message: few prefixes stand before very many
    for match in (_OLD_LINE if old else _LINE).finditer(log.text):
        at = match.start() + 2 * old
        start = log.text.rfind("\n", max(0, at - _LOOK_BACK), at) + 1
        before = log.text[max(start, at - _LOOK_BACK) : at]
        if before not in hosts:
            if len(hosts) > _PREFIXES:  # time stamps make every prefix another one
                hosts.clear()
            found = _BEFORE.search(before)
            hosts[before] = found["host"] if found else None
        host = hosts[before]
        if host is None and old:
            continue
        yield host or "", match["level"], match["text"].rstrip(), at


def look(log: Log) -> Seen:
    """Everything that the messages say."""
    seen = Seen()
    if told := next(near(log.text, ("CCL version",), _VERSION), None):
        seen.version = told["version"], told.start()
    for host, level, text, at in messages(log):
        seen.lines += 1
        seen.at = seen.at or at
        if host:
            seen.hosts.setdefault(host, set())
        if level == "WARN":
            _warning(seen, text, at)
        if " via " in text:
            _path(seen, text, at)
        else:
            _ranks(seen, host, text)
            _network(seen, text, at)
            _other(seen, text, at)
    return seen


def _warning(seen: Seen, text: str, at: int) -> None:
    if _SHM.search(text):
        seen.shm_full.append(at)
    if _FAILED.search(text):
        seen.failed.append((text[:200], at))


def _path(seen: Seen, text: str, at: int) -> None:
    if hop := _HOP.search(text) or _OLD_HOP.search(text):
        path = path_name(hop["path"])
        seen.paths[path] += 1
        seen.path_at.setdefault(path, at)


@lru_cache(maxsize=4096)
def path_name(told: str) -> str:
    """The name of a transport, without devices and the way of reading.

    >>> [path_name(x) for x in ("P2P/IPC/read", "direct shared memory", "NET/IB/0(3)/GDRDMA", "NET/Socket/1/Shared")]
    ['P2P/IPC', 'SHM', 'NET/IB/GDRDMA', 'NET/Socket']
    """
    parts = told.strip().split("/")
    if parts[0] == "NET" and len(parts) > 1:
        net = network_name(parts[1])
        direct = any(part.startswith("GDRDMA") for part in parts)
        return f"{net}/GDRDMA" if direct else net
    if told.startswith(("SHM", "direct shared")):
        return "SHM"
    if parts[0] == "P2P" and len(parts) > 1:
        return f"P2P/{' '.join(parts[1].split()[:2]) if parts[1].startswith('direct') else parts[1].split()[0]}"
    return parts[0].split()[0] if parts[0].split() else "unknown"


def network_name(told: str) -> str:
    """The name of a network as rules know it: plugins for verbs are NET/IB, those for libfabric NET/OFI."""
    name = told.strip()
    if "ibfabric" in name or name in ("OFI", "EFA"):
        return "NET/OFI"
    return "NET/IB" if name.startswith(("IB", "gIB")) else f"NET/{name.split()[0] if name else 'unknown'}"


def _ranks(seen: Seen, host: str, text: str) -> None:
    if told := _RANK.search(text):
        seen.ranks = max(seen.ranks, int(told["ranks"]))
        if host:
            seen.hosts[host].add(int(told["rank"]))
    if placed := _PLACED.search(text):
        seen.nodes = max(seen.nodes, int(placed["nodes"]))
        seen.local = max(seen.local, int(placed["local"]))
    if ring := _RING.search(text):
        seen.channels = max(seen.channels, int(ring["of"]))
        seen.ranks = max(seen.ranks, len(ring["order"].split()))
    elif coll := _COLL.search(text):
        seen.channels = max(seen.channels, int(coll["coll"]))


def _network(seen: Seen, text: str, at: int) -> None:
    if using := _USING.search(text):
        names = (_OLD_DEVICE if using["devices"].startswith("interface") else _DEVICE).findall(
            using["devices"].partition(";")[0]
        )
        known = seen.devices.setdefault(network_name(using["net"]) if using["net"].strip() else "NET/Socket", {})
        for name in names:
            known.setdefault(name, at)
    elif network := _NETWORK.search(text):
        seen.network = seen.network or (network_name(network["net"]), at)
    elif ofi := _OFI.search(text):
        seen.devices.setdefault("NET/OFI", {}).setdefault(ofi["name"], at)


def _other(seen: Seen, text: str, at: int) -> None:
    for env in _ENV.finditer(text) if " set by environment" in text else ():
        seen.env.setdefault(env["name"], (env["value"].rstrip(".,;"), at))
    if nvls := _NVLS.search(text):
        seen.nvls = not nvls["not"] and seen.nvls is not False
    if init := _INIT.search(text):
        seen.init_s = max(seen.init_s or 0.0, float(init["seconds"]))
    if _NO_MODULE.search(text):
        seen.no_module = seen.no_module if seen.no_module is not None else at
    if _NO_PEER.search(text):
        seen.no_peer = seen.no_peer if seen.no_peer is not None else at
