"""What the trace says about the machine, the run and its settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from advisor.readers.rows import Row, row
from advisor.readers.trace.categories import KERNEL
from advisor.readers.trace.columns import MOST
from advisor.readers.trace.work import Work

TRAINING, INFERENCE = "training", "inference"
_TRAINS = re.compile(r"autograd::engine::evaluate_function|Optimizer\.step#|torch::autograd::AccumulateGrad")
_COMPILED = re.compile(
    r"TorchDynamo|Torch-Compiled Region|CompiledFunction|## Call CompiledFxGraph|triton_(poi|red|per)_fused"
)
_OPERATOR = re.compile(r"aten::")
_MODEL = re.compile(r"aten::(mm|addmm|bmm|linear|conv|_?convolution|embedding|scaled_dot|_scaled)|vllm::|sgl")
_CUDA = re.compile(r"(?i).*(nccl:|Memcpy [HD]to[HD]|cuda|cudnn)")
_SINGLE, _MULTI = "_SingleProcessDataLoaderIter", "_MultiProcessingDataLoaderIter"
_HIP = re.compile(r"hip[A-Z]")
_AMD = re.compile(r"(?i)AMD|Instinct|Radeon|gfx\d")


def rows(work: Work) -> Iterator[Row]:
    """Attributes of the run."""
    header = work.trace.header
    yield row("run.framework", "pytorch", "{string}")
    yield row("run.phase", phase(work), "{string}")
    yield row("run.gpu.used", _gpu_used(work), "{bool}")
    yield row("trace.profiler.active", True, "{bool}")
    yield row("config.compile.enabled", _compiled(work), "{bool}")
    loaders = [name for name in work.trace.names if name.startswith("enumerate(DataLoader)#")]
    if any(_SINGLE in n for n in loaders) and not any(_MULTI in n for n in loaders):
        yield row("config.dataloader.num_workers", 0.0, "{worker}")
    yield from _distributed(header)
    yield from _devices(work)


def phase(work: Work) -> str | None:
    """Training when gradients are computed or an optimizer steps; unknown when no operators were recorded."""
    names = work.trace.names
    if names.any(_TRAINS):
        return TRAINING
    return INFERENCE if names.any(_MODEL) else None


def _gpu_used(work: Work) -> bool | None:
    listed = properties(work.trace.header)
    if (work.gpu.kind == KERNEL).any():
        return True if is_gpu(work) else None
    untraced = work.trace.names.any(_CUDA)
    return False if listed == [] and not untraced else None


def is_gpu(work: Work) -> bool:
    """Whether the device is a GPU: other accelerators list themselves without the memory that GPUs have."""
    listed = properties(work.trace.header)
    return not listed or any("totalGlobalMem" in device for device in listed)


def is_amd(work: Work) -> bool:
    """Whether it is a GPU of AMD: compute capability and Tensor Cores are not about those."""
    listed = properties(work.trace.header) or []
    return work.trace.names.any(_HIP) or any(d.get("warpSize") == 64 or _AMD.search(str(d.get("name"))) for d in listed)


def _compiled(work: Work) -> bool | None:
    """Whether torch.compile is in use; versions that write the base of time also write what runs compiled."""
    names = work.trace.names
    if names.any(_COMPILED):
        return True
    recent = "baseTimeNanoseconds" in work.trace.header
    return False if recent and names.any(_OPERATOR) else None


def distributed(header: dict[str, Any]) -> dict[str, Any]:
    """What is told of the process group; empty when nothing is."""
    found = header.get("distributedInfo")
    return found if isinstance(found, dict) else {}


def whole(value: Any) -> int | None:
    """A whole number of at least 0, also written as text."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(r"\d{1,9}", str(value)):
        return None
    return int(value)


def properties(header: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The devices of the machine; None when they are not listed."""
    found = header.get("deviceProperties", header.get("computeProperties"))
    return [d for d in found if isinstance(d, dict)] if isinstance(found, list) else None


def _distributed(header: dict[str, Any]) -> Iterator[Row]:
    info = distributed(header)
    backend = info.get("backend")
    rank, world = whole(info.get("rank")), whole(info.get("world_size"))
    yield row("comm.backend", backend if isinstance(backend, str) and backend else None, "{string}")
    yield row("run.rank", None if rank is None else float(rank), "{rank}")
    yield row("config.distributed.world_size", float(world) if world else None, "{rank}")


def _devices(work: Work) -> Iterator[Row]:
    header = work.trace.header
    listed = properties(header)
    if not listed:
        return
    mine = listed[0]
    name = mine.get("name")
    if isinstance(name, str) and name and is_gpu(work):
        yield row("hw.gpu.model", name, "{string}")
    if is_gpu(work):
        yield row("hw.gpu.count", float(len(listed)), "{gpu}")
    memory = mine.get("totalGlobalMem")
    yield row("hw.gpu.memory.limit", float(memory) if isinstance(memory, int) and 0 < memory < MOST else None, "By")
    major, minor = (whole(mine.get(a, mine.get(b))) for a, b in (("computeMajor", "major"), ("computeMinor", "minor")))
    if major and minor is not None and not is_amd(work):
        yield row("hw.gpu.compute_capability", f"{major}.{minor}", "{version}")
    for fact, part in (("config.torch.cuda_build", "runtime"), ("hw.gpu.driver.cuda_version", "driver")):
        version = whole(header.get(f"cuda_{part}_version"))
        if version and version >= 1000:
            yield row(fact, f"{version // 1000}.{version % 1000 // 10}", "{version}")


def whole_nanoseconds(header: dict[str, Any]) -> float | None:
    """The moment that times count from, nanoseconds since 1970; None when it is not told."""
    base = header.get("baseTimeNanoseconds")
    return float(base) if isinstance(base, int) and not isinstance(base, bool) and 0 < base < 2**63 else None
