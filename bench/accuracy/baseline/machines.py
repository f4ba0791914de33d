"""Hardware: GPUs and the machines they are built into.

Memory is what nvidia-smi and rocm-smi print as total; rates of 16-bit matrix products are dense, without sparsity;
all from the vendors' data sheets (NVIDIA: T4, V100, A10, A100, L4, H100, H200, Blackwell, GH200, Ada and Ampere
workstation cards; AMD: CDNA 2 and CDNA 3). `clock_busy` is the SM clock over its maximum while large matrix
products run: cards that reach their power limit (L4, T4, H100 at 700 W) run far below the largest clock by design.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 2.0**20
GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """One model of GPU; `links` are NVLinks, `link_rate` their bytes per second and direction together."""

    model: str
    capability: str | None  # None for AMD
    memory: float  # bytes
    flops: float  # 16-bit, dense
    bandwidth: float  # bytes/s of device memory
    power: float  # watts, the default limit
    idle_power: float
    clock_max: float  # Hz
    clock_busy: tuple[float, float]
    pcie: int
    links: int = 0
    link_rate: float = 0.0
    repair: str = "rows"  # what bad memory becomes: remapped "rows", retired "pages", or "none" without ECC
    bf16: bool = True

    @property
    def amd(self) -> bool:
        """Whether ROCm drives it."""
        return self.capability is None


def _gpu(model: str, capability: str | None, mib: float, tflops: float, gbs: float, watts: float, **more: Any) -> Gpu:
    return Gpu(model, capability, mib * MIB, tflops * 1e12, gbs * 1e9, watts, **more)


_GEFORCE = {"repair": "none"}
# fmt: off
GPUS = {
    "rtx3090": _gpu("NVIDIA GeForce RTX 3090", "8.6", 24576, 71, 936, 350, idle_power=25, clock_max=2.1e9,
                    clock_busy=(0.80, 0.90), pcie=4, **_GEFORCE),
    "rtx4060m": _gpu("NVIDIA GeForce RTX 4060 Laptop GPU", "8.9", 8188, 60, 256, 80, idle_power=4, clock_max=3.105e9,
                     clock_busy=(0.62, 0.78), pcie=4, **_GEFORCE),
    "rtx4090": _gpu("NVIDIA GeForce RTX 4090", "8.9", 24564, 165, 1008, 450, idle_power=20, clock_max=3.105e9,
                    clock_busy=(0.84, 0.89), pcie=4, **_GEFORCE),
    "rtx5090": _gpu("NVIDIA GeForce RTX 5090", "12.0", 32607, 209, 1792, 575, idle_power=22, clock_max=3.09e9,
                    clock_busy=(0.82, 0.90), pcie=5, **_GEFORCE),
    "a6000": _gpu("NVIDIA RTX A6000", "8.6", 49140, 155, 768, 300, idle_power=22, clock_max=2.1e9,
                  clock_busy=(0.70, 0.85), pcie=4, links=4, link_rate=56e9),
    "t4": _gpu("Tesla T4", "7.5", 15360, 65, 320, 70, idle_power=10, clock_max=1.59e9, clock_busy=(0.55, 0.75),
        pcie=3,
               repair="pages", bf16=False),
    "l4": _gpu("NVIDIA L4", "8.9", 23034, 121, 300, 72, idle_power=13, clock_max=2.04e9, clock_busy=(0.45, 0.65),
        pcie=4),
    "a10g": _gpu("NVIDIA A10G", "8.6", 23028, 70, 600, 300, idle_power=20, clock_max=1.71e9, clock_busy=(0.85, 0.98),
        pcie=4),
    "l40s": _gpu("NVIDIA L40S", "8.9", 46068, 362, 864, 350, idle_power=35, clock_max=2.52e9, clock_busy=(0.72, 0.9),
        pcie=4),
    "v100": _gpu("Tesla V100-SXM2-16GB", "7.0", 16384, 125, 900, 300, idle_power=42, clock_max=1.53e9,
                 clock_busy=(0.95, 1.0), pcie=3, links=6, link_rate=150e9, repair="pages", bf16=False),
    "a100-40": _gpu("NVIDIA A100-SXM4-40GB", "8.0", 40960, 312, 1555, 400, idle_power=52, clock_max=1.41e9,
                    clock_busy=(0.93, 1.0), pcie=4, links=12, link_rate=300e9),
    "a100-80": _gpu("NVIDIA A100-SXM4-80GB", "8.0", 81920, 312, 2039, 400, idle_power=60, clock_max=1.41e9,
                    clock_busy=(0.88, 1.0), pcie=4, links=12, link_rate=300e9),
    "a100-pcie": _gpu("NVIDIA A100 80GB PCIe", "8.0", 81920, 312, 1935, 300, idle_power=45, clock_max=1.41e9,
                      clock_busy=(0.78, 0.92), pcie=4),
    "h100": _gpu("NVIDIA H100 80GB HBM3", "9.0", 81559, 989, 3350, 700, idle_power=72, clock_max=1.98e9,
                 clock_busy=(0.72, 0.93), pcie=5, links=18, link_rate=450e9),
    "h100-pcie": _gpu("NVIDIA H100 PCIe", "9.0", 81559, 756, 2000, 350, idle_power=48, clock_max=1.755e9,
                      clock_busy=(0.68, 0.85), pcie=5),
    "h200": _gpu("NVIDIA H200", "9.0", 143771, 989, 4800, 700, idle_power=76, clock_max=1.98e9,
                 clock_busy=(0.72, 0.93), pcie=5, links=18, link_rate=450e9),
    "b200": _gpu("NVIDIA B200", "10.0", 183359, 2250, 8000, 1000, idle_power=140, clock_max=1.965e9,
                 clock_busy=(0.74, 0.95), pcie=5, links=18, link_rate=900e9),
    "gh200": _gpu("NVIDIA GH200 480GB", "9.0", 97871, 989, 4000, 900, idle_power=110, clock_max=1.98e9,
                  clock_busy=(0.75, 0.95), pcie=5),
    "mi250": _gpu("AMD Instinct MI250X", None, 65520, 191, 1638, 280, idle_power=45, clock_max=1.7e9,
                  clock_busy=(0.8, 0.97), pcie=4),
    "mi300x": _gpu("AMD Instinct MI300X", None, 196592, 1307, 5300, 750, idle_power=135, clock_max=2.1e9,
                   clock_busy=(0.6, 0.9), pcie=5),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine; `fabric` is the network between nodes ("ib", "roce", "efa" or "" for plain Ethernet)."""

    name: str
    gpu: Gpu | None
    gpus: int
    cores: int
    logical: int
    nodes: int  # NUMA nodes
    ram: float
    clock: tuple[float, float]  # Hz with all cores busy, and of one core alone
    kind: str  # laptop, desktop, server, cloud
    nic: float  # bytes/s
    disk: str  # nvme, sata, volume (network block storage), hdd
    fabric: str = ""
    fabric_rate: float = 0.0  # bytes/s and GPU


def _m(name: str, gpu: str | None, gpus: int, cpu: tuple[int, int, int], gib: float, kind: str, **more: Any) -> Machine:
    """A machine with what is usual for its kind."""
    usual: dict[str, Any] = {
        "laptop": {"clock": (2.6e9, 4.6e9), "nic": 125e6, "disk": "nvme"},
        "desktop": {"clock": (4.6e9, 5.4e9), "nic": 312.5e6, "disk": "nvme"},
        "server": {"clock": (3.1e9, 3.8e9), "nic": 12.5e9, "disk": "nvme"},
        "cloud": {"clock": (2.9e9, 3.5e9), "nic": 3.125e9, "disk": "volume"},
    }[kind]
    cores, logical, nodes = cpu
    filled = {**usual, **more}
    return Machine(name, GPUS[gpu] if gpu else None, gpus, cores, logical, nodes, gib * GIB, kind=kind, **filled)


# fmt: off
MACHINES = {
    m.name: m
    for m in (
        _m("laptop-4c", None, 0, (4, 8, 1), 16, "laptop"),
        _m("laptop-8c-arm", None, 0, (8, 8, 1), 24, "laptop", clock=(3.2e9, 3.5e9)),
        _m("laptop-14c-hybrid", None, 0, (14, 20, 1), 32, "laptop", clock=(2.4e9, 4.8e9)),
        _m("laptop-rtx4060", "rtx4060m", 1, (8, 16, 1), 32, "laptop"),
        _m("ws-3090", "rtx3090", 1, (12, 24, 1), 64, "desktop"),
        _m("ws-4090", "rtx4090", 1, (16, 32, 1), 64, "desktop"),
        _m("ws-2x4090", "rtx4090", 2, (16, 32, 1), 128, "desktop"),
        _m("ws-5090", "rtx5090", 1, (16, 32, 1), 96, "desktop"),
        _m("ws-2xa6000", "a6000", 2, (32, 64, 1), 256, "desktop", clock=(3.6e9, 4.5e9)),
        _m("cpu-server", None, 0, (64, 128, 2), 512, "server"),
        _m("cloud-t4", "t4", 1, (4, 8, 1), 30, "cloud"),
        _m("cloud-4xt4", "t4", 4, (24, 48, 1), 192, "cloud", nic=6.25e9),
        _m("cloud-l4", "l4", 1, (4, 8, 1), 32, "cloud"),
        _m("cloud-8xl4", "l4", 8, (48, 96, 2), 384, "cloud", nic=12.5e9, disk="nvme"),
        _m("cloud-a10g", "a10g", 1, (8, 16, 1), 64, "cloud", disk="nvme"),
        _m("cloud-4xa10g", "a10g", 4, (24, 48, 1), 192, "cloud", nic=5e9, disk="nvme"),
        _m("cloud-l40s", "l40s", 1, (8, 16, 1), 128, "cloud", nic=2.5e9),
        _m("cloud-8xv100", "v100", 8, (32, 64, 2), 488, "cloud"),
        _m("dgx-8xa100-40", "a100-40", 8, (128, 256, 8), 1024, "server", fabric="ib", fabric_rate=25e9),
        _m("cloud-8xa100-40", "a100-40", 8, (48, 96, 2), 1152, "cloud", nic=50e9, disk="nvme", fabric="efa",
            fabric_rate=6.25e9),
        _m("dgx-8xa100-80", "a100-80", 8, (128, 256, 8), 2048, "server", fabric="ib", fabric_rate=25e9),
        _m("server-4xa100-pcie", "a100-pcie", 4, (64, 128, 2), 512, "server"),
        _m("dgx-8xh100", "h100", 8, (112, 224, 2), 2048, "server", fabric="ib", fabric_rate=50e9),
        _m("cloud-8xh100", "h100", 8, (96, 192, 2), 2048, "cloud", nic=12.5e9, disk="nvme", fabric="roce",
            fabric_rate=50e9),
        _m("server-2xh100-pcie", "h100-pcie", 2, (64, 128, 2), 1024, "server"),
        _m("server-8xh200", "h200", 8, (96, 192, 2), 2048, "server", fabric="ib", fabric_rate=50e9),
        _m("dgx-8xb200", "b200", 8, (112, 224, 2), 4096, "server", fabric="ib", fabric_rate=50e9),
        _m("gh200", "gh200", 1, (72, 72, 2), 480, "server", fabric="ib", fabric_rate=50e9, clock=(3.2e9, 3.4e9)),
        _m("node-8xmi250", "mi250", 8, (64, 128, 4), 512, "server", fabric="ib", fabric_rate=12.5e9),
        _m("node-8xmi300x", "mi300x", 8, (96, 192, 2), 2304, "server", fabric="roce", fabric_rate=50e9),
    )
}
# fmt: on
