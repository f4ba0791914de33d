"""Samples of GPUs -> facts: means over the job's GPUs, extremes with the GPU that gave them.

Clocks and throttling are judged over busy samples only: an idle GPU lowers its clocks to save
power. A GPU that does not report its utilization (MIG) has no busy samples, and then those
facts are missing rather than guessed. What connects the GPUs is in `gpu_link_facts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from advisor.collect.base import Facts, Parsed, Sample, mean, percentile, picture, pictures, ratio, times
from advisor.collect.gpu_job import choose
from advisor.collect.gpu_link_facts import connections, missing
from advisor.collect.gpu_states import Abouts, States, busy, extreme, inner, known
from advisor.derive.xid import foremost

THROTTLES = {  # nvmlClocksEventReasons
    "power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "thermal": 0x20 | 0x40,
    "power_brake": 0x80,
    "app_clocks": 0x2,
    "sync_boost": 0x10,
    "display_clocks": 0x100,
}
METRICS = {
    "sm": "hw.gpu.sm.active",
    "occupancy": "hw.gpu.sm.occupancy",
    "tensor": "hw.gpu.tensor.active",
    "dram": "hw.gpu.dram.active",
    "fp64": "hw.gpu.fp64.active",
}
COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}


def parse(samples: Sequence[Sample], origin: str) -> Parsed:
    """All GPU facts of the samples, and the mean utilization over time."""
    facts = Facts(origin)
    first = next((s for s in samples if "about" in s), {})
    chosen, _ = choose(samples[-1], first.get("about", {}))
    states = {i: [{**s["gpus"][i], "t": s["t"]} for s in samples if i in s["gpus"]] for i in chosen}
    about: Abouts = {i: first["about"][i] for i in chosen}
    _driver(facts, samples[-1], first)
    missing(facts, first)
    if not chosen:
        return facts.all(), {}
    _static(facts, about)
    _utilization(facts, states)
    _memory(facts, states)
    _power(facts, states, about)
    _clocks(facts, states, about)
    _throttling(facts, states)
    connections(facts, states, about, first)
    _health(facts, states, about)
    _xids(facts, samples[-1].get("xids"), chosen)
    _processes(facts, samples, chosen)
    shares = [mean(_share(s["gpus"][i]["util"]) for i in chosen if i in s["gpus"]) for s in samples]
    return facts.all(), pictures(hw_gpu_utilization=picture(times(samples), shares))


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _driver(facts: Facts, last: Sample, first: Sample) -> None:
    facts.add("hw.gpu.count", last["count"], "{gpu}")
    facts.add("hw.gpu.driver.version", first.get("driver"), "{version}")
    cuda = first.get("cuda")
    facts.add("hw.gpu.driver.cuda_version", f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None, "{version}")


def _static(facts: Facts, about: Abouts) -> None:
    first = next(iter(about.values()))
    facts.add("hw.gpu.model", first.get("name"), "{string}")
    facts.add("hw.gpu.compute_capability", first.get("capability"), "{version}")
    # One GPU without persistence, or with MIG, is enough to say so.
    for key, name, odd in (("persistence", "hw.gpu.persistence_mode", 0), ("mig", "hw.gpu.mig.mode", 1)):
        modes = {i: a[key] for i, a in about.items() if a.get(key) is not None}
        which = next((i for i, value in modes.items() if value == odd), next(iter(modes), None))
        if which is not None:
            facts.add(name, bool(modes[which]), "{bool}", f"gpu {which}")
    modes = {i: a["compute_mode"] for i, a in about.items() if a.get("compute_mode") is not None}
    which = next((i for i, mode in modes.items() if mode != 0), next(iter(modes), None))
    if which is not None:
        facts.add("hw.gpu.compute_mode", COMPUTE_MODES.get(modes[which]), "{string}", f"gpu {which}")
    parts = {i: len(a["mig_devices"]) for i, a in about.items() if a.get("mig")}
    extreme(facts, "hw.gpu.mig.instance.count", "{instance}", parts)


def _utilization(facts: Facts, states: States) -> None:
    means = {i: mean(known(s, "util")) for i, s in states.items()}
    told = {i: m for i, m in means.items() if m is not None}
    everything = [u for s in states.values() for u in known(s, "util")]
    facts.share("hw.gpu.utilization", _share(mean(told.values())))
    facts.share("hw.gpu.utilization.p5", _share(percentile(everything, 0.05)))
    facts.share("hw.gpu.utilization.p95", _share(percentile(everything, 0.95)))
    if len(told) > 1:
        least = min(told, key=lambda i: told[i])
        facts.add("hw.gpu.utilization.spread", (max(told.values()) - told[least]) / 100, "1", f"gpu {least}")
    for key in ("encoder", "decoder"):
        used = {i: mean(known(s, key)) for i, s in states.items()}
        extreme(facts, f"hw.gpu.{key}.utilization", "1", used, scale=0.01)
    # Like the utilization a mean over the GPUs, so that the two can be compared.
    for key, name in METRICS.items():
        facts.share(name, _share(mean(inner(s, "gpm", key) for s in states.values())))


def _memory(facts: Facts, states: States) -> None:
    held = {i: known(s, "memory") for i, s in states.items()}
    held = {i: pairs for i, pairs in held.items() if pairs and pairs[-1][1]}
    # The median: start-up would pull down a mean, one spike would be the peak's business.
    typical = {i: percentile([used for used, _ in pairs], 0.5) for i, pairs in held.items()}
    which = extreme(facts, "hw.gpu.memory.usage", "By", typical)
    if which is not None:
        facts.add("hw.gpu.memory.limit", held[which][-1][1], "By", f"gpu {which}")
    shares = {i: percentile([used / size for used, size in pairs], 0.5) for i, pairs in held.items()}
    peaks = {i: max(used / size for used, size in pairs) for i, pairs in held.items()}
    extreme(facts, "hw.gpu.memory.utilization", "1", shares)
    extreme(facts, "hw.gpu.memory.peak_utilization", "1", peaks)
    if len(held) > 1:
        least = {i: float(max(used for used, _ in pairs)) for i, pairs in held.items()}
        extreme(facts, "hw.gpu.memory.usage.min", "By", least, min)


def _power(facts: Facts, states: States, about: Abouts) -> None:
    drawn = mean(mean(known(s, "power_mw")) for s in states.values())
    facts.add("hw.gpu.power", None if drawn is None else drawn / 1000, "W")
    limits = {i: mean(known(s, "power_limit_mw")) for i, s in states.items()}
    which = extreme(facts, "hw.gpu.power.limit", "W", limits, min, 0.001)
    defaults = {i: a.get("power_default_mw") for i, a in about.items() if which in (None, i)}
    extreme(facts, "hw.gpu.power.limit.default", "W", defaults, min, 0.001)
    near = {
        i: mean(x["power_mw"] / x["power_limit_mw"] for x in busy(s) if x["power_mw"] and x["power_limit_mw"])
        for i, s in states.items()
    }
    extreme(facts, "hw.gpu.power.limit.utilization", "1", near)
    hottest = {i: max(known(s, "temperature_c"), default=None) for i, s in states.items()}
    extreme(facts, "hw.gpu.temperature", "Cel", hottest)
    margins = {i: _margin(s, about[i].get("slowdown_c")) for i, s in states.items()}
    extreme(facts, "hw.gpu.temperature.margin", "Cel", margins, min)


def _margin(states: Sequence[Mapping[str, Any]], slowdown: float | None) -> float | None:
    """Degrees left at the hottest moment: as the driver counts them, else to the slowdown threshold."""
    counted = known(states, "margin_c")
    if counted:
        return float(min(counted))
    hottest = max(known(states, "temperature_c"), default=None)
    return None if slowdown is None or hottest is None else float(slowdown - hottest)


def _clocks(facts: Facts, states: States, about: Abouts) -> None:
    clocks = {i: mean(known(busy(s), "sm_mhz")) for i, s in states.items()}
    most = {i: a.get("sm_max_mhz") for i, a in about.items()}
    ratios = {i: ratio(clock, most[i]) for i, clock in clocks.items()}
    slowest = extreme(facts, "hw.gpu.clock.sm.ratio", "1", ratios, min)
    # Clock and maximum belong to the GPU whose ratio is the lowest, so that the three agree.
    shown = {slowest} if slowest is not None else set(states)
    extreme(facts, "hw.gpu.clock.sm", "Hz", {i: clocks[i] for i in shown if i is not None}, min, 1e6)
    extreme(facts, "hw.gpu.clock.sm.max", "Hz", {i: most[i] for i in shown if i is not None}, max, 1e6)
    running = {i: clock for i, clock in clocks.items() if clock}
    if len(running) > 1:
        least, largest = min(running, key=lambda i: running[i]), max(running.values())
        facts.add("hw.gpu.clock.spread", (largest - running[least]) / largest, "1", f"gpu {least}")


def _throttling(facts: Facts, states: States) -> None:
    for name, bits in THROTTLES.items():
        shares = {}
        for i, sampled in states.items():
            reasons = known(busy(sampled), "reasons")
            shares[i] = mean(1.0 if reason & bits else 0.0 for reason in reasons)
        extreme(facts, f"hw.gpu.throttle.{name}.fraction", "1", shares)


def _health(facts: Facts, states: States, about: Abouts) -> None:
    errors = {i: max(known(s, "ecc"), default=None) for i, s in states.items()}
    extreme(facts, "hw.gpu.ecc.uncorrectable.volatile", "{error}", errors)
    retired = {i: a["retired"] for i, a in about.items() if a.get("retired")}
    pages = {i: r[0] + r[1] for i, r in retired.items() if r[0] is not None and r[1] is not None}
    extreme(facts, "hw.gpu.retired_pages.count", "{page}", pages)
    waiting = {i: r[2] for i, r in retired.items() if r[2] is not None}
    if waiting:
        which = max(waiting, key=lambda i: waiting[i])
        facts.add("hw.gpu.retired_pages.pending", bool(waiting[which]), "{bool}", f"gpu {which}")
    sram = {i: a.get("sram_errors") for i, a in about.items()}
    extreme(facts, "hw.gpu.ecc.sram_uncorrectable.aggregate", "{error}", sram)
    rows = {i: seen[-1] for i, s in states.items() if (seen := known(s, "remapped"))}
    extreme(facts, "hw.gpu.row_remap.uncorrectable", "{row}", {i: r[1] for i, r in rows.items()})
    for place, name in ((2, "hw.gpu.row_remap.pending"), (3, "hw.gpu.row_remap.failed")):
        if rows:
            which = max(rows, key=lambda i: rows[i][place])
            facts.add(name, bool(rows[which][place]), "{bool}", f"gpu {which}")


def _xids(facts: Facts, xids: Mapping[str, Any] | None, chosen: Sequence[str]) -> None:
    """The Xid that tells most; 0 when all GPUs were watched and none came."""
    if xids is None:
        return
    ours = [(gpu, code) for gpu, code in xids["recent"] if gpu in chosen]
    place = foremost([code for _, code in ours])
    if place is not None:
        facts.add("hw.gpu.xid.last", ours[place][1], "{code}", f"gpu {ours[place][0]}")
    elif not set(chosen) <= set(xids["watched"]):
        return
    else:
        facts.add("hw.gpu.xid.last", 0, "{code}")
    facts.add("hw.gpu.xid.count", sum(xids["count"].get(i, 0) for i in chosen), "{event}")


def _processes(facts: Facts, samples: Sequence[Sample], chosen: Sequence[str]) -> None:
    """Compute processes per GPU; the memory there of the job and of others, and how many the others are.

    What is foreign is only told when NVML lists a process of the job itself: in another
    process-id namespace even its own processes would look foreign.
    """
    tree = {str(pid) for s in samples for pid in s["tree"] or ()}  # who was seen in it stays ours when it has ended
    names = ("count", "memory", "foreign_memory", "foreign_count")
    most: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for i in chosen:
        listed = [s["gpus"][i]["processes"] for s in samples if i in s["gpus"]]
        listed = [held for held in listed if held is not None]
        shared = [held for held in listed if tree & set(held)]
        most["count"][i] = max(map(len, listed), default=None)
        most["memory"][i] = _most([_held(held, tree & set(held)) for held in shared])
        most["foreign_memory"][i] = _most([_held(held, set(held) - tree) for held in shared])
        most["foreign_count"][i] = max((len(set(held) - tree) for held in shared), default=None)
    for name, per_gpu in most.items():
        extreme(facts, f"hw.gpu.process.{name}", "By" if "memory" in name else "{process}", per_gpu)


def _held(held: Mapping[str, int | None], pids: set[str]) -> float | None:
    """Memory of these processes together; None when the driver tells of one that it is there but not its memory."""
    sizes = [held[pid] for pid in pids]
    return None if None in sizes else float(sum(size or 0 for size in sizes))


def _most(values: Sequence[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)
