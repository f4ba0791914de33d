"""The round trip to other nodes: how long a TCP connection takes to be answered.

An accepted connection and a refused one both take one round trip, so any port that a firewall lets through will
do. Throughput is not measured: without a partner on the other side there is nothing honest to say about it.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import time
from collections.abc import Sequence

from advisor.collect.base import Facts, Parsed, Sample
from advisor.collect.probe.budget import DEFAULT, Budget, Refused
from advisor.errors import InputError

CONNECTIONS = 5  # a rendezvous server notes each one
RTT_US = 68  # offset of tcpi_rtt in the kernel's struct tcp_info


class NetworkProbe:
    """Round-trip time to each of `peers` (``host:port``), or to MASTER_ADDR:MASTER_PORT."""

    kind = "network probe"
    origin = "network probe"
    once = True

    def __init__(self, peers: Sequence[str] = (), budget: Budget = DEFAULT) -> None:
        self._peers, self._budget = [(p, *address(p)) for p in peers or _master()], budget

    def plan(self) -> str:
        """What it is about to do, for a person."""
        names = ", ".join(peer for peer, _, _ in self._peers) or "no peer"
        return f"opens {CONNECTIONS} TCP connections to {names} and closes them without sending anything"

    def read(self) -> Sample:
        """Round trips in seconds per peer."""
        if not self._peers:
            raise Refused("no other node was named; give one or more with --peer HOST:PORT, or set MASTER_ADDR")
        began = time.monotonic()
        each = min(2.0, self._budget.seconds / (CONNECTIONS * len(self._peers)))
        trips: dict[str, list[float]] = {}
        silent = []
        for peer, host, port in self._peers:
            try:
                trips[peer] = [round_trip(host, port, each) for _ in range(CONNECTIONS)]
            except OSError as error:
                silent.append(f"{peer} did not answer ({error.strerror or error})")
        if not trips:
            raise Refused("; ".join(silent))
        cost = f"took {time.monotonic() - began:.1f} s; {CONNECTIONS} connections to {', '.join(trips)}"
        return {"trips": trips, "note": "; ".join([cost, *silent])}

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """The median round trip of the slowest peer."""
        facts = Facts(self.origin)
        medians = {peer: statistics.median(trips) for peer, trips in samples[-1]["trips"].items()}
        slowest = max(medians, key=lambda peer: medians[peer])
        facts.add("system.network.rtt", medians[slowest], "s", slowest)
        return facts.all(), {}


def round_trip(host: str, port: int, timeout: float) -> float:
    """Seconds until `host` answers a connection request; the kernel's own figure where it was accepted.

    Raises OSError when the host cannot be found or does not answer within `timeout` seconds.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as connection:
        connection.settimeout(timeout)
        began = time.perf_counter()
        try:
            connection.connect(address)
        except ConnectionRefusedError:
            return time.perf_counter() - began
        took = time.perf_counter() - began
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RTT_US + 4)
        microseconds = struct.unpack_from("I", info, RTT_US)[0] if len(info) >= RTT_US + 4 else 0
        return microseconds / 1e6 if microseconds else took


def _master() -> tuple[str, ...]:
    host = os.environ.get("MASTER_ADDR")
    return (f"{host}:{os.environ.get('MASTER_PORT', '29500')}",) if host else ()


def address(peer: str) -> tuple[str, int]:
    """Host and port of ``host:port`` (raises InputError)."""
    host, _, port = peer.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"{peer!r} is not the address of a peer; write HOST:PORT")
    return host.strip("[]"), int(port)
