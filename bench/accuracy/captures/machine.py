"""A described machine and its job: what follows physically from the description, for every capture alike.

A description names causes (a hot card, a lowered power limit, a slow disk); clocks, power, step time and shares
follow from it here, so that all captures of one scenario tell one story.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bench.accuracy.captures.engine import busy_share

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """What the data sheet of a GPU says: memory in MiB, power in W, clocks in MHz, link generation, NVLinks."""

    name: str
    memory: int
    power: int
    clock: int
    mem_clock: int
    gen: int
    links: int
    link_rate: float
    idle: int
    slowdown: int


MODELS: Mapping[str, Model] = {
    "H100": Model("NVIDIA H100 80GB HBM3", 81559, 700, 1980, 2619, 5, 18, 26.562, 72, 87),
    "A100": Model("NVIDIA A100-SXM4-80GB", 81920, 400, 1410, 1593, 4, 12, 25.0, 60, 92),
    "L40S": Model("NVIDIA L40S", 46068, 350, 2520, 9001, 4, 0, 0.0, 36, 92),
}
# A data-centre NVMe disk, and requests of a loader that reads ahead.
DISK: Spec = {"max_mb_s": 6500.0, "max_iops": 900_000.0, "request_kb": 128.0, "base_ms": 0.09, "readers": 16}
BUSES = ("18", "2A", "3A", "5D", "9A", "AB", "BA", "DB")


@dataclass
class Gpu:
    """One card under the job: levels as its driver tells them."""

    index: int
    model: Model
    util: float
    clock: float
    power: float
    limit: float
    temperature: float
    used: float
    sm_active: float
    tensor: float
    dram: float
    reasons: frozenset[str] = frozenset()
    told: dict[str, Any] = field(default_factory=dict)  # whatever else the description says of this card

    @property
    def bus(self) -> str:
        """The PCI address, as nvidia-smi writes it."""
        return f"00000000:{BUSES[self.index]}:00.0"

    @property
    def uuid(self) -> str:
        """A made-up identity, the same in all captures."""
        return f"GPU-{self.index + 1:08x}-5ca1-ab1e-0000-{self.index + 1:012x}"


def merged(base: Spec, over: Spec) -> dict[str, Any]:
    """`base` with the values of `over` in their places, at any depth."""
    out = dict(base)
    for key, value in over.items():
        deep = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if deep else value
    return out


class Machine:
    """A description, and what follows from it.

    Args:
        name: of the scenario; seeds the noise.
        spec: sections ``gpus``, ``host``, ``training``, ``serving``, ``nccl``, ``trace``, ``kernel``, ...
    """

    def __init__(self, name: str, spec: Spec) -> None:
        self.name, self.spec = name, spec

    def section(self, name: str) -> dict[str, Any]:
        """A section of the description; empty when it is not there."""
        return dict(self.spec.get(name) or {})

    def noise(self, what: str) -> random.Random:
        """Noise that is the same in every run."""
        return random.Random(f"{self.name} {what}")

    # --- GPUs ---

    @cached_property
    def model(self) -> Model:
        """The kind of card."""
        return MODELS[self.section("gpus").get("model", "H100")]

    @cached_property
    def gpus(self) -> list[Gpu]:
        """The cards under load."""
        told = self.section("gpus")
        return [self._gpu(i, merged(told, (told.get("each") or {}).get(i, {}))) for i in range(told.get("count", 8))]

    def _gpu(self, index: int, told: dict[str, Any]) -> Gpu:
        model, rng = self.model, self.noise(f"gpu {index}")
        util = told.get("util", self.busy)
        limit = told.get("power_limit", model.power)
        clock, reasons = _clock(model, told, limit, util)
        scale = (clock / model.clock) ** 2
        waiting = min(1.0, self._own_share(clock))  # a card that waits in a collective draws little
        power = model.idle + (model.power * told.get("load", 0.78) - model.idle) * scale * util * waiting
        power = min(limit, power) * rng.uniform(0.985, 1.0)
        heat = told.get("temperature", 31 + 38 * power / model.power + rng.uniform(0, 4))
        intensity = util * waiting
        return Gpu(
            index, model, util, clock, power, limit, heat, told.get("used", 62000) + rng.randrange(40),
            told.get("sm_active", 0.9) * util, told.get("tensor", 0.45) * intensity, told.get("dram", 0.42) * intensity,
            reasons, told,
        )  # fmt: skip

    def _own_share(self, clock: float) -> float:
        """Share of the step that a card of this clock computes itself; the rest it waits for the slowest."""
        return (self.slowest_clock / clock) if self.spec.get("training") else 1.0

    @cached_property
    def slowest_clock(self) -> float:
        """The clock of the slowest card in MHz: a synchronous job steps at its pace."""
        told = self.section("gpus")
        clocks = []
        for i in range(told.get("count", 8)):
            own = merged(told, (told.get("each") or {}).get(i, {}))
            clocks.append(_clock(self.model, own, own.get("power_limit", self.model.power), own.get("util", 1.0))[0])
        return min(clocks)

    # --- the training step, in seconds ---

    @cached_property
    def compute(self) -> float:
        """Forward, backward and optimizer on the slowest card."""
        return float(self.section("training").get("compute", 2.0)) * self.model.clock / self.slowest_clock

    @cached_property
    def comm(self) -> float:
        """Communication that no compute hides."""
        told = self.section("training")
        whole = told.get("traffic_gb", 0.0) / told.get("busbw", 360.0)
        return float(max(told.get("comm", 0.04), whole - told.get("overlapped", 0.6) * self.compute))

    @cached_property
    def wait(self) -> float:
        """What a step waits for its batch: workers and storage prepare it while the step computes."""
        told = self.section("training")
        cpu = told.get("batch_cpu", 0.0) / max(1, told.get("workers", 8))
        disk = merged(DISK, self.section("host").get("disk") or {})
        read = told.get("batch_mb", 0.0) / storage_rate(disk)
        alone = 0.0 if told.get("workers", 8) else self.compute + self.comm  # without workers nothing overlaps
        return float(max(0.004, max(cpu, read) - (self.compute + self.comm - alone)))

    @property
    def step(self) -> float:
        """The whole step."""
        return self.compute + self.comm + self.wait

    @property
    def busy(self) -> float:
        """Share of time in which kernels run, collectives included."""
        if self.spec.get("serving") is not None:
            return busy_share(f"{self.name} 0", self.section("serving")) * 0.985
        if self.spec.get("training") is None:
            return float(self.section("gpus").get("busy", 0.97))
        return min(0.995, (self.compute + self.comm) / self.step * self.section("training").get("kernels", 0.985))


def storage_rate(disk: Spec) -> float:
    """What a disk delivers at most at this size of request, in MB/s."""
    return float(min(disk["max_mb_s"], disk["max_iops"] * disk["request_kb"] / 1000))


def _clock(model: Model, told: Mapping[str, Any], limit: float, util: float) -> tuple[float, frozenset[str]]:
    """Clock in MHz and why it is not the highest: a set clock, heat, or a power limit (power goes with its square)."""
    reasons = set(told.get("reasons", ()))
    clock = float(told.get("clock", model.clock * 0.985))
    demand = model.idle + (model.power * told.get("load", 0.78) - model.idle) * util * (clock / model.clock) ** 2
    if demand > limit:
        clock = max(210.0, clock * ((limit - model.idle) / (demand - model.idle)) ** 0.5)
        reasons.add("power_cap")
    return float(round(clock / 15) * 15), frozenset(reasons)
