"""How the GPUs of a machine are connected: NVLinks with what they lead to, and the way between every two GPUs.

Names are those of ``nvidia-smi topo -m``: NV and the number of links, else PIX, PXB, PHB, NODE, SYS.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from advisor.collect.gpu_nvml import Nvml
from advisor.collect.gpu_pci import PATHS, bus_id

P2P_READ, P2P_WRITE, P2P_NVLINK = 0, 1, 2  # the binding's own name for the first is a tuple
P2P_OK = 0
LEVELS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}  # nvmlGpuTopologyLevel_t; 0 is one board
SWITCH = 2  # nvmlIntNvLinkDeviceType_t

Link = list[Any]  # number, whether it is on, kind of the other end, its PCI address
Pair = list[Any]  # two GPUs, common ancestor, and the P2P status of reads, writes and NVLink


def links(nvml: Nvml, who: str, handle: Any) -> list[Link] | None:
    """The NVLinks that the device has, none for a card without; None when it could not be asked."""
    (count,) = nvml.fields(who, handle, [(nvml.binding.NVML_FI_DEV_NVLINK_LINK_COUNT, 0)])
    most = nvml.binding.NVML_NVLINK_MAX_LINKS if count is None else int(count)
    found = []
    for link in range(most):
        state = nvml.ask(who, "nvmlDeviceGetNvLinkState", handle, link, fine=["INVALID_ARGUMENT"])
        if state is not None:
            found.append([link, bool(state), *(_other_end(nvml, who, handle, link) if state else (None, None))])
    asked = found or (not count and who not in nvml.trouble)
    return found if asked else None


def active(found: list[Link] | None) -> list[int] | None:
    """The numbers of the links that are on; None when they are unknown."""
    return None if found is None else [link[0] for link in found if link[1]]


def _other_end(nvml: Nvml, who: str, handle: Any, link: int) -> tuple[int | None, str | None]:
    kind = nvml.ask(who, "nvmlDeviceGetNvLinkRemoteDeviceType", handle, link, fine=["INVALID_ARGUMENT"])
    if kind == SWITCH:
        return kind, None
    info = nvml.ask(who, "nvmlDeviceGetNvLinkRemotePciInfo", handle, link, fine=["INVALID_ARGUMENT"])
    return kind, None if info is None else bus_id(info.busId)


def pairs(nvml: Nvml, handles: Mapping[int, Any]) -> list[Pair]:
    """What NVML says about every two GPUs; read once, as it does not change."""
    found = []
    for one, two in combinations(handles, 2):
        between, who = (handles[one], handles[two]), f"gpu {one}"
        level = nvml.ask(who, "nvmlDeviceGetTopologyCommonAncestor", *between)
        peer = [nvml.ask(who, "nvmlDeviceGetP2PStatus", *between, index) for index in (P2P_READ, P2P_WRITE, P2P_NVLINK)]
        found.append([str(one), str(two), level, *peer])
    return found


def way(pair: Pair, about: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The name of the way between the two GPUs; None when NVML did not say."""
    one, two, level, _, _, nvlink = pair
    bonded = _bonded(about[one], about[two])
    if nvlink == P2P_OK or (nvlink is None and bonded):
        return f"NV{bonded or ''}"
    return LEVELS.get(level)


def _bonded(one: Mapping[str, Any], two: Mapping[str, Any]) -> int:
    """Links straight from one to the other, else those that both have to switches."""
    on = [[link for link in about.get("links") or () if link[1]] for about in (one, two)]
    straight = [link for link in on[0] if link[3] is not None and link[3] == two.get("bus")]
    return len(straight) or min(sum(link[2] == SWITCH for link in side) for side in on)


def distance(name: str) -> tuple[int, int]:
    """For ordering from near to far; among NVLink connections fewer links are farther."""
    return (0, -int(name[2:] or 0)) if name.startswith("NV") else (1 + PATHS.index(name), 0)
