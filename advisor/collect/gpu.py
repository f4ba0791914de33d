"""NVIDIA GPUs through NVML: what the driver says about every GPU, sampled.

Any single NVML call may be unsupported on a card; then that number is missing and nothing
else. When a process is given, only the GPUs of its tree are judged, see `gpu_job`. How samples
become facts is in `gpu_facts`; no CUDA context is ever created.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from advisor.collect import gpu_job, gpu_pci, gpu_topology
from advisor.collect.base import Parsed, Sample
from advisor.collect.gpu_counters import Gpm, LinkCounters, Xids
from advisor.collect.gpu_facts import parse
from advisor.collect.gpu_link_facts import unlisted
from advisor.collect.gpu_nvml import Nvml
from advisor.collect.process import Tree

PCIE_PATIENCE = 0.1  # seconds per sample: a driver may measure 20 ms for each answer
THRESHOLDS = ("NVML_TEMPERATURE_THRESHOLD_SLOWDOWN", "NVML_TEMPERATURE_THRESHOLD_GPU_MAX")
RETIRED = ("NVML_FI_DEV_RETIRED_SBE", "NVML_FI_DEV_RETIRED_DBE", "NVML_FI_DEV_RETIRED_PENDING")


class Gpu:
    """All GPUs that the driver shows; `pid` is the root of the job's process tree."""

    kind = "nvml"
    origin = "NVML"

    def __init__(self, pid: int | None = None, proc: str = "/proc", sys: str = "/sys") -> None:
        self._tree = Tree(pid, proc) if pid is not None else None
        self._root, self._proc, self._sys = Path(proc) / str(pid), Path(proc), Path(sys)
        self._nvml: Nvml | None = None
        self._handles: dict[int, Any] = {}
        self._first: Sample = {}
        self._used: set[str] = set()
        self._visible: dict[str, str] = {}
        self._turn = 0

    def read(self) -> Sample:
        """Numbers of every GPU; the first sample also says what does not change."""
        sample: Sample = {}
        if self._nvml is None:
            nvml = Nvml()
            self._first = self._open(nvml)
            self._nvml = nvml  # only now: an attempt that failed half-way is made again
            sample = dict(self._first)
        sample["count"] = self._first["count"]
        sample["tree"] = sorted(self._tree.refresh()) if self._tree else None
        sample["gpus"] = {str(i): self._state(i, handle) for i, handle in self._handles.items()}
        self._pcie(sample["gpus"])
        sample["xids"] = self._xids.read()
        self._used |= gpu_job.computing(sample)
        if self._tree and not self._used:
            self._visible = gpu_job.visible(self._root) or self._visible
        sample["used"], sample["visible"] = sorted(self._used), self._visible
        sample["note"] = self._note(sample, self._nvml.trouble)
        return sample

    def _open(self, nvml: Nvml) -> Sample:
        """Take hold of the GPUs; what does not change, as the first sample tells it."""
        count = nvml.ask("driver", "nvmlDeviceGetCount") or 0
        for i in range(count):
            handle = nvml.ask(f"gpu {i}", "nvmlDeviceGetHandleByIndex", i)
            if handle is not None:
                self._handles[i] = handle
        about = {str(i): self._about(nvml, i, handle) for i, handle in self._handles.items()}
        self._gpm = {i: Gpm(nvml, f"gpu {i}", handle) for i, handle in self._handles.items()}
        self._links = {
            i: LinkCounters(nvml, f"gpu {i}", handle, gpu_topology.active(about[str(i)]["links"]))
            for i, handle in self._handles.items()
        }
        self._xids = Xids(nvml, self._handles)
        return {
            "count": count,
            "driver": nvml.ask("driver", "nvmlSystemGetDriverVersion"),
            "cuda": nvml.ask("driver", "nvmlSystemGetCudaDriverVersion_v2"),
            "about": about,
            "pairs": gpu_topology.pairs(nvml, self._handles),
            "pci": gpu_pci.read(self._sys, self._proc),
        }

    def _about(self, nvml: Nvml, i: int, handle: Any) -> dict[str, Any]:
        ask, binding = _asker(nvml, i, handle), nvml.binding
        capability = ask("nvmlDeviceGetCudaComputeCapability")
        mig, pci = ask("nvmlDeviceGetMigMode"), ask("nvmlDeviceGetPciInfo")
        lifetime = ("NVML_MEMORY_ERROR_TYPE_UNCORRECTED", "NVML_AGGREGATE_ECC", "NVML_MEMORY_LOCATION_SRAM")
        limits = [ask("nvmlDeviceGetTemperatureThreshold", getattr(binding, name)) for name in THRESHOLDS]
        return {
            "name": ask("nvmlDeviceGetName"),
            "uuid": ask("nvmlDeviceGetUUID"),
            "bus": None if pci is None else gpu_pci.bus_id(pci.busId),
            "capability": ".".join(map(str, capability)) if capability else None,
            "sm_max_mhz": ask("nvmlDeviceGetMaxClockInfo", binding.NVML_CLOCK_SM),
            "gen_max": ask("nvmlDeviceGetMaxPcieLinkGeneration"),
            "width_max": ask("nvmlDeviceGetMaxPcieLinkWidth"),
            "slowdown_c": min((limit for limit in limits if limit), default=None),
            "power_default_mw": ask("nvmlDeviceGetPowerManagementDefaultLimit"),
            "persistence": ask("nvmlDeviceGetPersistenceMode"),
            "compute_mode": ask("nvmlDeviceGetComputeMode"),
            "mig": mig[0] if mig else None,
            "mig_devices": _mig_devices(nvml, i, handle) if mig and mig[0] else [],
            "sram_errors": ask("nvmlDeviceGetMemoryErrorCounter", *(getattr(binding, name) for name in lifetime)),
            "retired": nvml.fields(f"gpu {i}", handle, [(getattr(binding, name), 0) for name in RETIRED]),
            "links": gpu_topology.links(nvml, f"gpu {i}", handle),
        }

    def _state(self, i: int, handle: Any) -> dict[str, Any]:
        assert self._nvml is not None  # opened
        ask, binding = _asker(self._nvml, i, handle), self._nvml.binding
        rates, memory = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetMemoryInfo")
        encoder, decoder = ask("nvmlDeviceGetEncoderUtilization"), ask("nvmlDeviceGetDecoderUtilization")
        reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:
            reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")  # the name before driver 535
        processes = ask("nvmlDeviceGetComputeRunningProcesses")
        uncorrected = (binding.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, binding.NVML_VOLATILE_ECC)
        return {
            "util": rates.gpu if rates else None,
            "memory": [memory.used, memory.total] if memory else None,
            "power_mw": ask("nvmlDeviceGetPowerUsage"),
            "power_limit_mw": ask("nvmlDeviceGetEnforcedPowerLimit"),
            "temperature_c": ask("nvmlDeviceGetTemperature", binding.NVML_TEMPERATURE_GPU),
            "margin_c": ask("nvmlDeviceGetMarginTemperature"),
            "sm_mhz": ask("nvmlDeviceGetClockInfo", binding.NVML_CLOCK_SM),
            "reasons": reasons,
            "gen": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
            "width": ask("nvmlDeviceGetCurrPcieLinkWidth"),
            "replays": ask("nvmlDeviceGetPcieReplayCounter"),
            "encoder": encoder[0] if encoder else None,
            "decoder": decoder[0] if decoder else None,
            "ecc": ask("nvmlDeviceGetTotalEccErrors", *uncorrected),
            "remapped": ask("nvmlDeviceGetRemappedRows"),
            "processes": None if processes is None else {str(p.pid): p.usedGpuMemory for p in processes},
            "gpm": self._gpm[i].read(),
            "nvlink": self._links[i].read(),
        }

    def _pcie(self, states: dict[str, dict[str, Any]]) -> None:
        """Traffic of as many GPUs as fit into the patience, the next ones at the next sample."""
        assert self._nvml is not None  # opened
        binding, began = self._nvml.binding, time.monotonic()
        order = [i for i in self._handles if not self._gpm[i].gives_pcie]  # those give it without a wait
        for _ in order:
            i = order[self._turn % len(order)]
            self._turn += 1
            ask = _asker(self._nvml, i, self._handles[i])
            for key, counter in (
                ("tx_kb", binding.NVML_PCIE_UTIL_TX_BYTES),
                ("rx_kb", binding.NVML_PCIE_UTIL_RX_BYTES),
            ):
                states[str(i)][key] = ask("nvmlDeviceGetPcieThroughput", counter)
            if time.monotonic() - began > PCIE_PATIENCE:
                return

    def _note(self, sample: Sample, trouble: dict[str, str]) -> str:
        if not sample["count"]:
            return "; ".join(filter(None, ["the NVIDIA driver shows no GPU", _strange(self._first)]))
        about = self._first["about"]
        chosen, how = gpu_job.choose(sample, about)
        split = ", ".join(i for i in chosen if about[i]["mig"])
        mig = f"gpu {split}: split by MIG, whose parts have no utilization, clocks or links to judge" if split else ""
        told = [f"{who}: {what}" for who, what in trouble.items()]
        return "; ".join(filter(None, [how, mig, _strange(self._first), *told]))

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """See `gpu_facts.parse`."""
        return parse(samples, self.origin)


def _asker(nvml: Nvml, i: int, handle: Any) -> Callable[..., Any]:
    return lambda call, *args: nvml.ask(f"gpu {i}", call, handle, *args)


def _strange(first: Sample) -> str:
    """What to say about GPUs on the bus that NVML does not list."""
    gone = unlisted(first)
    if not gone:
        return ""
    if first["pci"]["whole"]:
        return f"NVML does not list these GPUs on the PCI bus: {', '.join(gone)}"
    size = f"{len(first['about'])} of {len(first['about']) + len(gone)} GPUs on the PCI bus"
    return f"NVML lists {size}; the others may be kept from this container or batch job"


def _mig_devices(nvml: Nvml, i: int, handle: Any) -> list[str]:
    """UUIDs of the parts that a GPU in MIG mode is split into."""
    uuids = []
    for place in range(nvml.ask(f"gpu {i}", "nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        part = nvml.ask(f"gpu {i}", "nvmlDeviceGetMigDeviceHandleByIndex", handle, place, fine=["NOT_FOUND"])
        uuid = None if part is None else nvml.ask(f"gpu {i}", "nvmlDeviceGetUUID", part)
        if uuid is not None:
            uuids.append(uuid)
    return uuids
