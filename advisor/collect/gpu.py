"""NVIDIA GPUs through NVML: what the driver says about every GPU, sampled.

Any single NVML call may be unsupported on a card; then that number is missing and nothing
else. When a process is given, only the GPUs that its tree computes on are judged, as far as
NVML lists them. How samples become facts is in `gpu_facts`; no CUDA context is ever created.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from advisor.collect.base import Parsed, Sample
from advisor.collect.gpu_facts import job_gpus, parse
from advisor.collect.process import Tree

NO_LIBRARY = "NVML shared library not found: no NVIDIA driver on this machine"
PCIE_PATIENCE = 0.1  # seconds per sample: a driver may measure 20 ms for each answer


class Gpu:
    """All GPUs that the driver shows; `pid` is the root of the job's process tree."""

    kind = "nvml"
    origin = "NVML"

    def __init__(self, pid: int | None = None, proc: str = "/proc") -> None:
        self._tree = Tree(pid, proc) if pid is not None else None
        self._nvml: Any = None
        self._count = 0
        self._handles: dict[int, Any] = {}
        self._trouble: dict[str, str] = {}
        self._turn = 0

    def read(self) -> Sample:
        """Numbers of every GPU; the first sample also says what does not change."""
        sample: Sample = {}
        if self._nvml is None:
            self._nvml = _initialised()
            self._open()
            sample["driver"] = self._ask("driver", "nvmlSystemGetDriverVersion")
            sample["cuda"] = self._ask("driver", "nvmlSystemGetCudaDriverVersion_v2")
            sample["about"] = {str(i): self._about(i, handle) for i, handle in self._handles.items()}
        sample["count"] = self._count
        sample["tree"] = sorted(self._tree.refresh()) if self._tree else None
        sample["gpus"] = {str(i): self._state(i, handle) for i, handle in self._handles.items()}
        self._pcie(sample["gpus"])
        sample["note"] = _note(sample, self._trouble)
        return sample

    def _open(self) -> None:
        self._count = self._ask("driver", "nvmlDeviceGetCount") or 0
        for i in range(self._count):
            handle = self._ask(f"gpu {i}", "nvmlDeviceGetHandleByIndex", i)
            if handle is not None:
                self._handles[i] = handle

    def _ask(self, who: str, call: str, *args: Any) -> Any:
        """The answer of one NVML call; None when this card or driver does not offer it."""
        nvml = self._nvml
        try:
            return getattr(nvml, call)(*args)
        except nvml.NVMLError as error:
            if error.value not in (nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                self._trouble[who] = f"{call} failed ({error})"
        except (nvml.NVMLLibraryMismatchError, AttributeError):
            pass  # a driver or a binding older than the call
        return None

    def _about(self, i: int, handle: Any) -> dict[str, Any]:
        nvml, ask = self._nvml, self._asker(i, handle)
        capability = ask("nvmlDeviceGetCudaComputeCapability")
        mig = ask("nvmlDeviceGetMigMode")
        lifetime = (nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_AGGREGATE_ECC, nvml.NVML_MEMORY_LOCATION_SRAM)
        return {
            "name": ask("nvmlDeviceGetName"),
            "capability": ".".join(map(str, capability)) if capability else None,
            "sm_max_mhz": ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
            "gen_max": ask("nvmlDeviceGetMaxPcieLinkGeneration"),
            "width_max": ask("nvmlDeviceGetMaxPcieLinkWidth"),
            "slowdown_c": ask("nvmlDeviceGetTemperatureThreshold", nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
            "power_default_mw": ask("nvmlDeviceGetPowerManagementDefaultLimit"),
            "persistence": ask("nvmlDeviceGetPersistenceMode"),
            "mig": mig[0] if mig else None,
            "sram_errors": ask("nvmlDeviceGetMemoryErrorCounter", *lifetime),
        }

    def _state(self, i: int, handle: Any) -> dict[str, Any]:
        nvml, ask = self._nvml, self._asker(i, handle)
        rates, memory = ask("nvmlDeviceGetUtilizationRates"), ask("nvmlDeviceGetMemoryInfo")
        encoder, decoder = ask("nvmlDeviceGetEncoderUtilization"), ask("nvmlDeviceGetDecoderUtilization")
        reasons = ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:
            reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons")  # the name before driver 535
        processes = ask("nvmlDeviceGetComputeRunningProcesses")
        return {
            "util": rates.gpu if rates else None,
            "memory": [memory.used, memory.total] if memory else None,
            "power_mw": ask("nvmlDeviceGetPowerUsage"),
            "power_limit_mw": ask("nvmlDeviceGetEnforcedPowerLimit"),
            "temperature_c": ask("nvmlDeviceGetTemperature", nvml.NVML_TEMPERATURE_GPU),
            "margin_c": ask("nvmlDeviceGetMarginTemperature"),
            "sm_mhz": ask("nvmlDeviceGetClockInfo", nvml.NVML_CLOCK_SM),
            "reasons": reasons,
            "gen": ask("nvmlDeviceGetCurrPcieLinkGeneration"),
            "width": ask("nvmlDeviceGetCurrPcieLinkWidth"),
            "replays": ask("nvmlDeviceGetPcieReplayCounter"),
            "encoder": encoder[0] if encoder else None,
            "decoder": decoder[0] if decoder else None,
            "ecc": ask("nvmlDeviceGetTotalEccErrors", nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC),
            "remapped": ask("nvmlDeviceGetRemappedRows"),
            "processes": None if processes is None else {str(p.pid): p.usedGpuMemory for p in processes},
        }

    def _asker(self, i: int, handle: Any) -> Callable[..., Any]:
        return lambda call, *args: self._ask(f"gpu {i}", call, handle, *args)

    def _pcie(self, states: dict[str, dict[str, Any]]) -> None:
        """Traffic of as many GPUs as fit into the patience, the next ones at the next sample."""
        nvml, began, order = self._nvml, time.monotonic(), list(self._handles)
        for _ in order:
            i = order[self._turn % len(order)]
            self._turn += 1
            for key, counter in (("tx_kb", nvml.NVML_PCIE_UTIL_TX_BYTES), ("rx_kb", nvml.NVML_PCIE_UTIL_RX_BYTES)):
                states[str(i)][key] = self._asker(i, self._handles[i])("nvmlDeviceGetPcieThroughput", counter)
            if time.monotonic() - began > PCIE_PATIENCE:
                return

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """See `gpu_facts.parse`."""
        return parse(samples, self.origin)


def _initialised() -> Any:
    """The NVML binding, ready to use; absence and denial as the exceptions that a collector raises."""
    try:
        import pynvml
    except ImportError:
        raise FileNotFoundError("the Python package nvidia-ml-py is not installed") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise FileNotFoundError(NO_LIBRARY) from None
        if error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
            raise FileNotFoundError("the NVIDIA driver is installed but not loaded") from None
        if error.value == pynvml.NVML_ERROR_NO_PERMISSION:
            raise PermissionError("the NVIDIA driver may not be used by this user") from None
        raise RuntimeError(f"nvmlInit failed ({error})") from None
    return pynvml


def _note(sample: Sample, trouble: dict[str, str]) -> str:
    parts = []
    if not sample["count"]:
        parts.append("the NVIDIA driver shows no GPU")
    elif sample["tree"] is not None and not job_gpus(sample):
        parts.append("NVML lists no process of this job on any GPU, so all GPUs are judged")
    elif sample["tree"] is not None:
        parts.append(f"judged: the GPUs that the job computes on ({', '.join(sorted(job_gpus(sample)))})")
    parts += [f"{who}: {what}" for who, what in trouble.items()]
    return "; ".join(parts)
