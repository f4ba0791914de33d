"""Two pages of node_exporter, 60 s apart: counters since boot that grow by what the host does."""

# ruff: noqa: E501 - tables read better in one line

from __future__ import annotations

from collections.abc import Iterator

from bench.accuracy.captures.exposition import family, page
from bench.accuracy.captures.host import Host
from bench.accuracy.captures.machine import Machine

APART_S, UP_S, BOOT = 60.0, 864_000.0, 1_740_836_000
GIB = 2.0**30
_MEMORY = (("SUnreclaim", 2.1), ("SReclaimable", 9.0), ("Buffers", 1.9), ("AnonPages", 0.0), ("Mapped", 4.2),
           ("Shmem", 3.0), ("KernelStack", 0.05), ("PageTables", 0.9), ("Slab", 11.1), ("Active_file", 240.0),
           ("Inactive_file", 290.0), ("HugePages_Total", 0.0), ("Percpu", 0.3), ("CommitLimit", 512.0))  # fmt: skip


def scrapes(machine: Machine) -> dict[str, str]:
    """The pages."""
    host = Host(machine)
    apart = host.told.get("apart_s", APART_S)
    return {f"node-{i}.prom": page(*_families(host, UP_S + i * apart)) for i in range(2)}


def _families(host: Host, up: float) -> Iterator[list[str]]:
    """All families; counters ran at today's rate since boot."""
    yield family("node_time_seconds", "gauge", [({}, BOOT + up)], "System time in seconds since epoch (1970).")
    yield family("node_boot_time_seconds", "gauge", [({}, BOOT)])
    yield family("node_uname_info", "gauge", [({"machine": "x86_64", "nodename": "node-17", "release":
                 "5.15.0-131-generic", "sysname": "Linux"}, 1)])  # fmt: skip
    cpu = [({"cpu": c, "mode": m}, share * up) for c in range(host["cpus"]) for m, share in host.of_cpu(c).items()]
    yield family("node_cpu_seconds_total", "counter", cpu, "Seconds the CPUs spent in each mode.")
    governor = [({"cpu": c, "governor": host["governor"]}, 1) for c in range(host["cpus"])]
    yield family("node_cpu_scaling_governor", "gauge", governor)
    modes = host.modes
    running = (1 - modes["idle"] - modes["iowait"]) * host["cpus"] + min(host.disk.queue, host["cpus"])
    for name, factor in (("node_load1", 1.0), ("node_load5", 0.98), ("node_load15", 0.95)):
        yield family(name, "gauge", [({}, round(running * factor, 2))])
    yield from _memory(host, up)
    yield from _storage(host, up)
    yield from _network(host, up)
    if host["nfs"]:
        yield from _nfs(host["nfs"], up)


def _memory(host: Host, up: float) -> Iterator[list[str]]:
    total, used = host["memory_gib"], host["used_gib"]
    cached = min(host["cached_gib"], max(1.0, total - used - 4.0))
    levels = {
        "MemTotal": total, "MemFree": max(1.0, total - used - cached), "MemAvailable": host.available_gib,
        "Cached": cached, "Dirty": host["dirty_gib"], "Writeback": 0.01, "SwapTotal": host["swap_gib"],
        "SwapFree": host["swap_gib"] - host["swapped_gib"], **dict(_MEMORY), "AnonPages": 0.9 * used,
    }  # fmt: skip
    for name, gib in levels.items():
        yield family(f"node_memory_{name}_bytes", "gauge", [({}, round(gib * GIB))])
    busy = host["used_gib"] / host["memory_gib"]
    stall = 0.35 if host["swap_in"] > 1000 else 0.12 if busy > 0.985 else 0.0
    for name, rate in (
        ("node_vmstat_pswpin", host["swap_in"]), ("node_vmstat_pswpout", 1.2 * host["swap_in"]),
        ("node_vmstat_pgmajfault", host["majors"] + 0.6 * host["swap_in"]), ("node_vmstat_pgfault", 41_000.0),
        ("node_vmstat_workingset_refault_file", host["refaults"]), ("node_vmstat_pgpgin", 9_000.0),
    ):  # fmt: skip
        yield family(name, "untyped", [({}, round(rate * up))])
    yield family("node_vmstat_oom_kill", "untyped", [({}, host["oom_kills"])])
    contended = max(0.0, 1 - host.modes["idle"] - 0.8) * 2 + 1.5 * host["steal"]
    for what, kind, share in (
        ("cpu", "waiting", min(0.9, contended + 0.004)), ("memory", "waiting", stall), ("memory", "stalled", stall / 2),
        ("io", "waiting", min(0.97, host.full_stall + 0.002 + 0.2 * (host.disk.queue >= 1))),
        ("io", "stalled", host.full_stall),
    ):  # fmt: skip
        yield family(f"node_pressure_{what}_{kind}_seconds_total", "counter", [({}, share * up)])


def _storage(host: Host, up: float) -> Iterator[list[str]]:
    disk, written = host.disk, host["write_mb"] * 1e6
    writes = written / 131_072
    busy = {"sda": (0.4, 1.1), "nvme0n1": (disk.reads, writes)}
    read_s = {"sda": 0.0008, "nvme0n1": disk.latency}
    size = {"sda": 8192.0, "nvme0n1": disk.request_kb * 1000}
    rates = {
        "reads_completed_total": {d: r for d, (r, _) in busy.items()},
        "read_bytes_total": {d: r * size[d] for d, (r, _) in busy.items()},
        "read_time_seconds_total": {d: r * read_s[d] for d, (r, _) in busy.items()},
        "writes_completed_total": {d: w for d, (_, w) in busy.items()},
        "written_bytes_total": {"sda": 9000.0, "nvme0n1": written},
        "write_time_seconds_total": {d: w * host.told.get("write_s", 0.0004) for d, (_, w) in busy.items()},
        "io_time_seconds_total": {"sda": 0.001, "nvme0n1": disk.busy},
        "io_time_weighted_seconds_total": {"sda": 0.001, "nvme0n1": disk.queue},
    }  # fmt: skip
    for name, of in rates.items():
        samples = [({"device": device}, round(rate * up, 3)) for device, rate in of.items()]
        yield family(f"node_disk_{name}", "counter", samples)
    size_b, shm = 7.6e12, host["shm_gib"] * GIB
    mounts = (("/dev/nvme0n1", "xfs", "/data", size_b, host["full"]), ("/dev/sda2", "ext4", "/", 4.3e11, 0.38),
              ("tmpfs", "tmpfs", "/dev/shm", shm, host["shm_used"]))  # fmt: skip
    for name, of in (("size_bytes", 1.0), ("free_bytes", 0.0), ("avail_bytes", 0.0)):
        samples = [
            ({"device": d, "fstype": f, "mountpoint": m}, round(size * (of or 1 - full)))
            for d, f, m, size, full in mounts
        ]
        yield family(f"node_filesystem_{name}", "gauge", samples)
    for name, share in (("files", 1.0), ("files_free", host["inodes"])):
        labels = {"device": "/dev/nvme0n1", "fstype": "xfs", "mountpoint": "/data"}
        yield family(f"node_filesystem_{name}", "gauge", [(labels, round(7.4e8 * share))])


def _network(host: Host, up: float) -> Iterator[list[str]]:
    rx, tx = host["rx_mb"] * 1e6, host["tx_mb"] * 1e6
    packet = host["mtu"] * 0.8
    for name, rate in (("receive_bytes", rx), ("transmit_bytes", tx), ("receive_packets", rx / packet),
                       ("transmit_packets", tx / packet), ("receive_drop", 0.0), ("transmit_drop", 0.0),
                       ("receive_errs", 0.0), ("transmit_errs", 0.0)):  # fmt: skip
        samples = [({"device": "lo"}, round(2e5 * up)), ({"device": "eth0"}, round(rate * up))]
        yield family(f"node_network_{name}_total", "counter", samples)
    yield family("node_network_speed_bytes", "gauge", [({"device": "eth0"}, host["link_gbit"] * 1.25e8)])
    yield family("node_network_mtu_bytes", "gauge", [({"device": "lo"}, 65536), ({"device": "eth0"}, host["mtu"])])
    yield family("node_network_up", "gauge", [({"device": "eth0"}, 1)])
    out = max(tx / packet, 50.0)
    yield family("node_netstat_Tcp_OutSegs", "untyped", [({}, round(out * up))])
    yield family("node_netstat_Tcp_RetransSegs", "untyped", [({}, round(out * host["retransmits"] * up))])
    yield family("node_netstat_Tcp_InSegs", "untyped", [({}, round(rx / packet * up))])
    if host["bond"]:
        yield family("node_bonding_slaves", "gauge", [({"master": "bond0"}, host["bond"][0])])
        yield family("node_bonding_active", "gauge", [({"master": "bond0"}, host["bond"][1])])
    ports = [{"device": f"mlx5_{i}", "port": 1} for i in range(host["ib"])]
    rate = host["tx_mb"] * 1e6
    for name, value in (
        ("state_id", 4), ("rate_bytes_per_second", 5e10), ("port_data_transmitted_bytes_total", round(rate * up)),
        ("port_data_received_bytes_total", round(rate * up)), ("port_transmit_wait_total", round(host["ib_wait"] * up)),
        ("symbol_error_total", host["symbol_errors"]), ("link_downed_total", 0),
        ("local_ack_timeout_errors_total", 0), ("out_of_sequence_packets_received_total", 0),
        ("rp_cnp_packets_handled_total", 0),
    ):  # fmt: skip
        if ports:
            yield family(f"node_infiniband_{name}", "gauge", [(port, value) for port in ports])


def _nfs(told: dict[str, float], up: float) -> Iterator[list[str]]:
    """Calls of an NFS client: data and metadata, how long the server takes, how many are sent again."""
    calls = {"READ": told.get("read", 220.0), "GETATTR": told.get("getattr", 24.0), "LOOKUP": told.get("lookup", 6.0),
             "ACCESS": told.get("access", 9.0), "OPEN": told.get("open", 5.0), "WRITE": told.get("write", 3.0)}  # fmt: skip
    yield family("node_nfs_requests_total", "counter", [
        ({"method": name.capitalize(), "proto": 4}, round(rate * up)) for name, rate in calls.items()])  # fmt: skip
    yield family("node_nfs_rpcs_total", "counter", [({}, round(sum(calls.values()) * up))])
    again = told.get("retransmissions", 0.0)
    yield family("node_nfs_rpc_retransmissions_total", "counter", [({}, round(again * up))])
    labels = {"export": "filer-2:/datasets", "protocol": "tcp", "mountaddr": "10.4.0.12"}
    for name, each in (("requests_total", 1.0), ("response_time_seconds_total", told.get("rtt", 0.0009)),
                       ("queue_time_seconds_total", told.get("queue", 0.00002))):  # fmt: skip
        samples = [({**labels, "operation": op}, round(rate * each * up, 3)) for op, rate in calls.items()]
        yield family(f"node_mountstats_nfs_operations_{name}", "counter", samples)
