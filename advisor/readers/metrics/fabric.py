"""Metrics of node_exporter about RDMA ports, bonds and NFS -> facts.

Error counts run since they were last cleared, so their totals are told; everything else is what
the window added, of the worst port where one is enough to slow a job down.
"""

from __future__ import annotations

from collections.abc import Iterator

from advisor.readers.metrics.prometheus import Labels, Series
from advisor.readers.metrics.window import Window, ratio
from advisor.readers.rows import Row, row, share

ACTIVE = 4  # the port state of the InfiniBand specification
METADATA = ("getattr", "lookup", "access", "open", "readdir")
_ERRORS = (
    ("hw.network.rdma.symbol_errors", "symbol_error_total", "{error}"),
    ("hw.network.rdma.link_downed", "link_downed_total", "{event}"),
    ("hw.network.roce.ack_timeouts", "local_ack_timeout_errors_total", "{error}"),
)
_RATES = (
    ("hw.network.rdma.xmit_wait.rate", "port_transmit_wait", "{tick}/s"),
    ("hw.network.roce.cnp_handled.rate", "rp_cnp_packets_handled", "{packet}/s"),
    ("hw.network.roce.out_of_sequence.rate", "out_of_sequence_packets_received", "{packet}/s"),
)


def fabric(w: Window) -> Iterator[Row]:
    """Facts about the network below the jobs of one machine."""
    yield from _ports(w)
    yield from _bonds(w)
    if w.seconds:
        yield from _nfs(w)


def _ports(w: Window) -> Iterator[Row]:
    states = w.latest("node_infiniband_state_id")
    down = next((key for key, state in states.items() if state != ACTIVE), None)
    if states:
        yield row("hw.network.rdma.port.active", down is None, "{bool}", None if down is None else _port(down))
    yield row("hw.network.rdma.rate", w.level("node_infiniband_rate_bytes_per_second"), "By/s")
    yield row("hw.network.rdma.tx.rate", w.rate("node_infiniband_port_data_transmitted_bytes"), "By/s")
    for name, counter, unit in _ERRORS:
        yield from _worst(name, unit, w.latest(f"node_infiniband_{counter}"), 1.0)
    for name, counter, unit in _RATES:
        if w.seconds:
            yield from _worst(name, unit, w.growth(f"node_infiniband_{counter}"), 1 / w.seconds)


def _worst(name: str, unit: str, ports: Series, factor: float) -> Iterator[Row]:
    if ports:
        which = max(ports, key=lambda key: ports[key])
        yield row(name, ports[which] * factor, unit, _port(which))


def _port(key: Labels) -> str:
    labels = dict(key)
    return f"{labels.get('device', '')} port {labels.get('port', '')}"


def _bonds(w: Window) -> Iterator[Row]:
    slaves, active = w.latest("node_bonding_slaves"), w.latest("node_bonding_active")
    lacking = [key for key, count in slaves.items() if active.get(key, count) < count]
    if slaves:
        which = dict(lacking[0]).get("master") if lacking else None
        yield row("hw.network.bond.degraded", bool(lacking), "{bool}", which)


def _nfs(w: Window) -> Iterator[Row]:
    asked = w.grown("node_mountstats_nfs_operations_requests")
    for name, part in (("rtt", "response_time"), ("queue_time", "queue_time")):
        took = w.grown(f"node_mountstats_nfs_operations_{part}_seconds")
        yield row(f"nfs.client.rpc.{name}", ratio(took, asked), "s")
    yield row("nfs.client.rpc.retransmit.rate", w.rate("node_nfs_rpc_retransmissions"), "{request}/s")
    calls = w.growth("node_nfs_requests")
    metadata = sum(v for key, v in calls.items() if dict(key).get("method", "").lower().startswith(METADATA))
    yield share("nfs.client.getattr_lookup.fraction", ratio(metadata, sum(calls.values())))
