"""GPUs and links: memory, memory bandwidth, dense peak rate and link rates as their makers print them.

Sources: NVIDIA's and AMD's data sheets as collected by Stas Bekman (ml-engineering: accelerators, networking
hardware); GeForce peaks (16 bits, accumulation in 32) from the Ada and Ampere whitepapers by way of llm.c, mfu.h.
Peaks with sparsity, twice as high, are not used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 2.0**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """One model of GPU: memory in GiB, bandwidth in bytes/s, dense 16-bit peak in FLOP/s, NVLink in bytes/s one way.

    A card that is sold with 80 GB has 80 GiB, give or take one in a hundred.
    """

    name: str
    memory: float
    bandwidth: float
    peak: float
    nvlink: float = 0.0


# fmt: off
_ROWS = (
    Gpu("B200", 180, 8.0e12, 2250e12, 900e9), Gpu("GH200", 96, 4.0e12, 989e12, 450e9),
    Gpu("H200", 141, 4.8e12, 989e12, 450e9), Gpu("H100", 80, 3.35e12, 989e12, 450e9),
    Gpu("H100 PCIe", 80, 2.0e12, 756e12), Gpu("H800", 80, 3.35e12, 989e12, 200e9),
    Gpu("H20", 96, 4.0e12, 148e12, 450e9),
    Gpu("A100", 80, 2.039e12, 312e12, 300e9), Gpu("A100 40GB", 40, 1.555e12, 312e12, 300e9),
    Gpu("A800", 80, 2.039e12, 312e12, 200e9), Gpu("A40", 48, 696e9, 149.7e12), Gpu("A30", 24, 933e9, 165e12),
    Gpu("A10", 24, 600e9, 125e12), Gpu("A10G", 24, 600e9, 125e12), Gpu("RTX A6000", 48, 768e9, 154.8e12),
    Gpu("RTX 6000 Ada", 48, 960e9, 364e12), Gpu("L40S", 48, 864e9, 362e12), Gpu("L40", 48, 864e9, 181e12),
    Gpu("L4", 24, 300e9, 121e12), Gpu("T4", 16, 320e9, 65e12),
    Gpu("V100", 32, 900e9, 125e12, 150e9), Gpu("V100 16GB", 16, 900e9, 125e12, 150e9),
    Gpu("RTX 5090", 32, 1792e9, 209.5e12), Gpu("RTX 4090", 24, 1008e9, 165.2e12), Gpu("RTX 4080", 16, 717e9, 97.5e12),
    Gpu("RTX 4070 Ti", 12, 504e9, 80.2e12), Gpu("RTX 4070", 12, 504e9, 58.3e12), Gpu("RTX 4060 Ti", 16, 288e9, 44.1e12),
    Gpu("RTX 3090 Ti", 24, 1008e9, 80e12), Gpu("RTX 3090", 24, 936e9, 71.2e12), Gpu("RTX 3080", 10, 760e9, 59.5e12),
    Gpu("RTX 3060", 12, 360e9, 25.5e12), Gpu("RTX 2080 Ti", 11, 616e9, 53.8e12),
    Gpu("MI300X", 192, 5.3e12, 1307e12), Gpu("MI250X", 128, 3.28e12, 383e12),
)
# fmt: on
GPUS = {gpu.name: gpu for gpu in _ROWS}
TYPICAL = ("RTX 4090", "L40S", "A100", "H200")  # a size each: 24, 48, 80, 141 GB
_VARIANTS = {("A100", 40.0): "A100 40GB", ("V100", 16.0): "V100 16GB"}


def _names() -> dict[str, str]:
    """What people write, longest first, to the name in the table; "a100s" and "4090s" are plurals."""
    written: dict[str, str] = {}
    for name in GPUS:
        short = re.sub(r"^rtx | \d+gb$", "", name.lower())
        written.setdefault(short, name)
    written |= {"6000ada": "RTX 6000 Ada", "4090d": "RTX 4090", "a100 pcie": "A100", "h100 sxm": "H100"}
    return dict(sorted(written.items(), key=lambda item: -len(item[0])))


_WRITTEN = _names()
GPU_NAME = (
    r"(?:(?<![a-z0-9.])|(?<=\dx))(?:nvidia[ -]*)?(?:tesla[ -]*|geforce[ -]*)?(?:rtx[ -]*)?(?P<gpu>"
    + "|".join(re.escape(w).replace(r"\ ", "[ -]?") for w in _WRITTEN)
    + r")(?:[ -]?(?:sxm\d?|pcie))?(?:(?:[- ]|(?=\d))(?P<gib>\d{2,3}) ?gi?b?(?![a-z]))?s?(?![a-z0-9])"
)


def gpu_by(written: str, memory: float | None = None) -> Gpu:
    """The GPU that a match of `GPU_NAME` means; `memory` in GiB tells the variants of one name apart.

    >>> gpu_by("a100").memory, gpu_by("a100", 40).bandwidth, gpu_by("4090").name
    (80, 1555000000000.0, 'RTX 4090')
    """
    name = _WRITTEN[re.sub(r"[ -]+", " ", written)]
    return GPUS[_VARIANTS.get((name, memory or 0.0), name)]


_PCIE_X16 = {"3": 15.75e9, "4": 31.5e9, "5": 63e9, "6": 121e9}
_INFINIBAND = {"edr": 100, "hdr": 200, "ndr": 400, "xdr": 800}  # gigabits per second of a four-lane port


@dataclass(frozen=True, slots=True)
class Link:
    """A link with its rate in bytes per second, one way; `network` when it joins hosts rather than GPUs of one."""

    name: str
    rate: float
    network: bool


def link_in(plain: str, gpu: Gpu | None = None) -> tuple[Link, re.Match[str]] | None:
    """The link that a normalised text names: Ethernet or InfiniBand by rate, PCIe by generation, NVLink by the GPU.

    >>> link_in("over a 25g nic")[0].rate, link_in("hdr infiniband")[0].rate, link_in("pcie 4.0 x8")[0].rate
    (3125000000.0, 25000000000.0, 15750000000.0)
    """
    if m := re.search(r"\bpcie?[ -]*(?:gen)?[ -]*([3-6])(?:\.0)?(?: ?x ?(\d+))?|\bpcie\b", plain, re.ASCII):
        generation, lanes = m[1] or "4", int(m[2] or 16)
        return Link(f"PCIe {generation}.0 x{lanes}", _PCIE_X16[generation] * lanes / 16, False), m
    if m := re.search(r"\bnvlink\b|\bnvswitch\b", plain, re.ASCII):
        return (Link(f"NVLink ({gpu.name})", gpu.nvlink, False), m) if gpu and gpu.nvlink else None
    if m := re.search(r"(?<![a-z])(edr|hdr|ndr|xdr)(?![a-z])", plain, re.ASCII):
        return Link(f"InfiniBand {m[1].upper()}", _INFINIBAND[m[1]] * 1e9 / 8, True), m
    port = r"(?:bps|bit/s|bits/s|be\b|b?e\b|b? ?(?:ethernet|eth|nic|link|network|ib\b|infiniband|roce|网|以太|万兆))"
    if m := re.search(rf"(?<![\d.])(\d+(?:\.\d+)?) ?g(?:b(?=[ie网以 ]))? ?{port}", plain, re.ASCII):
        kind = "InfiniBand" if re.search(r"ib\b|infiniband", m[0]) else "Ethernet"
        return Link(f"{m[1]} Gb/s {kind}", float(m[1]) * 1e9 / 8, True), m
    if m := re.search(r"万兆", plain, re.ASCII):
        return Link("10 Gb/s Ethernet", 1.25e9, True), m
    return None
