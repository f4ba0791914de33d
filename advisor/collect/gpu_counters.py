"""What NVML counts between two reads: performance metrics (Hopper and newer), NVLink traffic and errors, Xids.

Each class holds what it needs from the driver from one read to the next. A card that does
not offer a source is asked once and then left alone.
"""

from __future__ import annotations

import ctypes
import math
import time
import weakref
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from advisor.collect.base import Sample
from advisor.collect.gpu_nvml import Field, Nvml

GPM_PAUSE = 0.15  # seconds: NVML refreshes these counters every 100 ms
GPM_METRICS = {
    "sm": "NVML_GPM_METRIC_SM_UTIL",  # percent, as the next four
    "occupancy": "NVML_GPM_METRIC_SM_OCCUPANCY",
    "tensor": "NVML_GPM_METRIC_ANY_TENSOR_UTIL",
    "dram": "NVML_GPM_METRIC_DRAM_BW_UTIL",
    "fp64": "NVML_GPM_METRIC_FP64_UTIL",
    "pcie_tx": "NVML_GPM_METRIC_PCIE_TX_PER_SEC",  # MiB/s, as the next two
    "pcie_rx": "NVML_GPM_METRIC_PCIE_RX_PER_SEC",
    "nvlink_tx": "NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC",
}
LINK_BUDGET = 0.01  # share of the time that asking for link counters may take
LINK_PAUSE = 4.0  # seconds: short windows still get their readings, whatever they cost
# Per number the field sets that give it, the first one that a card has in full; * stands for each active link.
LINK_FIELDS: Mapping[str, Sequence[tuple[int, Sequence[str]]]] = {
    "tx": (  # bytes; the factor makes them so
        (1024, ("*NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX",)),
        (1, ("*NVML_FI_DEV_NVLINK_COUNT_XMIT_BYTES",)),
    ),
    "crc": (
        (1, ("NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",)),
        (1, ("*NVML_FI_DEV_NVLINK_ERROR_DL_CRC",)),
    ),
    "replay": (  # replays and recoveries; the newest cards only count recoveries
        (1, ("NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL")),
        (1, ("*NVML_FI_DEV_NVLINK_ERROR_DL_REPLAY", "*NVML_FI_DEV_NVLINK_ERROR_DL_RECOVERY")),
        (1, ("*NVML_FI_DEV_NVLINK_COUNT_LINK_RECOVERY_EVENTS",)),
    ),
}
XIDS_KEPT = 64
XIDS_PER_READ = 64


class Gpm:
    """Performance metrics of one GPU, averaged from one read to the next."""

    def __init__(self, nvml: Nvml, who: str, handle: Any) -> None:
        self._nvml, self._who, self._handle = nvml, who, handle
        self._taken: float | None = None
        self._buffers: list[Any] = []
        self._ids: dict[str, int] = {}
        self.gives_pcie = False
        support = nvml.ask(who, "nvmlGpmQueryDeviceSupport", handle)
        if support is None or not support.isSupportedDevice:
            return
        self._buffers = [b for b in (nvml.ask(who, "nvmlGpmSampleAlloc") for _ in range(2)) if b is not None]
        # Not at exit: a driver that hangs must not keep the program from ending.
        weakref.finalize(self, _free, nvml, tuple(self._buffers)).atexit = False
        self._ids = {key: getattr(nvml.binding, name) for key, name in GPM_METRICS.items()}
        self.gives_pcie = len(self._buffers) == 2

    def read(self) -> dict[str, float]:
        """Metrics by the keys of `GPM_METRICS` since the last read; empty at first, and where unsupported."""
        now = time.monotonic()
        if len(self._buffers) < 2 or (self._taken is not None and now - self._taken < GPM_PAUSE):
            return {}
        older, newer = self._buffers
        if self._nvml.ask(self._who, "nvmlGpmSampleGet", self._handle, newer) is None:
            self._buffers, self.gives_pcie = [], False  # not in MIG mode, and not for every user
            return {}
        known = {} if self._taken is None else self._between(older, newer)
        self._buffers = [newer, older]
        self._taken = now
        return known

    def _between(self, older: Any, newer: Any) -> dict[str, float]:
        request = self._nvml.binding.c_nvmlGpmMetricsGet_t()
        request.version = self._nvml.binding.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(self._ids)
        request.sample1, request.sample2 = older, newer
        for place, number in enumerate(self._ids.values()):
            request.metrics[place].metricId = number
        if self._nvml.ask(self._who, "nvmlGpmMetricsGet", request) is None:
            self.gives_pcie = False
            return {}
        answers = {key: request.metrics[place] for place, key in enumerate(self._ids)}
        known = {k: a.value for k, a in answers.items() if a.nvmlReturn == 0 and math.isfinite(a.value)}
        self.gives_pcie = {"pcie_tx", "pcie_rx"} <= known.keys()
        return known


def _free(nvml: Nvml, buffers: Sequence[Any]) -> None:
    for buffer in buffers:
        nvml.ask("driver", "nvmlGpmSampleFree", buffer)


class LinkCounters:
    """Cumulative NVLink counters of one GPU over its active links, all in one call."""

    def __init__(self, nvml: Nvml, who: str, handle: Any, active: Sequence[int] | None) -> None:
        self._nvml, self._who, self._handle, self._active = nvml, who, handle, active
        self._sets: dict[str, tuple[int, list[Field]]] | None = None
        self._due = 0.0

    def read(self) -> dict[str, float]:
        """Bytes sent, CRC errors, replays with recoveries, as far as known; empty when it is not time yet."""
        if self._active is None:
            return {}
        if not self._active:
            return dict.fromkeys(LINK_FIELDS, 0)  # a link that is off carries nothing and has no errors
        began = time.monotonic()
        if began < self._due:
            return {}
        offered = self._candidates() if self._sets is None else {k: [s] for k, s in self._sets.items()}
        wanted = [field for sets in offered.values() for _, fields in sets for field in fields]
        values = dict(zip(wanted, self._nvml.fields(self._who, self._handle, wanted), strict=True))
        full = {
            k: next((s for s in sets if all(values[f] is not None for f in s[1])), None) for k, sets in offered.items()
        }
        found = {k: s for k, s in full.items() if s is not None}
        if self._sets is None:
            self._sets = found  # finding out took longer than a reading will: it says nothing about the next one
        else:
            self._due = began + min(LINK_PAUSE, (time.monotonic() - began) / LINK_BUDGET)
        return {k: factor * sum(values[f] or 0 for f in fields) for k, (factor, fields) in found.items()}

    def _candidates(self) -> dict[str, list[tuple[int, list[Field]]]]:
        return {
            key: [(factor, fields) for factor, names in sets if (fields := self._fields(names))]
            for key, sets in LINK_FIELDS.items()
        }

    def _fields(self, names: Sequence[str]) -> list[Field]:
        """The fields of a set; none when the binding does not know one of them."""
        fields: list[Field] = []
        for name in names:
            number = getattr(self._nvml.binding, name.lstrip("*"), None)
            if number is None:
                return []
            fields += [(number, link) for link in self._active or ()] if name.startswith("*") else [(number, 0)]
        return fields


class Xids:
    """The Xid events of all GPUs since watching began; registered once, read without waiting."""

    def __init__(self, nvml: Nvml, handles: Mapping[int, Any]) -> None:
        self._nvml = nvml
        self._gpus = {_address(handle): str(i) for i, handle in handles.items()}
        self._recent: deque[list[Any]] = deque(maxlen=XIDS_KEPT)
        self._count: Counter[str] = Counter()
        self._set = nvml.ask("driver", "nvmlEventSetCreate")
        self._watched = [str(i) for i, handle in handles.items() if self._register(i, handle)]

    def _register(self, i: int, handle: Any) -> bool:
        nvml, wanted, who = self._nvml, self._nvml.binding.nvmlEventTypeXidCriticalError, f"gpu {i}"
        offered = nvml.ask(who, "nvmlDeviceGetSupportedEventTypes", handle)
        if self._set is None or not offered or not offered & wanted:
            return False
        try:
            nvml.binding.nvmlDeviceRegisterEvents(handle, wanted, self._set)
        except nvml.binding.NVMLError:
            return False  # not for this card or user: then Xids are unknown, which is no trouble
        return True

    def read(self) -> Sample | None:
        """GPUs that are watched, the last Xids as [gpu, code] and their number per GPU; None when none is watched."""
        if not self._watched:
            return None
        for _ in range(XIDS_PER_READ):
            event = self._nvml.ask("driver", "nvmlEventSetWait_v2", self._set, 0, fine=["TIMEOUT"])
            if event is None:
                break
            gpu = self._gpus.get(_address(event.device), "")
            self._recent.append([gpu, int(event.eventData)])
            self._count[gpu] += 1
        return {"watched": self._watched, "recent": list(self._recent), "count": dict(self._count)}


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
