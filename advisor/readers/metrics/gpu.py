"""Metrics of the DCGM exporter and Triton -> facts about GPUs.

Every exporter's names are mapped to one small state per GPU in base units; `gpu_facts` turns
those into facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advisor.readers.metrics.gpu_facts import BUSY, Gpu, State, extreme, gpu_facts, percentiles
from advisor.readers.metrics.gpu_names import DCGM, THROTTLES, TRITON
from advisor.readers.metrics.gpu_states import (
    BLANK,
    Naming,
    Pages,
    by_page,
    means,
    naming,
    over,
    per_gpu,
    while_busy,
)
from advisor.readers.metrics.window import INSTANCE, Window
from advisor.readers.rows import Row, row

DCGM_PREFIXES = ("DCGM_FI_", "DCGM_EXP_", "dcgm_")
_RATIO = "DCGM_FI_DEV_GPU_UTIL_RATIO"
_COUNTED = ("DCGM_FI_DEV_SM_CLOCK", "dcgm_sm_clock"), ("DCGM_FI_DEV_GPU_UTIL",), ("DCGM_FI_DEV_FB_USED", "dcgm_fb_used")


def dcgm(w: Window) -> Iterator[Row]:
    """Facts of a DCGM exporter; a MIG instance stands as a GPU of its own."""
    gpu_of = naming(w, DCGM_PREFIXES, _dcgm_gpu)
    pages = by_page(w, DCGM, gpu_of)
    _renamed_utilization(w, gpu_of, pages)
    states = over(pages)
    yield from _dcgm_about(w)
    yield row("run.gpu.used", True if any(s.get("util", 0.0) > BUSY for s in states.values()) else None, "{bool}")
    yield from gpu_facts({gpu: _framebuffer(state) for gpu, state in states.items()})
    yield from percentiles(pages)
    yield from _dcgm_throttles(w, gpu_of, pages)
    yield from _dcgm_counters(w, gpu_of)


def triton_gpus(w: Window) -> Iterator[Row]:
    """Facts of the GPUs that Triton reports."""
    pages = by_page(w, TRITON, naming(w, ("nv_gpu_",), lambda labels: labels.get("gpu_uuid")))
    states = over(pages)
    yield row("hw.gpu.count", len(states) or None, "{gpu}")
    yield from gpu_facts(states)
    yield from percentiles(pages)


def _dcgm_gpu(labels: Mapping[str, str]) -> str | None:
    gpu, instance = labels.get("gpu"), labels.get("GPU_I_ID")
    return f"{gpu} MIG {instance}" if gpu and instance else gpu


def _renamed_utilization(w: Window, gpu_of: Naming, pages: Pages) -> None:
    """Add to the states the utilization under its new name or, as MIG slices have it, that of the engine."""
    factor = _factor([value for page in w.series(_RATIO) for value in page.values() if value < BLANK])
    for page, states in zip(w.pages, pages, strict=True):
        told = per_gpu(page.series(_RATIO), gpu_of) if factor else {}
        for gpu, state in states.items():
            util = told.get(gpu)
            if "util" not in state and util is not None:
                state["util"] = util * factor
            elif "util" not in state and "engine" in state:
                state["util"] = state["engine"]


def _factor(values: list[float]) -> float:
    """The renamed field is in percent in some releases and a fraction in others; where nothing tells them apart, 0.

    >>> _factor([93.0]), _factor([0.93]), _factor([1.0])
    (0.01, 1.0, 0.0)
    """
    if any(value > 1 for value in values):
        return 0.01
    return 1.0 if any(value % 1 for value in values) or not any(values) else 0.0


def _framebuffer(state: State) -> State:
    """With the size of the memory, where only used and free are told."""
    if "used" in state and "free" in state:
        state.setdefault("total", state["used"] + state["free"] + state.get("reserved", 0.0))
    return state


def _dcgm_about(w: Window) -> Iterator[Row]:
    keys = [key for names in _COUNTED for key in w.levels(*names)]
    gpus = [labels for labels in map(dict, keys) if "gpu" in labels]
    about = next((x for x in gpus if x.get("modelName")), {})
    cards = {(x.get("Hostname"), x.get(INSTANCE), x["gpu"]) for x in gpus}
    slices = {(x.get("Hostname"), x.get(INSTANCE), x["gpu"], x["GPU_I_ID"]) for x in gpus if x.get("GPU_I_ID")}
    most = max((sum(s[:3] == card for s in slices) for card in cards), default=0)
    yield row("hw.gpu.count", len(cards) or None, "{gpu}")
    yield row("hw.gpu.mig.instance.count", most or None, "{instance}")
    yield row("hw.gpu.model", about.get("modelName"), "{string}")
    driver = about.get("DCGM_FI_SYSTEM_DRIVER_VERSION") or about.get("DCGM_FI_DRIVER_VERSION")
    yield row("hw.gpu.driver.version", driver, "{version}")
    yield row("hw.gpu.xid.count", w.level("DCGM_EXP_XID_ERRORS_COUNT"), "{event}")


def _dcgm_throttles(w: Window, gpu_of: Naming, pages: Pages) -> Iterator[Row]:
    """Share of the pages on which a busy GPU names a reason for its clocks."""
    names = ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
    masks = while_busy(w, names, gpu_of, pages)
    for name, bits, _ in THROTTLES:
        held = {gpu: [float(bool(int(mask) & bits)) for mask in seen] for gpu, seen in masks.items()}
        yield from extreme(f"hw.gpu.throttle.{name}.fraction", "1", means(held))


def _dcgm_counters(w: Window, gpu_of: Naming) -> Iterator[Row]:
    replays = w.growth("DCGM_FI_DEV_PCIE_REPLAY_TOTAL", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "dcgm_pcie_replay_counter")
    crc = w.growth("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "dcgm_nvlink_flit_crc_error_count_total")
    if w.seconds:
        yield from extreme("hw.gpu.pcie.replay.rate", "{replay}/min", per_gpu(replays, gpu_of), 60 / w.seconds)
        yield from extreme("hw.gpu.nvlink.crc_errors.rate", "{error}/s", per_gpu(crc, gpu_of), 1 / w.seconds)
    errors: dict[Gpu, float] = {}
    for kind in ("replay", "recovery"):
        names = (f"DCGM_FI_DEV_NVLINK_{kind.upper()}_ERROR_COUNT_TOTAL", f"dcgm_nvlink_{kind}_error_count_total")
        for gpu, value in per_gpu(w.latest(*names), gpu_of).items():
            errors[gpu] = errors.get(gpu, 0.0) + value
    yield from extreme("hw.gpu.nvlink.replay_errors", "{error}", errors)
