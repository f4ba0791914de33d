"""Samples of GPUs -> facts: means over the job's GPUs, extremes with the GPU that gave them.

Clocks, throttling and the PCIe link are judged over busy samples only: an idle GPU lowers all
of them to save power. A GPU that does not report its utilization (MIG) has no busy samples,
and then those facts are missing rather than guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advisor.collect.base import Facts, Parsed, Sample, mean, percentile, picture, pictures, rate, ratio, times

States = Mapping[str, Sequence[Mapping[str, Any]]]  # per GPU, one state per sample
Abouts = Mapping[str, Mapping[str, Any]]
PerGpu = Mapping[str, float | None]

BUSY = 50  # percent
THROTTLES = {
    "power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sw_thermal": 0x20,
    "hw_thermal": 0x40,
    "thermal": 0x20 | 0x40,
    "power_brake": 0x80,
    "app_clocks": 0x2,
}


def parse(samples: Sequence[Sample], origin: str) -> Parsed:
    """All GPU facts of the samples, and the mean utilization over time."""
    facts = Facts(origin)
    chosen = _chosen(samples)
    states = {i: [s["gpus"][i] for s in samples if i in s["gpus"]] for i in chosen}
    first = next((s for s in samples if "about" in s), {})
    about: Abouts = {i: first.get("about", {}).get(i, {}) for i in chosen}
    _driver(facts, samples[-1], first)
    if not chosen:
        return facts.all(), {}
    _static(facts, about)
    _utilization(facts, states)
    _memory(facts, states)
    _power(facts, states, about)
    _clocks(facts, states, about)
    _throttling(facts, states)
    _link(facts, states, about)
    _traffic(facts, samples, chosen)
    _health(facts, states, about)
    _processes(facts, samples, chosen)
    shares = [mean(_share(s["gpus"][i]["util"]) for i in chosen if i in s["gpus"]) for s in samples]
    return facts.all(), pictures(hw_gpu_utilization=picture(times(samples), shares))


def _chosen(samples: Sequence[Sample]) -> list[str]:
    """The GPUs of the job when NVML lists its processes, else all, in their order."""
    used = set().union(*map(job_gpus, samples))
    return sorted(used or samples[-1]["gpus"], key=int)


def job_gpus(sample: Sample) -> set[str]:
    """The GPUs on which NVML lists a process of the job's tree."""
    tree = {str(pid) for pid in sample["tree"] or ()}
    return {i for i, state in sample["gpus"].items() if tree & set(state["processes"] or ())}


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


def _known(states: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return [s[key] for s in states if s.get(key) is not None]


def _busy(states: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [s for s in states if s["util"] is not None and s["util"] > BUSY]


def _extreme(
    facts: Facts, name: str, unit: str, per_gpu: PerGpu, pick: Callable[..., str] = max, scale: float = 1.0
) -> str | None:
    """Add the largest (or smallest) value with its GPU; returns that GPU."""
    known = {i: v for i, v in per_gpu.items() if v is not None}
    if not known:
        return None
    which = pick(known, key=lambda i: known[i])
    facts.add(name, known[which] * scale, unit, f"gpu {which}")
    return which


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
        known = {i: a[key] for i, a in about.items() if a.get(key) is not None}
        which = next((i for i, value in known.items() if value == odd), next(iter(known), None))
        if which is not None:
            facts.add(name, bool(known[which]), "{bool}", f"gpu {which}")


def _utilization(facts: Facts, states: States) -> None:
    means = {i: mean(_known(s, "util")) for i, s in states.items()}
    known = {i: m for i, m in means.items() if m is not None}
    everything = [u for s in states.values() for u in _known(s, "util")]
    facts.share("hw.gpu.utilization", _share(mean(known.values())))
    facts.share("hw.gpu.utilization.p5", _share(percentile(everything, 0.05)))
    facts.share("hw.gpu.utilization.p95", _share(percentile(everything, 0.95)))
    if len(known) > 1:
        least = min(known, key=lambda i: known[i])
        facts.add("hw.gpu.utilization.spread", (max(known.values()) - known[least]) / 100, "1", f"gpu {least}")
    for key in ("encoder", "decoder"):
        used = {i: mean(_known(s, key)) for i, s in states.items()}
        _extreme(facts, f"hw.gpu.{key}.utilization", "1", used, scale=0.01)


def _memory(facts: Facts, states: States) -> None:
    held = {i: _known(s, "memory") for i, s in states.items()}
    held = {i: pairs for i, pairs in held.items() if pairs and pairs[-1][1]}
    # The median: start-up would pull down a mean, one spike would be the peak's business.
    typical = {i: percentile([used for used, _ in pairs], 0.5) for i, pairs in held.items()}
    which = _extreme(facts, "hw.gpu.memory.usage", "By", typical)
    if which is not None:
        facts.add("hw.gpu.memory.limit", held[which][-1][1], "By", f"gpu {which}")
    shares = {i: percentile([used / size for used, size in pairs], 0.5) for i, pairs in held.items()}
    peaks = {i: max(used / size for used, size in pairs) for i, pairs in held.items()}
    _extreme(facts, "hw.gpu.memory.utilization", "1", shares)
    _extreme(facts, "hw.gpu.memory.peak_utilization", "1", peaks)
    if len(held) > 1:
        least = {i: float(max(used for used, _ in pairs)) for i, pairs in held.items()}
        _extreme(facts, "hw.gpu.memory.usage.min", "By", least, min)


def _power(facts: Facts, states: States, about: Abouts) -> None:
    drawn = mean(mean(_known(s, "power_mw")) for s in states.values())
    facts.add("hw.gpu.power", None if drawn is None else drawn / 1000, "W")
    limits = {i: mean(_known(s, "power_limit_mw")) for i, s in states.items()}
    which = _extreme(facts, "hw.gpu.power.limit", "W", limits, min, 0.001)
    defaults = {i: a.get("power_default_mw") for i, a in about.items() if which in (None, i)}
    _extreme(facts, "hw.gpu.power.limit.default", "W", defaults, min, 0.001)
    near = {
        i: mean(x["power_mw"] / x["power_limit_mw"] for x in _busy(s) if x["power_mw"] and x["power_limit_mw"])
        for i, s in states.items()
    }
    _extreme(facts, "hw.gpu.power.limit.utilization", "1", near)
    hottest = {i: max(_known(s, "temperature_c"), default=None) for i, s in states.items()}
    _extreme(facts, "hw.gpu.temperature", "Cel", hottest)
    margins = {i: _margin(s, about[i].get("slowdown_c")) for i, s in states.items()}
    _extreme(facts, "hw.gpu.temperature.margin", "Cel", margins, min)


def _margin(states: Sequence[Mapping[str, Any]], slowdown: float | None) -> float | None:
    """Degrees left at the hottest moment: as the driver counts them, else to the slowdown threshold."""
    counted = _known(states, "margin_c")
    if counted:
        return float(min(counted))
    hottest = max(_known(states, "temperature_c"), default=None)
    return None if slowdown is None or hottest is None else float(slowdown - hottest)


def _clocks(facts: Facts, states: States, about: Abouts) -> None:
    clocks = {i: mean(_known(_busy(s), "sm_mhz")) for i, s in states.items()}
    most = {i: a.get("sm_max_mhz") for i, a in about.items()}
    ratios = {i: ratio(clock, most[i]) for i, clock in clocks.items()}
    slowest = _extreme(facts, "hw.gpu.clock.sm.ratio", "1", ratios, min)
    # Clock and maximum belong to the GPU whose ratio is the lowest, so that the three agree.
    shown = {slowest} if slowest is not None else set(states)
    _extreme(facts, "hw.gpu.clock.sm", "Hz", {i: clocks[i] for i in shown if i is not None}, min, 1e6)
    _extreme(facts, "hw.gpu.clock.sm.max", "Hz", {i: most[i] for i in shown if i is not None}, max, 1e6)
    running = {i: clock for i, clock in clocks.items() if clock}
    if len(running) > 1:
        least, largest = min(running, key=lambda i: running[i]), max(running.values())
        facts.add("hw.gpu.clock.spread", (largest - running[least]) / largest, "1", f"gpu {least}")


def _throttling(facts: Facts, states: States) -> None:
    for name, bits in THROTTLES.items():
        shares = {}
        for i, sampled in states.items():
            reasons = _known(_busy(sampled), "reasons")
            shares[i] = mean(1.0 if reason & bits else 0.0 for reason in reasons)
        _extreme(facts, f"hw.gpu.throttle.{name}.fraction", "1", shares)


def _link(facts: Facts, states: States, about: Abouts) -> None:
    for key, unit in (("gen", "{generation}"), ("width", "{lane}")):
        best = {i: max(_known(_busy(s), key), default=None) for i, s in states.items()}
        most = {i: about[i].get(f"{key}_max") for i in states}
        ratios = {i: ratio(value, most[i]) for i, value in best.items()}
        which = _extreme(facts, f"hw.gpu.pcie.link.{key}.ratio", "1", ratios, min)
        shown = [which] if which is not None else list(states)
        _extreme(facts, f"hw.gpu.pcie.link.{key}", unit, {i: best[i] for i in shown}, min)
        _extreme(facts, f"hw.gpu.pcie.link.{key}.max", unit, {i: most[i] for i in shown}, min)


def _traffic(facts: Facts, samples: Sequence[Sample], chosen: Sequence[str]) -> None:
    seen = {i: [s for s in samples if i in s["gpus"]] for i in chosen}
    for key in ("rx", "tx"):
        rates = {i: mean(_known([s["gpus"][i] for s in ss], f"{key}_kb")) for i, ss in seen.items()}
        _extreme(facts, f"hw.gpu.pcie.{key}.rate", "By/s", rates, max, 1000.0)
    replays: dict[str, float | None] = {}
    for i, ss in seen.items():
        counted = [s for s in ss if s["gpus"][i]["replays"] is not None]
        replays[i] = rate(times(counted), [s["gpus"][i]["replays"] for s in counted]) if counted else None
    _extreme(facts, "hw.gpu.pcie.replay.rate", "{replay}/min", replays, max, 60.0)


def _health(facts: Facts, states: States, about: Abouts) -> None:
    errors = {i: max(_known(s, "ecc"), default=None) for i, s in states.items()}
    _extreme(facts, "hw.gpu.ecc.uncorrectable.volatile", "{error}", errors)
    sram = {i: a.get("sram_errors") for i, a in about.items()}
    _extreme(facts, "hw.gpu.ecc.sram_uncorrectable.aggregate", "{error}", sram)
    rows = {i: known[-1] for i, s in states.items() if (known := _known(s, "remapped"))}
    _extreme(facts, "hw.gpu.row_remap.uncorrectable", "{row}", {i: r[1] for i, r in rows.items()})
    for place, name in ((2, "hw.gpu.row_remap.pending"), (3, "hw.gpu.row_remap.failed")):
        if rows:
            which = max(rows, key=lambda i: rows[i][place])
            facts.add(name, bool(rows[which][place]), "{bool}", f"gpu {which}")


def _processes(facts: Facts, samples: Sequence[Sample], chosen: Sequence[str]) -> None:
    """Compute processes per GPU, and the memory of those outside the job.

    Foreign memory is only told when NVML lists a process of the job itself: in another
    process-id namespace even its own processes would look foreign.
    """
    counts: dict[str, float | None] = {}
    foreign: dict[str, float | None] = {}
    for i in chosen:
        listed = [(s["tree"], s["gpus"][i]["processes"]) for s in samples if i in s["gpus"]]
        listed = [(tree, held) for tree, held in listed if held is not None]
        counts[i] = max((len(held) for _, held in listed), default=None)
        strange = [
            sum(size or 0 for pid, size in held.items() if int(pid) not in tree)
            for tree, held in listed
            if tree and any(int(pid) in tree for pid in held)
        ]
        foreign[i] = max(strange, default=None)
    _extreme(facts, "hw.gpu.process.count", "{process}", counts)
    _extreme(facts, "hw.gpu.process.foreign_memory", "By", foreign)
