"""States of GPUs -> facts: means over the GPUs, extremes with the GPU that gave them.

Clocks and the PCIe link are judged on busy GPUs only: an idle one lowers both to save power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from advisor.readers.metrics.window import ratio
from advisor.readers.rows import Row, row, share

Gpu = tuple[str, str]  # host, name on the host
State = dict[str, float]
States = dict[Gpu, State]
PerGpu = Mapping[Gpu, float]

BUSY = 0.5
LEAST_PAGES = 20  # of fewer values a twentieth is less than one
COMPUTE_MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
_MEANS = (
    ("util", "hw.gpu.utilization"),
    ("sm_active", "hw.gpu.sm.active"),
    ("occupancy", "hw.gpu.sm.occupancy"),
    ("tensor", "hw.gpu.tensor.active"),
    ("fp64", "hw.gpu.fp64.active"),
    ("dram", "hw.gpu.dram.active"),
)
_LARGEST = (
    ("encoder", "hw.gpu.encoder.utilization", "1"),
    ("decoder", "hw.gpu.decoder.utilization", "1"),
    ("temperature", "hw.gpu.temperature", "Cel"),
    ("tx", "hw.gpu.pcie.tx.rate", "By/s"),
    ("rx", "hw.gpu.pcie.rx.rate", "By/s"),
    ("nvlink", "hw.gpu.nvlink.tx.rate", "By/s"),
    ("ecc", "hw.gpu.ecc.uncorrectable.volatile", "{error}"),
    ("sram", "hw.gpu.ecc.sram_uncorrectable.aggregate", "{error}"),
    ("remapped", "hw.gpu.row_remap.uncorrectable", "{row}"),
    ("xid", "hw.gpu.xid.last", "{code}"),
    ("processes", "hw.gpu.process.count", "{process}"),
    ("instances", "hw.gpu.mig.instance.count", "{instance}"),
    ("retired", "hw.gpu.retired_pages.count", "{page}"),
    ("inactive", "hw.gpu.nvlink.inactive", "{link}"),
    ("link_errors", "hw.gpu.nvlink.replay_errors", "{error}"),
)
# One GPU with this value is enough to say so.
_FLAGS = (
    ("persistence", "hw.gpu.persistence_mode", False),
    ("mig", "hw.gpu.mig.mode", True),
    ("remap_pending", "hw.gpu.row_remap.pending", True),
    ("remap_failed", "hw.gpu.row_remap.failed", True),
    ("retired_pending", "hw.gpu.retired_pages.pending", True),
)


def gpu_facts(states: States, busy: States | None = None) -> Iterator[Row]:
    """All facts that the states hold.

    Args:
        states: means over the window, per GPU.
        busy: means over the moments under load, of GPUs that had any; by default the states that say they had some.
    """
    if busy is None:
        busy = {gpu: state for gpu, state in states.items() if "busy" in state}
    for key, name in _MEANS:
        yield share(name, _mean(_column(states, key)))
    yield from _spread("hw.gpu.utilization.spread", _column(states, "util"))
    for key, name, unit in _LARGEST:
        yield from extreme(name, unit, _column(states, key))
    for key, name, odd in _FLAGS:
        yield from _flag(name, _column(states, key), odd)
    yield from _memory(states)
    yield from _power(states, busy)
    yield from _compute_mode(_column(states, "compute_mode"))
    yield from _clocks(busy)
    yield from _link(busy)


def percentiles(pages: Sequence[States]) -> Iterator[Row]:
    """How the utilization is spread over pages and GPUs, where there are enough pages to tell."""
    if len(pages) >= LEAST_PAGES:
        seen = sorted(state["util"] for states in pages for state in states.values() if "util" in state)
        for name, share_ in (("p5", 0.05), ("p95", 0.95)):
            yield share(f"hw.gpu.utilization.{name}", seen[math.ceil(share_ * len(seen)) - 1] if seen else None)


def extreme(
    name: str, unit: str, per_gpu: PerGpu, factor: float = 1.0, pick: Callable[..., Gpu] = max
) -> Iterator[Row]:
    """The largest (or smallest) value with its GPU; nothing without one."""
    if per_gpu:
        which = pick(per_gpu, key=lambda gpu: per_gpu[gpu])
        yield row(name, per_gpu[which] * factor, unit, where(which))


def where(gpu: Gpu) -> str:
    """How a person calls the GPU."""
    host, name = gpu
    return f"gpu {name} of {host}" if host else f"gpu {name}"


def _column(states: States, key: str) -> dict[Gpu, float]:
    return {gpu: state[key] for gpu, state in states.items() if key in state}


def _ratios(states: States, part: str, whole: str) -> dict[Gpu, float]:
    found = {gpu: ratio(state.get(part), state.get(whole)) for gpu, state in states.items()}
    return {gpu: value for gpu, value in found.items() if value is not None}


def _mean(values: PerGpu) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _spread(name: str, values: PerGpu) -> Iterator[Row]:
    if len(values) > 1:
        least = min(values, key=lambda gpu: values[gpu])
        yield share(name, max(values.values()) - values[least], where(least))


def _flag(name: str, values: PerGpu, odd: bool) -> Iterator[Row]:
    which = next((gpu for gpu, value in values.items() if bool(value) is odd), next(iter(values), None))
    if which is not None:
        yield row(name, bool(values[which]), "{bool}", where(which))


def _compute_mode(modes: PerGpu) -> Iterator[Row]:
    """That of a GPU that is not open to everybody, if any."""
    if modes:
        which = max(modes, key=lambda gpu: modes[gpu])
        yield row("hw.gpu.compute_mode", COMPUTE_MODES.get(int(modes[which])), "{string}", where(which))


def _memory(states: States) -> Iterator[Row]:
    used = _column(states, "used")
    if not used:
        return
    fullest = max(used, key=lambda gpu: used[gpu])
    yield row("hw.gpu.memory.usage", used[fullest], "By", where(fullest))
    yield row("hw.gpu.memory.limit", states[fullest].get("total"), "By", where(fullest))
    yield from extreme("hw.gpu.memory.utilization", "1", _ratios(states, "used", "total"))
    yield from extreme("hw.gpu.memory.peak_utilization", "1", _ratios(states, "peak", "total"))
    if len(used) > 1:
        yield from extreme("hw.gpu.memory.usage.min", "By", used, pick=min)


def _power(states: States, busy: States) -> Iterator[Row]:
    yield row("hw.gpu.power", _mean(_column(states, "power")), "W", None)
    yield from extreme("hw.gpu.power.limit", "W", _column(states, "limit"), pick=min)
    yield from extreme("hw.gpu.power.limit.default", "W", _column(states, "default"), pick=min)
    # Of a GPU that worked for a part of the window only that part tells how near the limit it came.
    drawn = _ratios(busy, "drawn", "limit") or _ratios(busy, "power", "limit")
    yield from extreme("hw.gpu.power.limit.utilization", "1", drawn)
    yield from extreme("hw.gpu.temperature.margin", "Cel", _column(states, "margin"), pick=min)


def _clocks(busy: States) -> Iterator[Row]:
    ratios, clocks = _ratios(busy, "sm", "sm_max"), _column(busy, "sm")
    if ratios:  # clock and maximum of the GPU whose ratio is the lowest, so that the three agree
        slowest = min(ratios, key=lambda gpu: ratios[gpu])
        yield row("hw.gpu.clock.sm.ratio", ratios[slowest], "1", where(slowest))
        yield row("hw.gpu.clock.sm", clocks[slowest], "Hz", where(slowest))
        yield row("hw.gpu.clock.sm.max", busy[slowest]["sm_max"], "Hz", where(slowest))
    else:
        yield from extreme("hw.gpu.clock.sm", "Hz", clocks, pick=min)
    if len(clocks) > 1 and max(clocks.values()) > 0:
        least = min(clocks, key=lambda gpu: clocks[gpu])
        most = max(clocks.values())
        yield share("hw.gpu.clock.spread", (most - clocks[least]) / most, where(least))


def _link(busy: States) -> Iterator[Row]:
    for key, unit in (("gen", "{generation}"), ("width", "{lane}")):
        ratios = _ratios(busy, key, f"{key}_max")
        if ratios:
            worst = min(ratios, key=lambda gpu: ratios[gpu])
            yield row(f"hw.gpu.pcie.link.{key}.ratio", ratios[worst], "1", where(worst))
            yield row(f"hw.gpu.pcie.link.{key}", busy[worst][key], unit, where(worst))
            yield row(f"hw.gpu.pcie.link.{key}.max", busy[worst][f"{key}_max"], unit, where(worst))
