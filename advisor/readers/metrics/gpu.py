"""Metrics of the DCGM exporter, nvidia_gpu_exporter and Triton -> facts about GPUs.

Every exporter's names are mapped to one small state per GPU in base units; `gpu_facts` turns
those into facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from advisor.readers.metrics.gpu_facts import BUSY, Gpu, States, extreme, gpu_facts
from advisor.readers.metrics.gpu_names import DCGM, LATEST, SMI, THROTTLES, TRITON, Names
from advisor.readers.metrics.window import INSTANCE, Window
from advisor.readers.prometheus import Labels, Series
from advisor.readers.rows import Row, row

Identify = Callable[[Mapping[str, str]], str | None]  # labels -> the GPU's name on its host
Naming = Callable[[Labels], Gpu | None]

BLANK = 1e14  # DCGM fills a field that it could not read with a number near the top of its type
_THERMAL = ("sw_thermal", "hw_thermal")


def dcgm(w: Window) -> Iterator[Row]:
    """Facts of a DCGM exporter; a MIG instance stands as a GPU of its own."""
    gpu_of = _naming(w, "DCGM_FI_", _dcgm_gpu)
    states = _states(w, DCGM, gpu_of)
    for gpu, value in _per_gpu(_fractions(w.levels("DCGM_FI_DEV_GPU_UTIL_RATIO")), gpu_of).items():
        states.setdefault(gpu, {}).setdefault("util", value)
    for state in states.values():
        _framebuffer(state)
    yield from _dcgm_about(w)
    yield from gpu_facts(states)
    yield from _dcgm_throttles(w, states, gpu_of)
    yield from _dcgm_counters(w, gpu_of)


def nvidia_smi(w: Window) -> Iterator[Row]:
    """Facts of nvidia_gpu_exporter."""
    told = {x.get("uuid", ""): x for x in (dict(key) for key in w.levels("nvidia_smi_gpu_info"))}
    index = {dict(key).get("uuid", ""): f"{value:.0f}" for key, value in w.latest("nvidia_smi_index").items()}
    index |= {uuid: x["index"] for uuid, x in told.items() if x.get("index")}

    def identify(labels: Mapping[str, str]) -> str | None:
        uuid = labels.get("uuid")
        return None if uuid is None else index.get(uuid, uuid)

    gpu_of = _naming(w, "nvidia_smi_", identify)
    states = _states(w, SMI, gpu_of)
    about = next(iter(told.values()), {})
    yield row("hw.gpu.count", len(states) or None, "{gpu}")
    yield row("hw.gpu.model", about.get("name"), "{string}")
    for fact, label in (
        ("driver.version", "driver_version"),
        ("driver.cuda_version", "cuda_version"),
        ("compute_capability", "compute_cap"),
    ):
        yield row(f"hw.gpu.{fact}", about.get(label), "{version}")
    yield from gpu_facts(states)
    yield from _smi_throttles(w, states, gpu_of)


def triton_gpus(w: Window) -> Iterator[Row]:
    """Facts of the GPUs that Triton reports."""
    states = _states(w, TRITON, _naming(w, "nv_gpu_", lambda labels: labels.get("gpu_uuid")))
    yield row("hw.gpu.count", len(states) or None, "{gpu}")
    yield from gpu_facts(states)


def _naming(w: Window, prefix: str, identify: Identify) -> Naming:
    """Names GPUs, with their host only where there are several."""
    hosts = {_host(dict(key)) for page in w.pages for name in page.samples if name.startswith(prefix)
             for key in page.samples[name] if identify(dict(key)) is not None}  # fmt: skip

    def gpu_of(key: Labels) -> Gpu | None:
        labels = dict(key)
        name = identify(labels)
        return None if name is None else (_host(labels) if len(hosts) > 1 else "", name)

    return gpu_of


def _host(labels: Mapping[str, str]) -> str:
    return labels.get("Hostname") or labels.get(INSTANCE) or ""


def _states(w: Window, names: Names, gpu_of: Naming) -> States:
    states: dict[Gpu, dict[str, float]] = {}
    for key, (factor, known) in names.items():
        series = w.latest(*known) if key in LATEST else w.levels(*known)
        for gpu, value in _per_gpu(series, gpu_of).items():
            if value >= 0 or key == "margin":
                states.setdefault(gpu, {})[key] = value * factor
    for gpu, value in _per_gpu(w.peaks(*names["used"][1]), gpu_of).items():
        states.setdefault(gpu, {})["peak"] = value * names["used"][0]
    return states


def _per_gpu(series: Series, gpu_of: Naming) -> dict[Gpu, float]:
    """One value per GPU; a GPU that several pods share is listed for each of them."""
    found: dict[Gpu, float] = {}
    for key, value in series.items():
        gpu = gpu_of(key)
        if gpu is not None and abs(value) < BLANK:
            found[gpu] = value
    return found


def _dcgm_gpu(labels: Mapping[str, str]) -> str | None:
    gpu, instance = labels.get("gpu"), labels.get("GPU_I_ID")
    return f"{gpu} MIG {instance}" if gpu and instance else gpu


def _fractions(series: Series) -> Series:
    """The renamed field is in percent in some releases and a fraction in others; where nothing tells them apart, none.

    >>> _fractions({(): 93.0}), _fractions({(): 0.93}), _fractions({(): 1.0})
    ({(): 0.93}, {(): 0.93}, {})
    """
    if any(1 < value < BLANK for value in series.values()):
        return {key: value / 100 for key, value in series.items() if value < BLANK}
    if any(value % 1 for value in series.values()) or not any(series.values()):
        return series
    return {}


def _framebuffer(state: dict[str, float]) -> None:
    """The size of the memory, where only used and free are told."""
    if "used" in state and "free" in state:
        state.setdefault("total", state["used"] + state["free"] + state.get("reserved", 0.0))


def _dcgm_about(w: Window) -> Iterator[Row]:
    keys = [*w.levels("DCGM_FI_DEV_SM_CLOCK"), *w.levels("DCGM_FI_DEV_GPU_UTIL"), *w.levels("DCGM_FI_DEV_FB_USED")]
    gpus = [labels for labels in map(dict, keys) if "gpu" in labels]
    about = next(iter(gpus), {})
    yield row("hw.gpu.count", len({(x.get("Hostname"), x.get(INSTANCE), x["gpu"]) for x in gpus}) or None, "{gpu}")
    yield row("hw.gpu.model", about.get("modelName"), "{string}")
    driver = about.get("DCGM_FI_SYSTEM_DRIVER_VERSION") or about.get("DCGM_FI_DRIVER_VERSION")
    yield row("hw.gpu.driver.version", driver, "{version}")
    yield row("hw.gpu.xid.count", w.level("DCGM_EXP_XID_ERRORS_COUNT"), "{event}")


def _dcgm_throttles(w: Window, states: States, gpu_of: Naming) -> Iterator[Row]:
    """Share of the pages on which a busy GPU names a reason for its clocks."""
    names = ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS")
    masks: dict[Gpu, list[int]] = {}
    for page in w.series(*names):
        for gpu, value in _per_gpu(page, gpu_of).items():
            if states.get(gpu, {}).get("util", 0.0) > BUSY:
                masks.setdefault(gpu, []).append(int(value))
    for name, bits, _ in THROTTLES:
        shares = {gpu: sum(1 for m in seen if m & bits) / len(seen) for gpu, seen in masks.items()}
        yield from extreme(f"hw.gpu.throttle.{name}.fraction", "1", shares)


def _smi_throttles(w: Window, states: States, gpu_of: Naming) -> Iterator[Row]:
    """From the counters of seconds where the driver has them, else from the flags."""
    busy = {gpu for gpu, state in states.items() if state.get("util", 0.0) > BUSY}
    found: dict[str, dict[Gpu, float]] = {}
    for name, _, word in THROTTLES:
        shares = _per_gpu(
            w.levels(f"nvidia_smi_clocks_event_reasons_{word}", f"nvidia_smi_clocks_throttle_reasons_{word}"), gpu_of
        )
        seconds = w.growth(f"nvidia_smi_clocks_event_reasons_counters_{word}_seconds")
        if seconds and w.seconds:
            shares |= {gpu: min(1.0, grown / w.seconds) for gpu, grown in _per_gpu(seconds, gpu_of).items()}
        found[name] = {gpu: value for gpu, value in shares.items() if gpu in busy}
    thermal = [found[name] for name in _THERMAL if found[name]]
    if thermal:
        found["thermal"] = {gpu: max(x.get(gpu, 0.0) for x in thermal) for gpu in thermal[0]}
    for name, shares in found.items():
        yield from extreme(f"hw.gpu.throttle.{name}.fraction", "1", shares)


def _dcgm_counters(w: Window, gpu_of: Naming) -> Iterator[Row]:
    replays = w.growth("DCGM_FI_DEV_PCIE_REPLAY_TOTAL", "DCGM_FI_DEV_PCIE_REPLAY_COUNTER")
    crc = w.growth("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL")
    if w.seconds:
        yield from extreme("hw.gpu.pcie.replay.rate", "{replay}/min", _per_gpu(replays, gpu_of), 60 / w.seconds)
        yield from extreme("hw.gpu.nvlink.crc_errors.rate", "{error}/s", _per_gpu(crc, gpu_of), 1 / w.seconds)
    errors = _per_gpu(w.latest("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL"), gpu_of)
    for gpu, value in _per_gpu(w.latest("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL"), gpu_of).items():
        errors[gpu] = errors.get(gpu, 0.0) + value
    yield from extreme("hw.gpu.nvlink.replay_errors", "{error}", errors)
