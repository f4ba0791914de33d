"""Samples of GPUs -> facts about what connects them: PCIe, NVLink, the way between them, GPUs that are missing.

Width, generation and traffic of PCIe all come from one GPU: the one whose link is the worst
compared with what card and slot support, and of equally good ones the one that moves the most.
Judged are busy samples only, as an idle link is slowed down to save power.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.collect import gpu_pci, gpu_topology
from advisor.collect.base import Facts, Sample, mean, rate, ratio
from advisor.collect.gpu_states import Abouts, PerGpu, States, busy, extreme, growth, inner, known

MIB = 2.0**20


def connections(facts: Facts, states: States, about: Abouts, first: Sample) -> None:
    """Everything that lies between the GPUs of the job, and between them and the rest."""
    _pcie(facts, states, about)
    _replays(facts, states)
    _nvlink(facts, states, about)
    _ways(facts, first.get("pairs") or [], about)
    _adapters(facts, first.get("pci"), about)


def _pcie(facts: Facts, states: States, about: Abouts) -> None:
    traffic = {key: {i: _traffic(s, key) for i, s in states.items()} for key in ("rx", "tx")}
    links = {i: link for i, s in states.items() if (link := _link(s, about[i]))}
    moved = {i: max((traffic[key][i] or 0.0 for key in traffic), default=0.0) for i in states}
    judged = links or moved
    which = min(judged, key=lambda i: (links[i]["rate"] if i in links else 1.0, -moved[i]))
    for key in traffic:
        facts.add(f"hw.gpu.pcie.{key}.rate", traffic[key][which], "By/s", f"gpu {which}")
    for key, unit in (("gen", "{generation}"), ("width", "{lane}")):
        most = about[which].get(f"{key}_max")
        if which in links:
            now = links[which][key]
            facts.add(f"hw.gpu.pcie.link.{key}.ratio", ratio(now, most), "1", f"gpu {which}")
            facts.add(f"hw.gpu.pcie.link.{key}", now, unit, f"gpu {which}")
        facts.add(f"hw.gpu.pcie.link.{key}.max", most, unit, f"gpu {which}")


def _link(states: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> dict[str, float] | None:
    """Best generation and width seen under load, and their rate over the largest one; None when not all is known."""
    loaded = busy(states)
    gen, width = (max(known(loaded, key), default=None) for key in ("gen", "width"))
    most = about.get("gen_max"), about.get("width_max")
    if not gen or not width or not all(most):
        return None
    return {"gen": gen, "width": width, "rate": 2.0 ** (gen - most[0]) * width / most[1]}


def _traffic(states: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Bytes per second over the whole time where the card averages, else over the moments that were looked at."""
    averaged = inner(states, "gpm", f"pcie_{key}")
    if averaged is not None:
        return averaged * MIB
    looked = mean(known(states, f"{key}_kb"))
    return None if looked is None else looked * 1000


def _replays(facts: Facts, states: States) -> None:
    rates: dict[str, float | None] = {}
    for i, seen in states.items():
        counted = [s for s in seen if s["replays"] is not None]
        rates[i] = rate([s["t"] for s in counted], [s["replays"] for s in counted]) if counted else None
    extreme(facts, "hw.gpu.pcie.replay.rate", "{replay}/min", rates, max, 60.0)


def _nvlink(facts: Facts, states: States, about: Abouts) -> None:
    """Traffic by the cumulative counters and by the performance metrics: the larger, as either may stand still."""
    off: PerGpu = {i: sum(not on for _, on, *_ in a["links"]) for i, a in about.items() if a["links"] is not None}
    extreme(facts, "hw.gpu.nvlink.inactive", "{link}", off)
    sent: dict[str, float | None] = {}
    for i, seen in states.items():
        counted, averaged = growth(seen, "nvlink", "tx")[1], inner(seen, "gpm", "nvlink_tx")
        ways = [counted, None if averaged is None else averaged * MIB]
        sent[i] = max((way for way in ways if way is not None), default=None)
    extreme(facts, "hw.gpu.nvlink.tx.rate", "By/s", sent)
    crc = {i: growth(s, "nvlink", "crc")[1] for i, s in states.items()}
    extreme(facts, "hw.gpu.nvlink.crc_errors.rate", "{error}/s", crc)
    replays = {i: growth(s, "nvlink", "replay")[0] for i, s in states.items()}
    extreme(facts, "hw.gpu.nvlink.replay_errors", "{error}", replays)


def _ways(facts: Facts, pairs: Sequence[Sequence[Any]], about: Abouts) -> None:
    ours = [pair for pair in pairs if pair[0] in about and pair[1] in about]
    ways = {f"gpu {p[0]}, gpu {p[1]}": name for p in ours if (name := gpu_topology.way(list(p), about))}
    if ways and len(ways) == len(ours):
        worst = max(ways, key=lambda where: gpu_topology.distance(ways[where]))
        facts.add("hw.gpu.topology.worst_path", ways[worst], "{string}", worst)
    peers = {f"gpu {p[0]}, gpu {p[1]}": [p[3], p[4]] for p in ours}
    if peers and all(status is not None for both in peers.values() for status in both):
        denied = next((where for where, both in peers.items() if any(both)), None)
        facts.add("hw.gpu.p2p.supported", denied is None, "{bool}", denied)


def _adapters(facts: Facts, pci: Sample | None, about: Abouts) -> None:
    """The way from each GPU to its nearest RDMA adapter; the worst of them."""
    nearest: dict[str, str] = {}
    for i, a in about.items():
        gpu = (pci or {"gpus": {}})["gpus"].get(a.get("bus"))
        if pci is None or gpu is None:
            return
        ways = [name for nic in pci["adapters"].values() if (name := gpu_pci.path(gpu, nic, pci["nodes"]))]
        if not ways:
            return
        nearest[i] = min(ways, key=gpu_topology.distance)
    if nearest:
        worst = max(nearest, key=lambda i: gpu_topology.distance(nearest[i]))
        facts.add("hw.gpu.nic.worst_path", nearest[worst], "{string}", f"gpu {worst}")


def missing(facts: Facts, first: Sample) -> None:
    """GPUs that the machine has and the driver does not give, as far as that can be told apart from not being given.

    In a container or a batch job a GPU that is not listed may simply belong to others; there only
    those count that do not answer on the bus any more, and those that the driver lost.
    """
    lost = first["count"] - len(first["about"]) if first else 0
    gone = unlisted(first)
    if gone is None:
        facts.add("hw.gpu.count.missing", lost or None, "{gpu}")
        return
    surely = gone if first["pci"]["whole"] else [bus for bus in gone if first["pci"]["gpus"][bus]["dead"]]
    if lost or surely or not gone:
        facts.add("hw.gpu.count.missing", max(lost, len(surely)), "{gpu}", ", ".join(surely) or None)


def unlisted(first: Sample) -> list[str] | None:
    """PCI addresses of GPUs that are for NVML's driver, or of the same model without a driver, and not listed by it.

    None when the bus cannot be seen, or is not the one of which NVML gives addresses.
    """
    about, pci = first.get("about") or {}, first.get("pci")
    if pci is None or any(a["bus"] not in pci["gpus"] for a in about.values()):
        return None
    listed = {a["bus"] for a in about.values()}
    models = {pci["gpus"][bus]["device"] for bus in listed}
    return [
        bus
        for bus, gpu in pci["gpus"].items()
        if bus not in listed and (gpu["driver"] == "nvidia" or (gpu["driver"] is None and gpu["device"] in models))
    ]
