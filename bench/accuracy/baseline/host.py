"""The host under a load: CPUs, memory, storage, network, the job's processes and its container.

Latencies of storage are those that vendors and clouds give (NVMe 0.1 to 0.4 ms under mixed load, SATA SSD 0.3 to 1,
network volumes 0.6 to 2, disks 5 to 12); memory and scheduling figures are what idle and busy machines show in /proc.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.machines import GIB, MIB, Machine

READ_LATENCY = {"nvme": (1e-4, 4e-4), "sata": (3e-4, 1e-3), "volume": (6e-4, 2e-3), "hdd": (5e-3, 12e-3)}
RATE = {"nvme": 5e9, "sata": 5e8, "volume": 1e9, "hdd": 2e8}  # bytes/s that it can read
NETWORKED = ("nfs4", "lustre", "fuse.gcsfuse", "fuse.s3fs", "ceph", "gpfs")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where the job runs: its container, what it may use of the machine, where its data lies."""

    name: str  # bare, docker, cgroup1, kubernetes, slurm, wsl2
    data: str = "ext4"  # type of the file system that holds the data
    cpus: float = 1.0  # share of the machine's CPUs that the job may use
    quota: bool = False  # whether a CFS quota and not an affinity mask limits it
    memory: float | None = None  # share of the machine's memory that the control group allows

    @property
    def contained(self) -> bool:
        """Whether a control group of its own surrounds the job."""
        return self.name in ("docker", "cgroup1", "kubernetes", "slurm")


@dataclass(frozen=True, slots=True)
class Load:
    """What the job asks of one host. Rates in bytes per second, memory in bytes, CPU in cores."""

    cores: float
    main: float  # cores that the main thread uses
    processes: int
    threads: int
    memory: float
    read: float = 0.0  # from the data's file system
    write: float = 1e5
    network: float = 1e5  # sent and received over Ethernet, the data of network file systems not counted
    cached: bool = True  # whether the data stays in the page cache after the first epoch
    mapped: bool = False  # whether data is read through memory maps
    duration: float = 900.0
    age: float = 1000.0  # of the process


def usable(machine: Machine, setting: Setting) -> float:
    """CPUs that the job may use."""
    return max(1.0, round(machine.logical * setting.cpus))


def host_facts(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    """All facts of one host and of the job's processes on it."""
    return (
        _cpu(draw, machine, setting, load)
        | _memory(draw, machine, load)
        | _pressure(draw, machine, setting, load)
        | _storage(draw, machine, setting, load)
        | _network(draw, machine, setting, load)
        | _process(draw, machine, setting, load)
        | (_container(draw, machine, setting, load) if setting.contained else {})
    )


def _cpu(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    others = draw(0.005, 0.03) if setting.cpus == 1 else draw(0.05, 0.5) * (1 - setting.cpus)
    busy = min(0.99, load.cores / machine.logical + others)
    kernel = busy * draw(0.05, 0.18)
    slow, fast = machine.clock
    now = fast - (fast - slow) * min(1.0, 1.3 * busy) * draw(0.8, 1.1)
    facts: Facts = {
        "system.cpu.utilization": nice(busy),
        "system.cpu.user.utilization": nice(busy - kernel),
        "system.cpu.system.utilization": nice(kernel),
        "system.cpu.interrupt.utilization": nice(busy * draw(0.002, 0.02)),
        "system.cpu.steal.utilization": draw(0.0, 0.004) if machine.kind == "cloud" else 0.0,
        "system.cpu.physical.count": machine.cores,
        "system.cpu.logical.count": machine.logical,
        "system.cpu.saturated.count": min(machine.logical, round(load.cores * draw(0.3, 0.8))),
        "system.cpu.core.utilization.max": nice(min(1.0, max(load.main, busy) * draw(0.97, 1.05))),
        "system.load.per_cpu": nice(busy * draw(0.95, 1.25)),
        "system.numa.node.count": machine.nodes,
        "system.numa.remote.fraction": draw(0.005, 0.12) if machine.nodes > 1 else 0.0,
    }
    if machine.kind != "cloud":  # virtual machines do not tell their clock
        facts["system.cpu.frequency"] = nice(max(slow * 0.95, now))
        facts["system.cpu.frequency.max"] = fast
    if machine.kind != "cloud" and setting.name != "wsl2":
        usual = {
            "laptop": ("powersave",),
            "desktop": ("powersave", "schedutil"),
            "server": ("performance", "schedutil"),
        }
        facts["system.cpu.frequency.governor"] = draw.one(*usual[machine.kind])
    return facts


def _memory(draw: Draw, machine: Machine, load: Load) -> Facts:
    used = load.memory + machine.ram * draw(0.02, 0.08) + 1.2 * GIB
    free = max(0.06, 1 - used / machine.ram)
    again = load.read > 0 and not load.cached  # the data is larger than the page cache: every epoch reads it anew
    faults = load.read / (128 * 1024) if load.mapped and again else draw(0.0, 2.0)
    return {
        "system.memory.limit": nice(machine.ram),
        "system.memory.available": nice(machine.ram * free),
        "system.memory.available.fraction": nice(free),
        "system.memory.cached": nice(machine.ram * free * draw(0.3, 0.9)),
        "system.memory.dirty": nice(min(machine.ram * 0.05, 2e6 + load.write * draw(5, 25))),
        "system.memory.locked.fraction": draw(0.0, 0.03),
        "system.memory.oom_kills": draw.whole(1, 3) if draw.chance(0.05) else 0,
        "system.paging.utilization": draw(0.0, 0.3) if machine.kind in ("laptop", "desktop") else 0.0,
        "system.paging.swap_in.rate": 0.0,
        "system.paging.major_faults.rate": nice(faults),
        "system.paging.refault.rate": nice(load.read / 4096 * draw(0.1, 0.9)) if again else draw(0.0, 5.0),
        "system.filesystem.shm.limit": nice(machine.ram / 2),
        "system.filesystem.shm.utilization": draw(0.0, 0.08),
    }


def _pressure(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    fill = min(1.0, load.cores / usable(machine, setting))
    waits = min(0.3, load.read / RATE[machine.disk] * draw(0.2, 0.6))
    # Idle CPUs with a reader waiting count as iowait: on average less than one reader waits.
    waiting = 0.6 * waits + draw(0.0, 0.05)
    return {
        "system.pressure.cpu.some": nice(draw(0.005, 0.05) + 0.3 * fill**4),
        "system.pressure.memory.some": draw(0.0, 0.002),
        "system.pressure.memory.full": draw(0.0, 0.001),
        "system.pressure.io.some": nice(waits + draw(0.0, 0.02)),
        "system.pressure.io.full": nice(0.2 * waits + draw(0.0, 0.005)),
        "system.cpu.iowait.utilization": nice(waiting / machine.logical),
        "system.process.blocked.count": 1 if waits > 0.1 else 0,
    }


def _storage(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    local = setting.data not in NETWORKED
    read = load.read if local else draw.scale(1e3, 1e6)
    size = draw.scale(60e3, 500e3)
    low, high = READ_LATENCY[machine.disk]
    latency = draw.scale(low, high)
    facts: Facts = {
        "system.disk.read.rate": nice(read),
        "system.disk.read.ops": nice(read / size),
        "system.disk.read.size": size,
        "system.disk.read.latency": latency,
        "system.disk.write.rate": nice(load.write),
        "system.disk.write.latency": draw.scale(low / 4, high * 2),
        "system.disk.utilization": nice(min(0.9, 0.005 + 1.5 * read / RATE[machine.disk])),
        "system.disk.queue_depth": nice(read / size * latency + draw(0.0, 0.3)),
        "system.filesystem.type": setting.data if local else "ext4",
        "system.filesystem.utilization": draw(0.15, 0.82),
        "system.filesystem.inodes.free_fraction": draw(0.6, 0.99),
        "process.data.filesystem.type": setting.data,
    }
    if setting.data == "nfs4":
        facts |= {
            "nfs.client.rpc.rtt": draw.scale(3e-4, 2e-3),
            "nfs.client.rpc.queue_time": draw.scale(1e-5, 2e-4),
            "nfs.client.rpc.retransmit.rate": 0.0,
            "nfs.client.getattr_lookup.fraction": draw(0.05, 0.35),
            "process.wait.nfs.fraction": draw(0.0, 0.06),
        }
    if setting.data.startswith("fuse."):
        facts |= {"object_store.request.latency": draw(0.02, 0.06), "object_store.throttle.rate": 0.0}
        facts["process.wait.fuse.fraction"] = draw(0.0, 0.08)
    return facts


def _network(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    over = load.network + (load.read if setting.data in NETWORKED else 0.0)
    wifi = machine.kind == "laptop"
    overlay = setting.name == "kubernetes"
    return {
        "system.network.receive.rate": nice(over),
        "system.network.transmit.rate": nice(load.network),
        "system.network.link.speed": machine.nic,
        "system.network.utilization": nice(min(0.7, over / machine.nic)),
        "system.network.mtu": 1450 if overlay else draw.one(*((1500,) if machine.kind != "server" else (1500, 9000))),
        "system.network.dropped.rate": draw(0.0, 0.4),
        "system.network.tcp.retransmit.fraction": draw.scale(1e-3, 6e-3) if wifi else draw.scale(1e-6, 6e-4),
        "system.network.rtt": draw.scale(3e-5, 4e-4),
    }


def _process(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    fill = min(1.0, load.cores / usable(machine, setting))
    files = 60 + 12 * load.processes + draw.whole(0, 200)
    limit = draw.one(1024, 65536, 1048576) if files < 500 else draw.one(65536, 1048576)
    return {
        "container.cpuset.count": machine.logical if setting.quota else usable(machine, setting),
        "process.cpu.utilization": nice(load.cores),
        "process.cpu.main_thread.utilization": nice(load.main),
        "process.count": load.processes,
        "process.thread.count": load.threads,
        "process.thread.runnable.per_cpu": nice(fill * draw(0.8, 1.15)),
        "process.run_delay.fraction": nice(draw(0.002, 0.02) + 0.12 * fill**4),
        "process.memory.usage": nice(load.memory),
        "process.memory.usage.peak": nice(load.memory * draw(1.0, 1.06)),
        "process.memory.unique": nice(load.memory / max(1, load.processes) * draw(0.6, 1.2)),
        "process.memory.anon.slope": draw.one(0.0, 0.0, draw(0.0, 2e4)),
        "process.memory.anon.rising.fraction": draw(0.0, 0.56),
        "process.memory.usage.growth": draw(-0.01, 0.02),
        "process.memory.unique.growth": draw(-0.01, 0.015),
        "process.memory.proportional.growth": draw(-0.01, 0.015),
        "process.memory.workers_unique.growth": draw(-0.02, 0.03),
        "process.paging.minor_faults.rate": nice(500 + load.cores * draw.scale(200, 6000)),
        "process.context_switches.involuntary.rate": nice(5 + load.cores * draw.scale(2, 80)),
        "process.disk.read.rate": nice(load.read),
        "process.disk.read_size.mean": draw.scale(8e3, 1e6),
        "process.disk.write.rate": nice(load.write),
        "process.data.file.count": draw.whole(1, 40),
        "process.data.filesystem.utilization": draw(0.1, 0.8),
        "process.open_file_descriptor.count": files,
        "process.open_file_descriptor.limit": limit,
        "process.open_file_descriptor.utilization": nice(files / limit),
        "process.memlock.limit": 8 * MIB if machine.kind != "server" else draw.one(8 * MIB, machine.ram / 2),
        "process.uptime": nice(load.age),
        "process.gc.pause.fraction": draw(0.0, 0.006),
        "process.gil.wait.fraction": draw(0.0, 0.06),
        "process.wait.io.fraction": nice(min(0.15, load.read / RATE[machine.disk] + draw(0.0, 0.03))),
        "process.killed.count": 0,
    }


def _container(draw: Draw, machine: Machine, setting: Setting, load: Load) -> Facts:
    facts: Facts = {
        "container.cpu.throttled.fraction": draw(0.0, 0.01) if setting.quota else 0.0,
        "container.memory.usage": nice(load.memory * draw(1.0, 1.1)),
        "container.memory.high_events": 0,
        "container.memory.oom_kills": 0,
        "container.pids.utilization": draw(0.001, 0.08),
    }
    if setting.quota:
        facts["container.cpu.limit"] = usable(machine, setting)
    if setting.memory is not None:
        limit = max(machine.ram * setting.memory, load.memory * 1.3)
        facts["container.memory.limit"] = nice(limit)
        facts["container.memory.utilization"] = nice(facts["container.memory.usage"] / limit)
    if setting.name != "cgroup1":  # the first version has no pressure files
        facts |= {
            "container.pressure.cpu.some": draw(0.0, 0.06),
            "container.pressure.io.full": draw(0.0, 0.01),
            "container.pressure.memory.full": draw(0.0, 0.001),
        }
    return facts
