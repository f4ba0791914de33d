"""Formulas about the CPUs, the memory and the storage of a host."""

from __future__ import annotations

from advisor.derive.formula import formula


@formula(
    "process.cpu.usable.count",
    optional=("container.cpuset.count", "container.cpu.limit", "system.cpu.logical.count"),
    unless={"container.cpuset.count": ("cgroup",)},
)
def usable_cpus(affinity: float | None, quota: float | None, logical: float | None) -> float | None:
    """CPUs the job may really use: the least of affinity mask, cgroup quota and machine (sched_getaffinity).

    >>> usable_cpus(12, 4.5, 64), usable_cpus(None, None, 8), usable_cpus(None, 64.0, 2)
    (4.5, 8, 2)
    """
    limits = [x for x in (affinity, quota, logical) if x is not None]
    return min(limits) if limits else None


@formula(
    "derived.cpu.per_rank",
    "process.cpu.usable.count",
    optional=("config.distributed.local_world_size",),
    unless={"config.distributed.local_world_size": ("training hook",)},
)
def cpus_per_rank(usable: float, ranks: float | None) -> float:
    """CPUs for each rank on this host; one rank when nothing says otherwise.

    >>> cpus_per_rank(96, 8)
    12.0
    """
    return usable / max(1.0, ranks or 1.0)


@formula(
    "derived.memory.available",
    optional=("system.memory.available", "container.memory.limit", "container.memory.usage"),
    unless={"system.memory.available": ("/proc",), "container.memory.limit": ("cgroup",)},
)
def memory_available(host: float | None, limit: float | None, used: float | None) -> float | None:
    """Memory the job can still take: of the host or of its control group, whichever is less.

    >>> memory_available(100e9, 16e9, 15e9), memory_available(100e9, None, None), memory_available(None, 16e9, 17e9)
    (1000000000.0, 100000000000.0, 0.0)
    """
    group = max(0.0, limit - used) if limit is not None and used is not None else None
    known = [x for x in (host, group) if x is not None]
    return min(known) if known else None


@formula(
    "derived.memory.available.fraction",
    optional=("system.memory.available.fraction", "container.memory.utilization"),
    unless={"system.memory.available.fraction": ("/proc",), "container.memory.utilization": ("cgroup",)},
)
def memory_available_share(host: float | None, used: float | None) -> float | None:
    """Share of memory left, of the host or of the control group, whichever is less.

    Rounded, so that a limit is met exactly.

    >>> memory_available_share(0.5, 0.75), memory_available_share(None, 0.9), memory_available_share(None, None)
    (0.25, 0.1, None)
    """
    known = [x for x in (host, None if used is None else round(1.0 - used, 9)) if x is not None]
    return min(known) if known else None


@formula("derived.memory.exhaustion.time", "derived.memory.available", "process.memory.anon.slope")
def memory_exhaustion(available: float, slope: float) -> float | None:
    """Time until the memory is full at the present growth; None when it does not grow.

    >>> memory_exhaustion(3.6e9, 1e6), memory_exhaustion(3.6e9, -5.0)
    (3600.0, None)
    """
    return available / slope if slope > 0 else None


@formula(
    "system.io.stall.fraction",
    optional=("system.pressure.io.full", "system.cpu.iowait.utilization", "system.cpu.logical.count"),
    unless={"system.pressure.io.full": ("/proc/pressure",)},
)
def io_stall(full: float | None, iowait: float | None, cpus: float | None) -> float | None:
    """Share of time stalled on block I/O: PSI `full` where the kernel has it, else the time of one CPU in iowait.

    The kernel counts iowait per idle CPU, so the share over all CPUs times their number is the number of CPUs
    that waited; at most one is counted. Source: Documentation/accounting/psi.rst and proc_stat(5).

    >>> io_stall(0.3, 0.01, 8), io_stall(None, 0.02, 8), io_stall(None, 0.5, 8)
    (0.3, 0.16, 1.0)
    """
    if full is not None:
        return full
    return None if iowait is None or cpus is None else min(1.0, iowait * cpus)


@formula(
    "derived.io.stall.measured.fraction",
    "ml.step.data_wait.exposed.fraction",
    optional=("system.io.stall.fraction",),
    unless={"system.io.stall.fraction": ("/proc/pressure", "/proc")},
)
def measured_stall(_wait: float, stall: float | None) -> float:
    """The stall of storage behind a wait for data, 0 where nothing measured it.

    >>> measured_stall(0.3, 0.25), measured_stall(0.3, None)
    (0.25, 0.0)
    """
    return stall or 0.0


@formula(
    "system.cpu.others.utilization", "system.cpu.utilization", "process.cpu.utilization", "system.cpu.logical.count"
)
def others_cpu(busy: float, job: float, cpus: float) -> float | None:
    """Share of the machine's CPU time that is used by processes outside the job's tree, kernel threads included.

    >>> others_cpu(0.75, 2.0, 8.0), others_cpu(0.2, 2.0, 8.0), others_cpu(0.2, 2.0, 0.0)
    (0.5, 0.0, None)
    """
    return max(0.0, busy - job / cpus) if cpus else None


@formula("system.cpu.frequency.ratio", "system.cpu.frequency", "system.cpu.frequency.max")
def clock_share(now: float, top: float) -> float | None:
    """CPU clock over the highest that a core can reach alone; with all cores busy even a sound machine stays below 1.

    >>> clock_share(1.5e9, 3.0e9), clock_share(1.5e9, 0.0)
    (0.5, None)
    """
    return now / top if top else None
