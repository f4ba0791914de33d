"""Metrics of node_exporter -> facts about one machine, as the live collectors define them.

Only whole physical disks and interfaces count: partitions, stacked devices and bridges would
count the same bytes twice. The fullest file system of a real device stands for the one that
the job writes to, which the exporter cannot know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advisor.readers.metrics.fabric import fabric
from advisor.readers.metrics.prometheus import Series
from advisor.readers.metrics.window import Window, by_label, ratio
from advisor.readers.rows import Row, row, share

DISKS_LEFT_OUT = ("loop", "ram", "zram", "sr", "fd", "dm-", "md")
LINKS_LEFT_OUT = (
    "lo",
    "docker",
    "veth",
    "br-",
    "virbr",
    "ifb",
    "dummy",
    "tun",
    "tap",
    "cni",
    "cali",
    "flannel",
    "bond",
)
VIRTUAL_FS = ("tmpfs", "ramfs", "squashfs", "iso9660", "overlay", "rootfs", "vfat", "devtmpfs", "efivarfs", "autofs")
SYSTEM_MOUNTS = ("/boot", "/snap", "/run", "/var/lib/docker")
SATURATED = 0.9
LEAST_SEGMENTS = 100  # of fewer segments a share of retransmissions means nothing


def node(w: Window) -> Iterator[Row]:
    """Facts of a node_exporter."""
    yield from _cpu(w)
    yield from _memory(w)
    yield from _pressure(w)
    yield from _filesystems(w)
    yield from fabric(w)
    if w.seconds:
        yield from _disks(w, w.seconds)
        yield from _network(w)


def _cpu(w: Window) -> Iterator[Row]:
    ticks = w.growth("node_cpu_seconds")
    cpus = {dict(key).get("cpu") for key in ticks}
    yield row("system.cpu.logical.count", len(cpus) or None, "{cpu}")
    load = w.latest("node_load1")
    yield row("system.load.per_cpu", ratio(next(iter(load.values()), None), len(cpus)), "1")
    clocks = w.levels("node_cpu_scaling_frequency_hertz")
    yield row("system.cpu.frequency", sum(clocks.values()) / len(clocks) if clocks else None, "Hz")
    chosen = [dict(key).get("governor") for key, value in w.latest("node_cpu_scaling_governor").items() if value]
    yield row("system.cpu.frequency.governor", chosen[0] if chosen else None, "{string}")
    yield row("system.numa.node.count", len(w.latest("node_memory_numa_MemTotal")) or None, "{node}")
    if w.seconds and sum(ticks.values()):
        yield from _modes(ticks)


def _modes(ticks: Series) -> Iterator[Row]:
    """Shares of CPU time by mode, and how many CPUs were busy nearly all the time."""
    modes, total = by_label(ticks, "mode"), sum(ticks.values())

    def of(*names: str) -> float:
        return sum(modes.get(name, 0.0) for name in names) / total

    yield share("system.cpu.utilization", 1 - of("idle", "iowait"))
    yield share("system.cpu.user.utilization", of("user", "nice"))
    yield share("system.cpu.interrupt.utilization", of("irq", "softirq"))
    for mode in ("system", "iowait", "steal"):
        yield share(f"system.cpu.{mode}.utilization", of(mode))
    idle = {key: value for key, value in ticks.items() if dict(key).get("mode") in ("idle", "iowait")}
    whole, free = by_label(ticks, "cpu"), by_label(idle, "cpu")
    full = [cpu for cpu, time in whole.items() if time > 0 and 1 - free.get(cpu, 0.0) / time > SATURATED]
    yield row("system.cpu.saturated.count", len(full), "{cpu}")


def _memory(w: Window) -> Iterator[Row]:
    total = w.level("node_memory_MemTotal_bytes")
    available = min(w.totals("node_memory_MemAvailable_bytes"), default=None)
    yield row("system.memory.limit", total, "By")
    yield row("system.memory.available", available, "By")
    yield share("system.memory.available.fraction", ratio(available, total))
    yield row("system.memory.cached", w.level("node_memory_Cached_bytes"), "By")
    dirty = max(w.totals("node_memory_Dirty_bytes"), default=None)
    writeback = max(w.totals("node_memory_Writeback_bytes"), default=0.0)
    yield row("system.memory.dirty", None if dirty is None else dirty + writeback, "By")
    swap, free = w.level("node_memory_SwapTotal_bytes"), w.level("node_memory_SwapFree_bytes")
    if swap is not None and free is not None:
        yield share("system.paging.utilization", 1 - free / swap if swap else 0.0)
    kills = w.latest("node_vmstat_oom_kill")
    yield row("system.memory.oom_kills", next(iter(kills.values()), None), "{kill}")
    yield row("system.paging.swap_in.rate", w.rate("node_vmstat_pswpin"), "{page}/s")
    yield row("system.paging.major_faults.rate", w.rate("node_vmstat_pgmajfault"), "{fault}/s")
    refaults = w.rate("node_vmstat_workingset_refault_file", "node_vmstat_workingset_refault")
    yield row("system.paging.refault.rate", refaults, "{page}/s")
    if w.seconds:
        other, local = w.grown("node_memory_numa_other_node"), w.grown("node_memory_numa_local_node")
        both = None if other is None or local is None else other + local
        yield share("system.numa.remote.fraction", ratio(other, both))


def _pressure(w: Window) -> Iterator[Row]:
    for what, line, name in (
        ("cpu", "some", "waiting"),
        ("memory", "some", "waiting"),
        ("memory", "full", "stalled"),
        ("io", "some", "waiting"),
        ("io", "full", "stalled"),
    ):
        yield share(f"system.pressure.{what}.{line}", w.rate(f"node_pressure_{what}_{name}_seconds"))


def _filesystems(w: Window) -> Iterator[Row]:
    sizes, free = w.latest("node_filesystem_size_bytes"), w.latest("node_filesystem_free_bytes")
    available = w.latest("node_filesystem_avail_bytes")
    readonly = {key for key, value in w.latest("node_filesystem_readonly").items() if value}
    used = {}
    for key, size in sizes.items():
        labels = dict(key)
        room = available.get(key)
        if size <= 0 or room is None:
            continue
        taken = size - free.get(key, room)
        if labels.get("mountpoint") == "/dev/shm":
            yield row("system.filesystem.shm.limit", size, "By")
            yield share("system.filesystem.shm.utilization", taken / size)
        elif _holds_data(labels) and key not in readonly:
            used[key] = taken / (taken + room) if taken + room > 0 else 0.0
    if used:
        fullest = max(used, key=lambda key: used[key])
        labels = dict(fullest)
        yield share("system.filesystem.utilization", used[fullest], labels.get("mountpoint"))
        yield row("system.filesystem.type", labels.get("fstype"), "{string}", labels.get("mountpoint"))
    inodes, left = w.latest("node_filesystem_files"), w.latest("node_filesystem_files_free")
    shares = {key: left[key] / inodes[key] for key in used if inodes.get(key, 0.0) > 0 and key in left}
    if shares:
        scarcest = min(shares, key=lambda key: shares[key])
        yield share("system.filesystem.inodes.free_fraction", shares[scarcest], dict(scarcest).get("mountpoint"))


def _holds_data(labels: Mapping[str, str]) -> bool:
    point = labels.get("mountpoint", "")
    return labels.get("fstype") not in VIRTUAL_FS and not point.startswith(
        ("/boot", "/snap", "/run", "/var/lib/docker")
    )


def _disks(w: Window, seconds: float) -> Iterator[Row]:
    def grown(name: str) -> dict[str, float]:
        devices = by_label(w.growth(f"node_disk_{name}"), "device")
        return {d: v for d, v in devices.items() if not d.startswith(DISKS_LEFT_OUT)}

    read, reads, busy = grown("read_bytes"), grown("reads_completed"), grown("io_time_seconds")
    if not busy:
        return
    yield row("system.disk.read.rate", sum(read.values()) / seconds, "By/s")
    yield row("system.disk.read.ops", sum(reads.values()) / seconds, "{operation}/s")
    yield row("system.disk.read.size", ratio(sum(read.values()), sum(reads.values())), "By")
    yield row("system.disk.write.rate", sum(grown("written_bytes").values()) / seconds, "By/s")
    which = max(busy, key=lambda device: busy[device])
    yield share("system.disk.utilization", busy[which] / seconds, which)
    queue = grown("io_time_weighted_seconds").get(which)
    yield row("system.disk.queue_depth", None if queue is None else queue / seconds, "{request}", which)
    waited = ratio(grown("read_time_seconds").get(which), reads.get(which))
    yield row("system.disk.read.latency", waited, "s", which)
    written = ratio(grown("write_time_seconds").get(which), grown("writes_completed").get(which))
    yield row("system.disk.write.latency", written, "s", which)


def _network(w: Window) -> Iterator[Row]:
    def rates(name: str) -> dict[str, float]:
        links = by_label(w.growth(f"node_network_{name}"), "device")
        return {d: v / (w.seconds or 1.0) for d, v in links.items() if not d.startswith(LINKS_LEFT_OUT)}

    received, sent = rates("receive_bytes"), rates("transmit_bytes")
    if received:
        yield row("system.network.receive.rate", sum(received.values()), "By/s")
        yield row("system.network.transmit.rate", sum(sent.values()), "By/s")
        dropped = sum(rates("receive_drop").values()) + sum(rates("transmit_drop").values())
        yield row("system.network.dropped.rate", dropped, "{packet}/s")
        yield from _links(w, {d: max(received[d], sent.get(d, 0.0)) for d in received})
    segments = w.grown("node_netstat_Tcp_OutSegs")
    if segments and segments >= LEAST_SEGMENTS:
        yield share("system.network.tcp.retransmit.fraction", ratio(w.grown("node_netstat_Tcp_RetransSegs"), segments))


def _links(w: Window, traffic: Mapping[str, float]) -> Iterator[Row]:
    told = by_label(w.latest("node_network_speed_bytes"), "device")
    speeds = {d: told[d] for d in traffic if told.get(d, 0.0) > 0}  # a link that is down tells -1
    if speeds:
        fastest = max(speeds, key=lambda d: speeds[d])
        yield row("system.network.link.speed", speeds[fastest], "By/s", fastest)
        fullest = max(speeds, key=lambda d: traffic[d] / speeds[d])
        yield share("system.network.utilization", traffic[fullest] / speeds[fullest], fullest)
    busiest = max(traffic, key=lambda d: traffic[d])
    yield row("system.network.mtu", by_label(w.latest("node_network_mtu_bytes"), "device").get(busiest), "By", busiest)
