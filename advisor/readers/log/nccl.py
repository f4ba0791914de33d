"""Debug logs of NCCL and RCCL, and the errors that PyTorch reports about collectives -> facts.

Of several paths the slowest is told, because a ring is as fast as its slowest hop: between nodes sockets come
before RDMA through host memory before GPUDirect, inside a node shared memory comes before peer access.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.nccl_lines import Seen, look
from advisor.readers.log.near import near
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "log"
_SLOWEST_FIRST = ("NET/Socket", "NET/FastSocket", "NET/IB", "NET/OFI", "NET/IB/GDRDMA", "NET/OFI/GDRDMA")
_TIMEOUT = re.compile(
    r"Watchdog caught collective operation timeout: "
    r"(?:Work\w{0,20}\((?P<work>[^()\n]{0,200}(?:\(ms\)[^()\n]{0,20})?)\))?"
)
_OLD_RANK = re.compile(r"\[Rank (?P<rank>\d{1,7})\] ?$")
_TIMED = re.compile(r"Timeout\(ms\)=(?P<ms>\d{1,12})")
_GLOO = re.compile(
    r"\[[^\]\n]{0,200}gloo/[^\]\n]{0,120}\] (?P<what>Timed out waiting \d{1,12}ms|Connection closed by peer)"
)
_RAISED_WORDS = ("CCL error in", "ncclSystem", "ncclUnhandled", "ncclRemote", "ncclInternal", "unhandled ")
_RAISED = re.compile(
    r"(?:NCCL|RCCL) error in: |ncclSystemError|ncclUnhandledCudaError|ncclRemoteError|ncclInternalError|"
    r"unhandled cuda error|unhandled system error|remote process exited or there was a network error"
)
_ELEMENTS = re.compile(r"OpType=(?P<op>\w{1,40})")


def find(log: Log) -> list[Told]:
    """What the lines of NCCL say, and how many collectives timed out or failed."""
    seen = look(log)
    stuck = _timeouts(log)
    raised = next((m.start() for m in near(log.text, _RAISED_WORDS, _RAISED)), None)
    rows = [*_setup(seen, log), *_paths(seen, log), *_trouble(seen, stuck, raised, log)]
    found = facts(rows, log.origin)
    if not found:
        return []
    return [Told((Reading(Source(KIND, log.origin, "ok", _note(seen, stuck)), found),))]


def _setup(seen: Seen, log: Log) -> Iterator[Row]:
    if not seen.lines and not seen.version:
        return
    at = seen.at if seen.lines or not seen.version else seen.version[1]
    yield row("comm.backend", "nccl", "{string}", log.where(at))
    yield row("run.gpu.used", True if seen.lines else None, "{bool}")
    if seen.version:
        yield row("comm.nccl.version", seen.version[0], "{version}", log.where(seen.version[1]))
    yield row("config.distributed.world_size", seen.ranks or None, "{rank}")
    yield row("config.distributed.nodes", _nodes(seen) or None, "{host}")
    yield row("config.distributed.local_world_size", _local(seen) or None, "{rank}")
    yield row("comm.channels", seen.channels or None, "{channel}")
    yield row("comm.nvls.enabled", seen.nvls, "{bool}")
    yield row("comm.init.time", seen.init_s, "s")
    if seen.env:
        told = " ".join(f"{name}={value}" for name, (value, _) in sorted(seen.env.items()))
        yield row("config.nccl.env", told, "{string}", log.where(min(at for _, at in seen.env.values())))
    if seen.no_peer is not None:
        yield row("hw.gpu.p2p.supported", False, "{bool}", log.where(seen.no_peer))


def _nodes(seen: Seen) -> int:
    """Hosts of the job: as NCCL says, else the hosts of the log where every rank has spoken."""
    if seen.nodes:
        return seen.nodes
    spoken = sum(len(ranks) for ranks in seen.hosts.values())
    return len([h for h, ranks in seen.hosts.items() if ranks]) if seen.ranks and spoken >= seen.ranks else 0


def _local(seen: Seen) -> int:
    if seen.local:
        return seen.local
    return max((len(ranks) for ranks in seen.hosts.values()), default=0) if _nodes(seen) else 0


def _paths(seen: Seen, log: Log) -> Iterator[Row]:
    net = [path for path in seen.paths if path.startswith("NET/")]
    slowest = _slowest(seen, net)
    if slowest:
        told, at = slowest
        yield row("comm.transport", told.replace("NET/OFI/GDRDMA", "NET/OFI"), "{string}", log.where(at))
    if net:
        direct = all(path.endswith("/GDRDMA") for path in net)
        lacking = next((seen.path_at[path] for path in net if not path.endswith("/GDRDMA")), seen.path_at[net[0]])
        yield row("comm.gdr.enabled", direct, "{bool}", log.where(lacking))
    elif seen.no_module is not None:
        yield row("comm.gdr.enabled", False, "{bool}", log.where(seen.no_module))
    used = slowest[0].removesuffix("/GDRDMA") if slowest else ""
    devices = seen.devices.get(used) or (next(iter(seen.devices.values()), {}) if len(seen.devices) == 1 else {})
    if devices:
        yield row("comm.interface", ", ".join(devices), "{string}", log.where(next(iter(devices.values()))))


def _slowest(seen: Seen, net: list[str]) -> tuple[str, int] | None:
    """The slowest path that was set up; where the log holds no paths, the network that was chosen for several nodes."""
    if net:
        order = {path: i for i, path in enumerate(_SLOWEST_FIRST)}
        path = min(net, key=lambda p: (order.get(p, 2), p))
        return path, seen.path_at[path]
    if seen.paths:
        path = "SHM" if "SHM" in seen.paths else seen.paths.most_common(1)[0][0]
        return path, seen.path_at[path]
    if seen.network and (_nodes(seen) > 1):
        return seen.network
    return None


def _timeouts(log: Log) -> dict[tuple[str, str], tuple[int, str]]:
    """Timeouts by rank and work, with where and what; each is printed several times while a job goes down."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for match in _TIMEOUT.finditer(log.text):
        before = _OLD_RANK.search(log.text, max(0, match.start() - 20), match.start())
        work = (match["work"] or "").partition(" ran")[0]
        found.setdefault((before["rank"] if before else "", work.split(", Timeout")[0]), (match.start(), work))
    for match in near(log.text, ("gloo/",), _GLOO):
        if match["what"].startswith("Timed"):
            found.setdefault(("gloo", str(match.start())), (match.start(), match["what"]))
    return found


def _trouble(seen: Seen, stuck: dict[tuple[str, str], tuple[int, str]], raised: int | None, log: Log) -> Iterator[Row]:
    ended = bool(seen.lines or stuck)
    if stuck:
        first = min(at for at, _ in stuck.values())
        yield row("comm.timeout.count", len(stuck), "{event}", log.where(first))
        gloo = all(rank == "gloo" for rank, _ in stuck)
        yield row("comm.backend", "gloo" if gloo else "nccl", "{string}", log.where(first))
        yield row("run.gpu.used", None if gloo else True, "{bool}")
        limits = [int(t["ms"]) for _, what in stuck.values() if (t := _TIMED.search(what))]
        yield row("comm.timeout.limit", max(limits, default=0) / 1e3 or None, "s", log.where(first))
    if seen.failed or raised is not None:
        at = seen.failed[0][1] if seen.failed else raised or 0
        yield row("comm.error.count", len({text for text, _ in seen.failed}) or 1, "{error}", log.where(at))
    elif ended and seen.ranks and not stuck:
        yield row("comm.error.count", 0, "{error}")
    if seen.shm_full:
        yield row("system.filesystem.shm.errors", len(seen.shm_full), "{error}", log.where(seen.shm_full[0]))


def _note(seen: Seen, stuck: dict[tuple[str, str], tuple[int, str]]) -> str:
    parts = []
    if seen.version:
        parts.append(f"NCCL {seen.version[0]}")
    if seen.lines:
        parts.append(f"{seen.lines:,} lines of {len(seen.hosts) or 1} hosts")
    if seen.paths:
        parts.append("paths " + ", ".join(f"{path} x{count}" for path, count in seen.paths.most_common(6)))
    ranks = sorted({rank for rank, _ in stuck if rank.isdigit()}, key=int)
    if ranks:
        parts.append("timeouts on rank " + ", ".join(ranks[:8]) + (" and more" if len(ranks) > 8 else ""))
    if ops := sorted({op["op"] for _, what in stuck.values() if (op := _ELEMENTS.search(what))}):
        parts.append(f"in {', '.join(ops[:4])}")
    if seen.failed:
        parts.append(f"first error: {seen.failed[0][0][:160]}")
    return "; ".join(parts) + "." if parts else ""
