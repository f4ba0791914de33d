"""Metrics of nvidia_gpu_exporter, from nvidia-smi or NVML -> facts about GPUs.

What its NVML backend alone tells: Xid events since the exporter started, and the memory of MIG
instances, which then stand for their card, since a job cannot use more than its slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advisor.readers.metrics.gpu_facts import Gpu, States, extreme, gpu_facts, percentiles, where
from advisor.readers.metrics.gpu_names import SMI, THROTTLES
from advisor.readers.metrics.gpu_states import Naming, Pages, by_page, means, naming, over, per_gpu, while_busy
from advisor.readers.metrics.window import Window
from advisor.readers.rows import Row, row

_THERMAL = ("sw_thermal", "hw_thermal")
_FOLLOWERS = (45, 154)  # Xids that only follow another one


def nvidia_smi(w: Window) -> Iterator[Row]:
    """Facts of nvidia_gpu_exporter."""
    told = {x.get("uuid", ""): x for x in (dict(key) for key in w.levels("nvidia_smi_gpu_info"))}
    index = {dict(key).get("uuid", ""): f"{value:.0f}" for key, value in w.latest("nvidia_smi_index").items()}
    index |= {uuid: x["index"] for uuid, x in told.items() if x.get("index")}

    def identify(labels: Mapping[str, str]) -> str | None:
        uuid = labels.get("uuid")
        return None if uuid is None else index.get(uuid, uuid)

    gpu_of = naming(w, ("nvidia_smi_",), identify)
    pages = by_page(w, SMI, gpu_of)
    states = over(pages)
    yield from _about(next(iter(told.values()), {}), len(states))
    yield from gpu_facts(_sliced(w, gpu_of, states))
    yield from percentiles(pages)
    yield from _mig(w, gpu_of)
    yield from _xids(w, gpu_of)
    yield from _throttles(w, gpu_of, pages, states)


def _about(labels: Mapping[str, str], count: int) -> Iterator[Row]:
    yield row("hw.gpu.count", count or None, "{gpu}")
    yield row("hw.gpu.model", labels.get("name"), "{string}")
    for fact, label in (
        ("driver.version", "driver_version"),
        ("driver.cuda_version", "cuda_version"),
        ("compute_capability", "compute_cap"),
    ):
        yield row(f"hw.gpu.{fact}", labels.get(label), "{version}")


def _sliced(w: Window, gpu_of: Naming, states: States) -> States:
    """The states, with the memory of a card in MIG mode replaced by that of its instances."""
    found = {gpu: dict(state) for gpu, state in states.items()}
    for key, series in (
        ("used", w.levels("nvidia_smi_mig_memory_used_bytes")),
        ("total", w.levels("nvidia_smi_mig_memory_total_bytes")),
        ("peak", w.peaks("nvidia_smi_mig_memory_used_bytes")),
    ):
        for labels, value in series.items():
            card = gpu_of(labels)
            if card is not None:
                found.get(card, {}).pop(key, None)
                host, name = card
                found.setdefault((host, f"{name} MIG {dict(labels).get('gpu_instance_id', '')}"), {})[key] = value
    return found


def _mig(w: Window, gpu_of: Naming) -> Iterator[Row]:
    devices: dict[Gpu, float] = {}
    for card in map(gpu_of, w.latest("nvidia_smi_mig_info")):
        if card is not None:
            devices[card] = devices.get(card, 0.0) + 1
    yield from extreme("hw.gpu.mig.instance.count", "{instance}", devices)


def _xids(w: Window, gpu_of: Naming) -> Iterator[Row]:
    """Events of the window, and the last one that the exporter saw, as DCGM tells it too."""
    grown = w.growth("nvidia_smi_xid_errors")
    if not grown:
        return
    yield row("hw.gpu.xid.count", sum(grown.values()), "{event}")
    at = w.latest("nvidia_smi_xid_last_timestamp_seconds")
    seen = [(at.get(key, 0.0), int(x), gpu_of(key)) for key in grown if (x := dict(key).get("xid", "")).isdecimal()]
    last = max((event for event in seen if event[1] not in _FOLLOWERS and event[2]), default=None)
    if last is not None and last[2] is not None:
        yield row("hw.gpu.xid.last", last[1], "{code}", where(last[2]))


def _throttles(w: Window, gpu_of: Naming, pages: Pages, states: States) -> Iterator[Row]:
    """From the counters of seconds where the driver has them, else from the flags."""
    busy = {gpu: state["busy"] for gpu, state in states.items() if "busy" in state}
    found: dict[str, dict[Gpu, float]] = {}
    for name, _, word in THROTTLES:
        flags = tuple(f"nvidia_smi_clocks_{kind}_reasons_{word}" for kind in ("event", "throttle"))
        found[name] = dict(means(while_busy(w, flags, gpu_of, pages)))
        seconds = w.growth(f"nvidia_smi_clocks_event_reasons_counters_{word}_seconds")
        if seconds and w.seconds:
            grown = per_gpu(seconds, gpu_of)
            found[name] |= {gpu: min(1.0, grown[gpu] / (w.seconds * busy[gpu])) for gpu in grown if gpu in busy}
    thermal = [found[name] for name in _THERMAL if found[name]]
    if thermal:
        found["thermal"] = {gpu: max(x.get(gpu, 0.0) for x in thermal) for gpu in thermal[0]}
    for name, shares in found.items():
        yield from extreme(f"hw.gpu.throttle.{name}.fraction", "1", shares)
