"""GPUs and RDMA adapters on the PCI bus, from /sys: which GPUs there are, and how far adapters are from them.

Nothing here needs a driver. Paths are named as nvidia-smi names them, from near to far:
PIX, PXB, PHB, NODE, SYS.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from advisor.collect.base import Sample, read_optional

VENDOR = "0x10de"
CLASSES = ("0x0300", "0x0302")  # VGA and 3D controllers; their audio and USB functions are no GPUs
FIRST_PID_NAMESPACE = "pid:[4026531836]"  # its inode is fixed in the kernel
PATHS = ("PIX", "PXB", "PHB", "NODE", "SYS")
UNBOUND = 2  # a bridge and the device below it


def bus_id(text: str | bytes) -> str:
    """A PCI address as /sys writes it; NVML writes the domain with eight digits.

    >>> bus_id("00000000:1A:00.0")
    '0000:1a:00.0'
    """
    plain = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    domain, _, rest = plain.lower().partition(":")
    return f"{int(domain, 16):04x}:{rest}" if rest else plain.lower()


def read(sys: Path, proc: Path) -> Sample | None:
    """The NVIDIA GPUs on the bus, active RDMA adapters, NUMA nodes; None when the bus cannot be seen.

    ``whole`` is whether this process surely sees all GPUs of the machine: a container or a
    batch job may be given a part, while the bus always shows all.
    """
    devices = sys / "bus/pci/devices"
    try:
        names = sorted(os.listdir(devices))
    except OSError:
        return None
    return {
        "gpus": {name: about for name in names if (about := _gpu(devices / name))},
        "whole": _whole(proc),
        "adapters": _adapters(sys),
        "nodes": len(list((sys / "devices/system/node").glob("node[0-9]*"))),
    }


def _gpu(device: Path) -> Sample | None:
    if (read_optional(device / "vendor") or "").strip() != VENDOR:
        return None
    if not (read_optional(device / "class") or "").startswith(CLASSES):
        return None
    driver = device / "driver"
    return {
        "device": (read_optional(device / "device") or "").strip(),
        "driver": os.path.basename(os.path.realpath(driver)) if driver.exists() else None,
        "dead": _dead(device / "config"),
        **_place(device),
    }


def _dead(config: Path) -> bool:
    """Whether the device no longer answers on the bus: then all bits of its configuration read as one."""
    try:
        with open(config, "rb", buffering=0) as file:
            return file.read(2) == b"\xff\xff"
    except OSError:
        return False


def _place(device: Path) -> Sample:
    """The devices from the host bridge down, and the NUMA node (-1 unknown)."""
    parts = os.path.realpath(device).split("/")
    start = next((i for i, part in enumerate(parts) if part.startswith("pci") and ":" in part), len(parts))
    node = (read_optional(device / "numa_node") or "").strip()
    return {"path": parts[start:], "node": int(node) if node.lstrip("-").isdigit() else -1}


def _adapters(sys: Path) -> dict[str, Sample]:
    """RDMA adapters with a port that is up."""
    found = {}
    for folder in sorted((sys / "class/infiniband").glob("*")):
        states = [read_optional(state) or "" for state in folder.glob("ports/*/state")]
        if any("ACTIVE" in state for state in states):
            found[folder.name] = _place(folder / "device")
    return found


def _whole(proc: Path) -> bool:
    try:
        outside = os.readlink(proc / "self/ns/pid") == FIRST_PID_NAMESPACE
    except OSError:
        return False
    groups = [line.rpartition(":")[2] for line in (read_optional(proc / "self/cgroup") or "").splitlines()]
    return outside and all(g in ("/", "/init.scope") or g.startswith("/user.slice") for g in groups)


def path(one: Any, two: Any, nodes: int) -> str | None:
    """The name of the way between two places; None when it cannot be told."""
    a, b = one["path"], two["path"]
    if not a or not b:
        return None
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if shared > 1:
        return "PIX" if max(len(a), len(b)) - shared <= UNBOUND else "PXB"
    if shared == 1:
        return "PHB"
    if nodes == 1 or (one["node"] == two["node"] and one["node"] >= 0):
        return "NODE"
    return "SYS" if min(one["node"], two["node"]) >= 0 else None
