"""The GPUs of a machine under a load: utilization, clocks, power, heat, links, health.

Power follows what runs: matrix products and memory traffic both draw it, and a card that would need more than its
limit lowers the clock and says so (software power cap), which is how H100, L4 and T4 run healthy at full load.
An idle card lowers clocks and PCIe generation; links and clocks are facts of busy cards only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.machines import Gpu, Machine

LANE = {3: 0.985e9, 4: 1.969e9, 5: 3.938e9}  # bytes/s and lane (PCI-SIG)
DRIVERS = (("535.183.01", "12.2"), ("550.90.07", "12.4"), ("570.86.15", "12.8"), ("580.65.06", "13.0"))


@dataclass(frozen=True, slots=True)
class GpuLoad:
    """What the job asks of each GPU; shares of 1, bytes, bytes per second."""

    util: float  # share of time with a kernel
    matrix: float  # share of the peak rate of matrix products
    dram: float
    memory: float  # bytes in use
    rx: float = 1e6  # from the host
    tx: float = 1e5
    links: float = 0.0  # sent over NVLink
    used: int = 1  # GPUs of the job on this machine
    foreign: float = 0.0  # bytes of other processes
    steady: float = 0.02  # how far the utilization moves around its mean
    mig: int = 0

    def idle(self) -> GpuLoad:
        """The same memory held, nothing computed."""
        return replace(self, util=0.0, matrix=0.0, dram=0.0, rx=0.0, tx=0.0, links=0.0)


def gpu_facts(draw: Draw, machine: Machine, load: GpuLoad) -> Facts:
    """All facts of the job's GPUs; of AMD cards only those that ROCm's tools tell."""
    gpu = machine.gpu
    if gpu is None:
        return {"hw.gpu.count": 0}
    facts = _about(draw, gpu, load) | _use(draw, gpu, load) | _health(draw, gpu)
    if load.util > 0.5:
        facts |= _busy(draw, gpu, load)
    if gpu.amd:
        return {k: v for k, v in facts.items() if k in AMD}
    return facts | _nvidia(draw, gpu, machine, load)


AMD = frozenset(
    """hw.gpu.count hw.gpu.model hw.gpu.utilization hw.gpu.utilization.spread hw.gpu.memory.limit hw.gpu.memory.usage
    hw.gpu.memory.usage.min hw.gpu.memory.utilization hw.gpu.memory.peak_utilization hw.gpu.power hw.gpu.power.limit
    hw.gpu.temperature hw.gpu.clock.sm hw.gpu.ecc.uncorrectable.volatile hw.gpu.pcie.link.gen hw.gpu.pcie.link.gen.max
    hw.gpu.pcie.link.gen.ratio hw.gpu.pcie.link.width hw.gpu.pcie.link.width.max hw.gpu.pcie.link.width.ratio""".split()
)


def power_share(gpu: Gpu, load: GpuLoad) -> float:
    """Share of the power limit that the load would draw at full clock; above 1 the card lowers its clock."""
    idle = gpu.idle_power / gpu.power
    wanted = 0.22 * load.util + 1.25 * load.matrix + 0.35 * load.dram
    small = 1.5 if gpu.power < 100 else 1.0  # 70 W cards reach their limit with little work
    return idle + (1 - idle) * wanted * small


def _about(draw: Draw, gpu: Gpu, load: GpuLoad) -> Facts:
    driver, cuda = draw.one(*(DRIVERS[2:] if gpu.capability in ("10.0", "12.0") else DRIVERS))
    facts: Facts = {
        "hw.gpu.count": load.used,
        "hw.gpu.model": gpu.model,
        "hw.gpu.driver.version": driver,
        "hw.gpu.driver.cuda_version": cuda,
        "hw.gpu.memory.limit": gpu.memory,
        "hw.gpu.power.limit": gpu.power,
        "hw.gpu.power.limit.default": gpu.power,
        "hw.gpu.compute_mode": "default",
    }
    if gpu.capability:
        facts["hw.gpu.compute_capability"] = gpu.capability
    return facts


def _use(draw: Draw, gpu: Gpu, load: GpuLoad) -> Facts:
    share = min(1.0, power_share(gpu, load))
    power = max(gpu.idle_power, gpu.power * share * draw(0.97, 1.0))
    held = load.memory + load.foreign
    facts: Facts = {
        "hw.gpu.utilization": nice(load.util),
        "hw.gpu.utilization.p5": nice(max(0.0, load.util - 3 * load.steady)),
        "hw.gpu.utilization.p95": nice(min(1.0, load.util + 2 * load.steady)),
        "hw.gpu.memory.usage": nice(held),
        "hw.gpu.memory.utilization": nice(held / gpu.memory),
        "hw.gpu.memory.peak_utilization": nice(min(0.985, held / gpu.memory * draw(1.0, 1.02))),
        "hw.gpu.memory.free": nice(gpu.memory - held),
        "hw.gpu.memory.utilization.growth": draw(0.0, 0.004),
        "hw.gpu.power": nice(power),
        "hw.gpu.temperature": round(27 + 45 * share + draw(0, 8)),
        "hw.gpu.encoder.utilization": 0.0,
        "hw.gpu.decoder.utilization": 0.0,
    }
    facts["hw.gpu.temperature.margin"] = 88 - facts["hw.gpu.temperature"]
    if load.used > 1:
        facts["hw.gpu.utilization.spread"] = draw(0.0, 0.03) if load.util > 0 else 0.0
        facts["hw.gpu.memory.usage.min"] = nice(held * draw(0.97, 1.0))
    return facts


def _busy(draw: Draw, gpu: Gpu, load: GpuLoad) -> Facts:
    wanted = power_share(gpu, load)
    low, high = gpu.clock_busy
    ratio = draw(low, (low + high) / 2) if wanted > 1 else draw((low + high) / 2, high)
    lanes = 8 if gpu.power < 100 and gpu.pcie == 3 and draw.chance(0.3) else 16
    facts: Facts = {
        "hw.gpu.clock.sm": nice(gpu.clock_max * ratio),
        "hw.gpu.clock.sm.max": gpu.clock_max,
        "hw.gpu.clock.sm.ratio": ratio,
        "hw.gpu.throttle.power_cap.fraction": nice(min(1.0, max(0.0, 3 * (wanted - 0.9)))) if wanted > 0.9 else 0.0,
        "hw.gpu.throttle.sw_thermal.fraction": 0.0,
        "hw.gpu.throttle.hw_thermal.fraction": 0.0,
        "hw.gpu.throttle.hw_slowdown.fraction": 0.0,
        "hw.gpu.throttle.power_brake.fraction": 0.0,
        "hw.gpu.throttle.app_clocks.fraction": 1.0 if gpu.repair == "pages" and ratio > 0.97 else 0.0,
        "hw.gpu.throttle.sync_boost.fraction": 0.0,
        "hw.gpu.throttle.display_clocks.fraction": 0.0,
        "hw.gpu.pcie.link.gen": gpu.pcie,
        "hw.gpu.pcie.link.gen.max": gpu.pcie,
        "hw.gpu.pcie.link.gen.ratio": 1.0,
        "hw.gpu.pcie.link.width": lanes,
        "hw.gpu.pcie.link.width.max": lanes,
        "hw.gpu.pcie.link.width.ratio": 1.0,
        "hw.gpu.pcie.replay.rate": draw.one(0.0, 0.0, 0.0, 0.1),
    }
    # Between requests a server's card has nothing to do; a training run's is never seen idle.
    facts["hw.gpu.recording.idle.fraction"] = nice((1 - load.util) * 0.6) if load.steady > 0.1 else 0.0
    if load.used > 1:
        facts["hw.gpu.clock.spread"] = draw(0.0, 0.05)
    return facts


def _nvidia(draw: Draw, gpu: Gpu, machine: Machine, load: GpuLoad) -> Facts:
    desk = machine.kind in ("laptop", "desktop")
    facts: Facts = {
        "hw.gpu.persistence_mode": not desk,
        "hw.gpu.mig.mode": load.mig > 0,
        "hw.gpu.process.count": (1 if load.util > 0 or load.memory > 1e9 else 0) + (1 if load.foreign else 0),
        "hw.gpu.process.foreign_memory": nice(load.foreign),
        "hw.gpu.process.foreign_count": 0,
        "hw.gpu.process.memory": nice(load.memory),
        "hw.gpu.pcie.rx.rate": nice(load.rx),
        "hw.gpu.pcie.tx.rate": nice(load.tx),
        "hw.gpu.nvlink.inactive": 0,
        "hw.gpu.topology.worst_path": "NV4" if gpu.links == 4 else f"NV{gpu.links}" if gpu.links else "PHB",
    }
    if load.mig:
        facts["hw.gpu.mig.instance.count"] = load.mig
    if gpu.links:
        facts |= {"hw.gpu.nvlink.tx.rate": nice(load.links), "hw.gpu.nvlink.crc_errors.rate": 0.0}
        facts |= {"hw.gpu.nvlink.replay_errors": 0}
    if gpu.links == 18:
        facts["hw.gpu.fabric.state"] = "Completed"
    if load.used > 1:
        facts["hw.gpu.p2p.supported"] = gpu.repair != "none"
    else:
        facts.pop("hw.gpu.topology.worst_path")
    if not desk:  # profiling counters come from DCGM, and data-centre cards have them
        active = load.util * draw(0.82, 0.97)
        facts |= {
            "hw.gpu.sm.active": nice(active),
            "hw.gpu.sm.occupancy": nice(active * draw(0.15, 0.5)),
            "hw.gpu.tensor.active": nice(min(0.95, load.matrix * draw(1.05, 1.25))),
            "hw.gpu.fp64.active": 0.0,
            "hw.gpu.dram.active": nice(min(0.9, load.dram)),
        }
    return facts


def _health(draw: Draw, gpu: Gpu) -> Facts:
    facts: Facts = {
        "hw.gpu.count.missing": 0,
        "hw.gpu.unreadable.count": 0,
        "hw.gpu.lost.count": 0,
        "hw.gpu.xid.last": 0,
        "hw.gpu.xid.count": 0,
        "hw.gpu.mamf.ratio": draw(0.97, 1.01),
    }
    if gpu.repair != "none":
        facts["hw.gpu.ecc.uncorrectable.volatile"] = 0
        facts["hw.gpu.ecc.sram_uncorrectable.aggregate"] = 0
    if gpu.repair == "rows":
        facts |= {"hw.gpu.row_remap.pending": False, "hw.gpu.row_remap.failed": False}
        facts["hw.gpu.row_remap.uncorrectable"] = 0
    if gpu.repair == "pages":
        facts |= {"hw.gpu.retired_pages.count": draw.one(0, 0, 2), "hw.gpu.retired_pages.pending": False}
    return facts
