"""Network: sar -n, ethtool, ibstat and ibstatus, /proc/net/dev, /proc/net/snmp, /proc/net/bonding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from advisor.readers.host.part import Part, Shared, mean, number, tables
from advisor.readers.metrics.node import LEAST_SEGMENTS, LINKS_LEFT_OUT
from advisor.readers.rows import Row, row, share

MEGABIT, GBIT = 1e6 / 8, 1e9 / 8
PORT = re.compile(r"^[ \t]{0,12}(?:Port \d{1,3}:|Infiniband device '[^'\n]{1,40}' port \d{1,3} status:)", re.MULTILINE)


def sar(part: Part, shared: Shared) -> Iterator[Row]:
    """Sar -n DEV, EDEV, TCP and ETCP: means over the lines, summed over the physical interfaces."""
    sent: list[float] = []
    again: list[float] = []
    for table in tables(part, re.compile(r"\bIFACE +rxpck/s\b"), right=True):
        links = _links(
            [(r[0], table.value(r, "rxkB/s"), table.value(r, "txkB/s"), table.value(r, "%ifutil")) for r in table.rows]
        )
        if links:
            where = part.where(table.line)
            shared.notes.append(f"sar: network over {len(table.rows)} lines")
            yield row("system.network.receive.rate", sum(v[0] for v in links.values()) * 1024, "By/s", where)
            yield row("system.network.transmit.rate", sum(v[1] for v in links.values()) * 1024, "By/s", where)
            fullest = max(links, key=lambda name: links[name][2])
            yield share(
                "system.network.utilization", links[fullest][2] / 100 if table.column("%ifutil") else None, fullest
            )
    for table in tables(part, re.compile(r"\bIFACE +rxerr/s\b"), right=True):
        links = _links([(r[0], table.value(r, "rxdrop/s"), table.value(r, "txdrop/s"), 0.0) for r in table.rows])
        if links:
            yield row(
                "system.network.dropped.rate",
                sum(v[0] + v[1] for v in links.values()),
                "{packet}/s",
                part.where(table.line),
            )
    for table in tables(part, re.compile(r"\b(?:active/s +passive/s|atmptf/s)\b"), right=True):
        sent += [v for r in table.rows if (v := table.value(r, "oseg/s")) is not None]
        again += [v for r in table.rows if (v := table.value(r, "retrans/s")) is not None]
    if sent and again and sum(sent) > 0:
        yield share("system.network.tcp.retransmit.fraction", (mean(again) or 0.0) / (mean(sent) or 1.0))


def _links(rows: list[tuple[str, float | None, float | None, float | None]]) -> dict[str, tuple[float, float, float]]:
    """Means per physical interface."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for name, received, sent, used in rows:
        if received is not None and sent is not None and not name.startswith(LINKS_LEFT_OUT):
            found.setdefault(name, []).append((received, sent, used or 0.0))
    return {
        n: (sum(x[0] for x in v) / len(v), sum(x[1] for x in v) / len(v), sum(x[2] for x in v) / len(v))
        for n, v in found.items()
    }


def ethtool(part: Part, _: Shared) -> Iterator[Row]:
    """The fastest link."""
    speeds = {}
    for block in re.split(r"^Settings for ", part.text, flags=re.MULTILINE)[1:]:
        speed = re.search(r"^\s{1,8}Speed: (\d{1,8})Mb/s", block, re.MULTILINE)
        if speed:
            speeds[block.partition(":")[0][:40]] = int(speed[1])
    if speeds:
        fastest = max(speeds, key=lambda name: speeds[name])
        yield row("system.network.link.speed", speeds[fastest] * MEGABIT, "By/s", fastest)


def ports(part: Part, _: Shared) -> Iterator[Row]:
    """Ibstat and ibstatus: whether all ports are active, and the slowest against sisters of the same type."""
    starts = [m.start() for m in PORT.finditer(part.text)]
    active: list[tuple[str, float]] = []
    down: list[str] = []
    for start, end in pairwise([*starts, len(part.text)]):
        block = part.text[start:end]
        state = re.search(r"^\s{0,16}[Ss]tate:\s{1,8}(?:\d{1,2}: )?(\w{1,20})", block, re.MULTILINE)
        rate = re.search(r"^\s{0,16}[Rr]ate:\s{1,8}(\d{1,6}(?:\.\d)?)", block, re.MULTILINE)
        layer = re.search(r"[Ll]ink.[Ll]ayer:\s{1,8}(\w{1,20})", block)
        types = re.findall(r"CA type: ([^\n]{1,60})", part.text[:start])
        if state is None:
            continue
        if state[1].upper() != "ACTIVE":
            down.append(part.at(start))
        elif rate and (value := number(rate[1])):
            active.append((f"{types[-1] if types else ''} {layer[1] if layer else ''}", value))
    if active or down:
        yield row("hw.network.rdma.port.active", not down, "{bool}", down[0] if down else None)
    yield row("hw.network.rdma.rate", sum(rate for _, rate in active) * GBIT or None, "By/s")
    best: dict[str, list[float]] = {}
    for kind, value in active:
        best.setdefault(kind, []).append(value)
    ratios = [min(values) / max(values) for kind, values in best.items() if len(values) > 1 and kind.strip()]
    yield row("hw.network.rdma.port.rate.ratio", min(ratios, default=None), "1")


def net_dev(part: Part, shared: Shared) -> Iterator[Row]:
    """/proc/net/dev: means since boot, where the time since boot is known."""
    rows = re.findall(r"^ {0,20}([\w.@-]{1,40}): {0,20}((?:\d{1,20}\s{0,20}){16})$", part.text, re.MULTILINE)
    links = {name: [int(x) for x in text.split()] for name, text in rows if not name.startswith(LINKS_LEFT_OUT)}
    if links and shared.uptime:
        received, sent, dropped = (
            sum(sum(c[i] for i in places) for c in links.values()) for places in ((0,), (8,), (3, 11))
        )
        yield row("system.network.receive.rate", received / shared.uptime, "By/s")
        yield row("system.network.transmit.rate", sent / shared.uptime, "By/s")
        yield row("system.network.dropped.rate", dropped / shared.uptime, "{packet}/s")


def snmp(part: Part, _: Shared) -> Iterator[Row]:
    """/proc/net/snmp: segments sent again since boot, over all that were sent."""
    lines = [line.split() for line in part.lines if line.startswith("Tcp:")]
    if len(lines) == 2 and len(lines[0]) == len(lines[1]):
        told = {name: number(text) for name, text in zip(*lines, strict=True)}
        sent, again = told.get("OutSegs"), told.get("RetransSegs")
        if sent and again is not None and sent >= LEAST_SEGMENTS:
            yield share("system.network.tcp.retransmit.fraction", again / sent)


def bonding(part: Part, _: Shared) -> Iterator[Row]:
    """/proc/net/bonding: whether the link of a member is down."""
    blocks = part.text.split("Slave Interface:")[1:]
    states = {
        b.split(maxsplit=1)[0]: s[1] for b in blocks if b.strip() and (s := re.search(r"MII Status: (\w{1,20})", b))
    }
    down = [name for name, state in states.items() if state != "up"]
    if states:
        yield row("hw.network.bond.degraded", bool(down), "{bool}", down[0] if down else None)
