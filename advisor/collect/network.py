"""Throughput of the physical network interfaces, TCP retransmissions, and bonds that lost a member.

Bridges, bonds, veth pairs and the loopback would count bytes twice or count none that
leave the machine, so only interfaces with a device behind them are used. A container may
have none of those; there the interfaces that it was given stand for the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advisor.collect.base import (
    Facts,
    Kept,
    Parsed,
    Sample,
    increase,
    keyed,
    rate,
    ratio,
    read_optional,
    span,
    times,
)

VIRTUAL = ("lo", "docker", "veth", "br-", "virbr", "ifb", "dummy", "tun", "tap", "cni", "cali", "flannel", "bond")
# columns of /proc/net/dev after the name
RX_BYTES, RX_DROP, TX_BYTES, TX_DROP = 0, 3, 8, 11
LINK_EVERY = 10  # readings: asking a card for its speed takes the lock under which all links are configured
LEAST_SEGMENTS = 100  # of fewer segments a share of retransmissions means nothing


class Network:
    """Rates over all physical interfaces that `pid` (or this process) sees; link facts of single ones."""

    kind = "network"
    origin = "/proc/net/dev"

    def __init__(self, pid: int | None = None, proc: str = "/proc", sys: str = "/sys") -> None:
        # The job may live in a network namespace of its own: a process's view is below its own folder.
        self._proc = Path(proc) if pid is None else Path(proc) / str(pid)
        self._net = Path(sys) / "class/net"
        self._physical: dict[str, bool] = {}
        self._links: dict[str, list[int | None]] = {}
        self._bonds: dict[str, str] = {}
        self._count = 0
        self._files = Kept()

    def read(self) -> Sample:
        """Counters, speed (Mbit/s) and MTU per interface; members of bonds; the TCP segment counters."""
        lines = self._files.read(f"{self._proc}/net/dev").splitlines()
        rows = {name.strip(): counters for name, colon, counters in (x.partition(":") for x in lines) if colon}
        chosen = [n for n in rows if self._is_physical(n)] or [n for n in rows if not n.startswith(VIRTUAL)]
        if not chosen:
            raise FileNotFoundError("no network interface but the loopback is visible here")
        if self._count % LINK_EVERY == 0 or not self._links.keys() >= set(chosen):
            self._links = {n: [self._number(n, "speed"), self._number(n, "mtu")] for n in chosen}
            self._bonds = {path.name: text for path in self._bonding() if (text := read_optional(path))}
        self._count += 1
        return {
            "interfaces": {n: " ".join(rows[n].split()) for n in chosen},
            "links": self._links,
            "bonds": self._bonds,
            "tcp": tcp_segments(self._files.optional(f"{self._proc}/net/snmp") or ""),
        }

    def _bonding(self) -> list[Path]:
        folder = self._proc / "net/bonding"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def _is_physical(self, name: str) -> bool:
        if name not in self._physical:
            folder = self._net / name
            # The second half of an accelerated cloud interface is counted by its master.
            self._physical[name] = (folder / "device").exists() and not (folder / "master/device").exists()
        return self._physical[name]

    def _number(self, name: str, what: str) -> int | None:
        text = read_optional(f"{self._net}/{name}/{what}")  # speed cannot be read while the link is down
        value = int(text) if text else -1
        return value if value > 0 else None

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Sums over the interfaces; utilization and MTU of the one that is used most."""
        facts = Facts(self.origin)
        t, seconds = times(samples), span(samples)
        _bonds(facts, samples[-1].get("bonds", {}))
        if seconds <= 0:
            return facts.all(), {}
        names = [n for n in samples[-1]["interfaces"] if all(n in s["interfaces"] for s in samples)]
        moved = {n: _rates(n, samples, t) for n in names}
        facts.add("system.network.receive.rate", sum(m[RX_BYTES] for m in moved.values()), "By/s")
        facts.add("system.network.transmit.rate", sum(m[TX_BYTES] for m in moved.values()), "By/s")
        dropped = sum(m[RX_DROP] + m[TX_DROP] for m in moved.values())
        facts.add("system.network.dropped.rate", dropped, "{packet}/s")
        _links(facts, samples[-1]["links"], {n: max(m[RX_BYTES], m[TX_BYTES]) for n, m in moved.items()})
        sent = increase([s["tcp"]["OutSegs"] for s in samples if s["tcp"]])
        again = increase([s["tcp"]["RetransSegs"] for s in samples if s["tcp"]])
        if sent >= LEAST_SEGMENTS:
            facts.share("system.network.tcp.retransmit.fraction", again / sent)
        return facts.all(), {}


def _rates(name: str, samples: Sequence[Sample], t: Sequence[float]) -> dict[int, float]:
    rows = [s["interfaces"][name].split() for s in samples]
    return {i: rate(t, [int(row[i]) for row in rows]) or 0.0 for i in (RX_BYTES, RX_DROP, TX_BYTES, TX_DROP)}


def _links(facts: Facts, links: dict[str, list[int | None]], traffic: dict[str, float]) -> None:
    if not traffic:
        return
    speeds = {n: speed * 1e6 / 8 for n in traffic if (speed := links[n][0])}
    if speeds:
        fastest = max(speeds, key=lambda n: speeds[n])
        facts.add("system.network.link.speed", speeds[fastest], "By/s", fastest)
        fullest = max(speeds, key=lambda n: traffic[n] / speeds[n])
        facts.share("system.network.utilization", ratio(traffic[fullest], speeds[fullest]), fullest)
    busiest = max(traffic, key=lambda n: traffic[n])
    facts.add("system.network.mtu", links[busiest][1], "By", busiest)


def _bonds(facts: Facts, bonds: dict[str, str]) -> None:
    """A bond is degraded when the link monitor of one of its members does not say "up"."""
    down = [f"{bond}: {member}" for bond, text in bonds.items() for member, state in members(text) if state != "up"]
    if bonds:
        facts.add("hw.network.bond.degraded", bool(down), "{bool}", down[0] if down else None)


def members(bond: str) -> list[tuple[str, str]]:
    """Interface and link state of the members that a file of /proc/net/bonding lists."""
    found = []
    for block in bond.split("Slave Interface:")[1:]:
        state = block.partition("MII Status:")[2].split("\n", 1)[0].strip()
        found.append((block.split(maxsplit=1)[0], state))
    return found


def tcp_segments(snmp: str) -> dict[str, int] | None:
    """OutSegs and RetransSegs from the two Tcp lines of /proc/net/snmp."""
    lines = [line.split() for line in snmp.splitlines() if line.startswith("Tcp:")]
    if len(lines) != 2:
        return None
    return keyed("\n".join(map(" ".join, zip(*lines, strict=True))), ("OutSegs", "RetransSegs"))
