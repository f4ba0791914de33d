"""One training job on one machine: step time, memory, communication and data loading that fit together.

A combination that could not be healthy (states that do not fit, a loader that the CPUs cannot carry, gradients that
the network cannot hide) gives no plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.accuracy.baseline.draw import Draw
from bench.accuracy.baseline.host import RATE, Setting, usable
from bench.accuracy.baseline.jobs import Job
from bench.accuracy.baseline.machines import GIB, Gpu, Machine

WORKERS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the job does on each rank; times in seconds per optimizer step, memory in bytes."""

    job: Job
    machine: Machine
    ranks: int
    local: int
    micro: int
    accumulation: int
    strategy: str
    compute: float  # GPU busy with the model
    update: float  # optimizer
    communication: float
    overlap: float
    idle: float  # share of the step without a kernel
    states: float
    peak: float  # allocated
    batch_cpu: float
    batch_wall: float
    workers: int
    read: float  # bytes/s of this host's ranks
    mfu: float
    rate: float  # bus bandwidth of a collective
    ahead: bool  # whether the loop reads nothing back from the GPU and runs ahead of it

    @property
    def exposed(self) -> float:
        """Communication that no computation hides, seconds."""
        return self.communication * (1 - self.overlap)

    @property
    def step(self) -> float:
        """Seconds per optimizer step."""
        return (self.compute + self.update + self.exposed) / (1 - self.idle)

    @property
    def loader_cores(self) -> float:
        """Cores that the loader workers of one rank keep busy."""
        return self.accumulation * self.batch_cpu / self.step

    @property
    def samples(self) -> float:
        """Samples per second and GPU."""
        return self.micro * self.accumulation / self.step

    @property
    def nodes(self) -> int:
        """Hosts of the job."""
        return max(1, self.ranks // max(1, self.local))


def make(draw: Draw, job: Job, machine: Machine, setting: Setting, ranks: int) -> Plan | None:
    """The plan of `job` on `ranks` GPUs of such machines, or None when it could not run well."""
    gpu = machine.gpu
    if gpu is None:
        return None
    local = min(ranks, machine.gpus)
    strategy = draw.one(*job.strategies) if ranks > 1 else "none"
    states, budget = held(job, strategy, ranks), gpu.memory * draw(*job.fill)
    if states > 0.85 * budget or (ranks > local and not machine.fabric):
        return None
    micro, busy = _micro(draw, job, gpu)
    rate = bus_rate(machine, ranks)
    moved = _moved(job, strategy, ranks)
    accumulation = max(1, math.ceil(job.worth / busy)) if job.kind == "text" else 1
    while moved / rate > 0.3 * accumulation * busy:
        accumulation *= 2
        if accumulation > 32:
            return None
    compute = accumulation * busy
    update = max(
        2e-4,
        job.parameters * job.trained * 24 / (ranks if "FSDP" in strategy or "ZeRO" in strategy else 1) / gpu.bandwidth,
    )
    plan = Plan(
        job, machine, ranks, local, micro, accumulation, strategy, compute, update,
        moved / rate, draw(0.8, 0.96), draw(0.004, 0.03), states, budget,
        micro * job.cpu, micro * job.cpu * draw(1.02, 1.25) + 1e-4, 0, 0.0,
        job.flops * micro * accumulation / gpu.flops / (compute * 1.05), rate, draw.chance(0.5),
    )  # fmt: skip
    return _fed(draw, plan, setting)


def held(job: Job, strategy: str, ranks: int) -> float:
    """Bytes of weights, gradients and optimizer state on one GPU."""
    weights, state = job.parameters * job.weight_bytes, job.parameters * job.trained * job.state_bytes
    if "FSDP" in strategy or "ZeRO-3" in strategy or "TP" in strategy:
        return (weights + state) / ranks
    if "ZeRO" in strategy:
        return weights + state * 0.3 + state * 0.7 / ranks
    return weights + state


def _micro(draw: Draw, job: Job, gpu: Gpu) -> tuple[int, float]:
    """Samples per micro-batch, and the seconds that the GPU works on it."""
    fits = job.batch * gpu.memory / (80 * GIB)
    micro = max(1, 2 ** round(math.log2(max(1.0, fits))))
    clock = sum(gpu.clock_busy) / 2
    efficiency = draw(*job.efficiency) * clock * (0.75 if job.checkpointing else 1.0) * (0.8 if gpu.amd else 1.0)
    per_sample = max(job.flops / (gpu.flops * efficiency), job.flops / job.intensity / (gpu.bandwidth * 0.7))
    # As many samples as keep the GPU busy longer than the host needs to launch the kernels (some 6 us each).
    while micro * per_sample < 1.6 * job.kernels * 6e-6 or (job.kind != "text" and micro * per_sample < job.worth):
        micro *= 2
    return micro, micro * per_sample


def bus_rate(machine: Machine, ranks: int) -> float:
    """Bus bandwidth of a large collective: NVLink or PCIe inside a node, all adapters together between nodes."""
    gpu = machine.gpu
    inside = 0.78 * gpu.link_rate if gpu and gpu.link_rate else 250e9 if gpu and gpu.amd else 11e9
    return min(inside, 0.82 * machine.fabric_rate * machine.gpus) if ranks > machine.gpus else inside


def _moved(job: Job, strategy: str, ranks: int) -> float:
    """Bytes that one GPU sends per step: gradients reduced, for sharded weights two gathers more."""
    if ranks == 1:
        return 0.0
    once = job.parameters * job.trained * (2 if job.kind == "text" else 4) * (ranks - 1) / ranks
    parts = 3 if "FSDP" in strategy or "ZeRO-3" in strategy else 2
    return parts * once / (8 if "TP" in strategy else 1)


def _fed(draw: Draw, plan: Plan, setting: Setting) -> Plan | None:
    """The plan with loader workers that keep up, or None where CPUs or storage cannot."""
    job, machine = plan.job, plan.machine
    read = plan.samples * job.data * plan.local * (0.0 if job.cached else 1.0)
    if read > 0.55 * RATE[machine.disk] and setting.data in ("ext4", "xfs"):
        return None
    if job.cpu == 0:
        return replace(plan, read=read)
    needed = plan.accumulation * plan.batch_wall / plan.step
    workers = next((w for w in WORKERS if w >= needed * draw(1.3, 1.9)), None)
    if workers is None or plan.local * (plan.loader_cores + 1) > 0.85 * usable(machine, setting):
        return None
    return replace(plan, workers=workers, read=read)
