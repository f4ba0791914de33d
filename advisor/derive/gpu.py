"""Formulas about GPUs: idle time, throttling, clocks, memory."""

from __future__ import annotations

import math
import re

from advisor.derive.formula import formula


@formula("hw.gpu.compute_capability.number", "hw.gpu.compute_capability")
def capability_number(version: str) -> float | None:
    """The compute capability as a number, so that architectures can be ordered (minor versions have one digit).

    >>> capability_number("8.6"), capability_number("10.0"), capability_number("unknown")
    (8.6, 10.0, None)
    """
    return float(version) if re.fullmatch(r"\d+\.\d", version) else None


@formula("derived.gpu.present", optional=("hw.gpu.count", "hw.gpu.xid.last"))
def gpu_present(count: float | None, xid: float | None) -> bool | None:
    """Whether the machine has an NVIDIA GPU: as counted, else because its driver left lines in the kernel log.

    >>> gpu_present(8, None), gpu_present(0, None), gpu_present(None, 79), gpu_present(None, None)
    (True, False, True, None)
    """
    if count is not None:
        return count > 0
    return None if xid is None else True


@formula(
    "derived.run.startup.fraction",
    optional=("run.duration", "ml.initialization.time", "process.uptime", "trace.gpu.idle.fraction"),
    unless={"process.uptime": ("process",), "trace.gpu.idle.fraction": ("trace",)},
)
def startup(duration: float | None, init: float | None, age: float | None, traced: float | None) -> float | None:
    """Share of the observation before the first step: none in a trace of steps, nor of a process five times as old.

    >>> startup(300.0, 20.0, 301.0, None), startup(10.0, None, 8000.0, None), startup(1.7, None, None, 0.6)
    (0.06666666666666667, 0.0, 0.0)
    >>> startup(10.0, None, 20.0, None), startup(None, 20.0, None, None)
    (None, None)
    """
    if traced is not None:
        return 0.0
    if duration is None or duration <= 0:
        return None
    if age is not None and age > 5 * duration:
        return 0.0
    return None if init is None else min(1.0, init / duration)


@formula("hw.gpu.idle.fraction", "hw.gpu.utilization")
def gpu_idle(utilization: float) -> float:
    """Share of time without any kernel on the device, rounded so that a limit is met exactly.

    >>> gpu_idle(0.25), gpu_idle(0.9)
    (0.75, 0.1)
    """
    return round(1.0 - utilization, 9)


@formula(
    "ml.step.data_wait.exposed.fraction",
    "ml.step.data_wait.logged.fraction",
    "hw.gpu.idle.fraction",
)
def exposed_wait(logged: float, idle: float) -> float:
    """The wait that a program prints, as far as the GPU was idle: what queued work hides costs nothing.

    >>> exposed_wait(0.6, 0.45), exposed_wait(0.3, 0.5)
    (0.45, 0.3)
    """
    return min(logged, idle)


@formula(
    "hw.gpu.throttle.thermal.fraction",
    "hw.gpu.throttle.sw_thermal.fraction",
    "hw.gpu.throttle.hw_thermal.fraction",
)
def thermal(software: float, hardware: float) -> float:
    """Share of busy samples with a thermal clock-event reason, software or hardware (NVML reason bits 0x20, 0x40).

    >>> thermal(0.4, 0.1)
    0.4
    """
    return max(software, hardware)


@formula("hw.gpu.power.limit.utilization", "hw.gpu.power", "hw.gpu.power.limit")
def power_share(power: float, limit: float) -> float | None:
    """Board power over the enforced limit.

    >>> power_share(350, 700), power_share(350, 0)
    (0.5, None)
    """
    return min(1.0, power / limit) if limit > 0 else None


# The highest SM clock in MHz by model (NVIDIA data sheets): exporters tell the clock, hardly any the most it can be.
_CLOCK = {"V100-SXM": 1530, "T4": 1590, "A100": 1410, "A30": 1440, "A10": 1695, "H100 PCIe": 1755,
          "H100 80GB HBM3": 1980, "H200": 1980, "L40S": 2520, "L4": 2040}  # fmt: skip


@formula("hw.gpu.clock.sm.ratio", "hw.gpu.clock.sm", "hw.gpu.model")
def clock_by_model(clock: float, model: str) -> float | None:
    """The SM clock over the highest one of the model, where the driver was not asked for that.

    >>> clock_by_model(990e6, "NVIDIA H100 80GB HBM3"), clock_by_model(990e6, "NVIDIA GeForce RTX 4090")
    (0.5, None)
    """
    words = model.split()
    most = next((mhz for name, mhz in _CLOCK.items() if name in model and (" " in name or _word(name, words))), None)
    return min(1.0, clock / (most * 1e6)) if most else None


def _word(name: str, words: list[str]) -> bool:
    """Whether a name is a word of the model, perhaps with a form behind it: A100-SXM4-80GB, but not A1000."""
    return any(
        word == name or word.startswith(f"{name}-") or (name.endswith("SXM") and word.startswith(name))
        for word in words
    )


@formula("derived.gpu.clock.loss.fraction", "hw.gpu.clock.sm.ratio")
def clock_loss(ratio: float) -> float:
    """Upper bound on what lower clocks cost: compute-bound time scales with the SM clock.

    >>> clock_loss(0.75)
    0.25
    """
    return max(0.0, 1.0 - ratio)


@formula("derived.gpu.memory.headroom", "hw.gpu.memory.limit", "hw.gpu.memory.peak_utilization")
def memory_headroom(limit: float, peak: float) -> float:
    """Device memory left at the peak.

    >>> memory_headroom(80e9, 0.75)
    20000000000.0
    """
    return limit * (1.0 - peak)


@formula("derived.attention.step.fraction", "trace.attention.fraction", "trace.gpu.idle.fraction")
def attention_of_step(attention: float, idle: float) -> float:
    """Share of the traced time in attention kernels: its share of busy time, times the busy share.

    >>> attention_of_step(0.5, 0.2)
    0.4
    """
    return attention * (1.0 - idle)


@formula("derived.tensor_core.step.fraction", "trace.tensor_core.eligible_unused.fraction", "trace.gpu.idle.fraction")
def eligible_of_step(unused: float, idle: float) -> float:
    """Share of the traced time in kernels that could use Tensor Cores and do not: of busy time, times its share.

    >>> eligible_of_step(0.75, 0.2)
    0.6000000000000001
    """
    return unused * (1.0 - idle)


@formula(
    "derived.gpu.memory.growth.fraction",
    "torch.cuda.memory.allocated.slope",
    "ml.step.count",
    "torch.cuda.memory.allocated.peak",
)
def memory_growth(slope: float, steps: float, peak: float) -> float | None:
    """Trend of allocated device memory over the measured steps, relative to its peak.

    >>> memory_growth(1e6, 2000, 10e9), memory_growth(1e6, 2000, 0.0)
    (0.2, None)
    """
    return max(-1.0, min(1.0, slope * steps / peak)) if peak > 0 else None


_MOMENTS = {"Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "Adamax": 2}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


@formula(
    "torch.cuda.memory.optimizer_state.share",
    "config.optimizer",
    "config.model.parameters",
    "config.model.dtype",
    "torch.cuda.memory.allocated.peak",
    "config.distributed.world_size",
)
def optimizer_states(name: str, parameters: float, dtype: str, peak: float, world: float) -> float | None:
    """Moments of the Adam family over the allocated peak; not computed for several ranks, which may shard them.

    >>> optimizer_states("AdamW", 1e9, "float32", 20e9, 1), optimizer_states("AdamW", 1e9, "float32", 20e9, 8)
    (0.4, None)
    """
    count, size = _MOMENTS.get(name), _BYTES.get(dtype.removeprefix("torch."))
    if count is None or size is None or peak <= 0 or world > 1:
        return None
    return min(1.0, count * size * parameters / peak)


@formula("derived.gpu.kernel_gap.fraction", "trace.gpu.idle.fraction", "trace.gpu.idle.kernel_wait.fraction")
def kernel_gaps(idle: float, gaps: float) -> float:
    """Share of the traced time in gaps between queued kernels: the idle share, times the part of it that is gaps.

    >>> kernel_gaps(0.5, 0.5)
    0.25
    """
    return idle * gaps


@formula("derived.compile.run.fraction", "ml.compile.time", "process.uptime")
def compile_share(compiling: float, age: float) -> float | None:
    """Compile time over the age of the process.

    >>> compile_share(240.0, 1200.0), compile_share(240.0, 0.0)
    (0.2, None)
    """
    return min(1.0, compiling / age) if age > 0 else None


@formula(
    "hw.gpu.pcie.replay.excess_ratio",
    "hw.gpu.pcie.replay.rate",
    "hw.gpu.pcie.link.gen",
    "hw.gpu.pcie.link.width",
)
def replay_excess(per_minute: float, generation: float, lanes: float) -> float | None:
    """PCIe replays over what a bit-error rate of 1e-12 allows (DCGM's health watch: a rate per lane, rounded up).

    >>> replay_excess(32, 4, 16), replay_excess(3, 9, 16), replay_excess(3, 4, 0)
    (2.0, None, None)
    """
    per_lane = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92, 6: 3.84}.get(int(generation))
    return per_minute / math.ceil(per_lane * lanes) if per_lane and lanes > 0 else None


@formula(
    "derived.logging.exposed.fraction",
    "ml.step.logging.fraction",
    "run.gpu.used",
    optional=("hw.gpu.idle.fraction",),
)
def logging_exposed(logging: float, on_gpu: bool, idle: float | None) -> float | None:
    """Step time lost to logging: on a GPU at most its idle share, as a read of the loss also waits for real work.

    >>> logging_exposed(0.4, True, 0.1), logging_exposed(0.4, False, None), logging_exposed(0.4, True, None)
    (0.1, 0.4, None)
    """
    if not on_gpu:
        return logging
    return None if idle is None else min(logging, idle)


@formula(
    "derived.hotspot.exposed.fraction",
    "process.code.hotspot.fraction",
    optional=("run.gpu.used", "hw.gpu.idle.fraction"),
    unless={"run.gpu.used": ("training hook",), "hw.gpu.idle.fraction": ("nvml",)},
)
def hotspot_exposed(hotspot: float, on_gpu: bool | None, idle: float | None) -> float:
    """Time in the busiest own function that costs step time: on a GPU that was watched, at most its idle share.

    While the GPU works through what is queued, Python beside it is free, and reading the loss waits for that work.

    >>> hotspot_exposed(0.9, True, 0.02), hotspot_exposed(0.4, False, None), hotspot_exposed(0.4, True, None)
    (0.02, 0.4, 0.4)
    """
    return min(hotspot, idle) if on_gpu and idle is not None else hotspot


# Bytes per second and lane after encoding, by PCIe generation (PCI-SIG base specifications).
_LANE = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}


@formula(
    "derived.gpu.pcie.rate.ratio",
    "hw.gpu.pcie.link.width.ratio",
    "hw.gpu.pcie.link.gen",
    "hw.gpu.pcie.link.gen.max",
)
def pcie_rate_ratio(width: float, gen: float, gen_max: float) -> float | None:
    """Rate of the PCIe link over the largest that card and slot support: share of lanes times rate per lane.

    >>> pcie_rate_ratio(1.0, 4, 4), pcie_rate_ratio(0.25, 4, 4), pcie_rate_ratio(1.0, 3, 4), pcie_rate_ratio(1.0, 9, 9)
    (1.0, 0.25, 0.5, None)
    """
    rate, most = _LANE.get(int(gen)), _LANE.get(int(gen_max))
    return min(1.0, round(width * rate / most, 3)) if rate and most else None


@formula(
    "hw.gpu.pcie.utilization",
    "hw.gpu.pcie.link.gen",
    "hw.gpu.pcie.link.width",
    "hw.gpu.pcie.rx.rate",
    "hw.gpu.pcie.tx.rate",
)
def pcie_use(gen: float, width: float, rx: float, tx: float) -> float | None:
    """Larger of the PCIe rates over the rate of the negotiated link.

    >>> round(pcie_use(4, 16, 20e9, 1e9), 3), pcie_use(4, 0, 1e9, 1e9)
    (0.635, None)
    """
    full = _LANE.get(int(gen), 0.0) * width
    return max(rx, tx) / full if full > 0 else None


@formula(
    "derived.cuda.driver.major_gap",
    "config.torch.cuda_build",
    "hw.gpu.driver.cuda_version",
    optional=("config.torch.cuda_available",),
)
def cuda_major_gap(build: str, driver: str, available: bool | None) -> float | None:
    """Major CUDA versions the build is ahead of the driver; a forward-compatibility package can bridge it.

    Whether one does is seen by CUDA being available; while that is unknown, so is a gap.

    >>> cuda_major_gap("13.0", "12.8", False), cuda_major_gap("12.8", "13.0", None)
    (1.0, -1.0)
    >>> cuda_major_gap("13.0", "12.8", True), cuda_major_gap("13.0", "12.8", None), cuda_major_gap("?", "12.8", False)
    (0.0, None, None)
    """
    wanted, given = (re.match(r"(\d+)\.\d", text) for text in (build, driver))
    if not wanted or not given:
        return None
    gap = float(int(wanted[1]) - int(given[1]))
    if gap > 0 and available is None:
        return None
    return min(0.0, gap) if available else gap
