"""Reads settings off torch's objects: a loader, an optimizer, the process. Reads only, and never starts CUDA."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from collections.abc import Callable
from types import FrameType
from typing import Any

from . import output

STDLIB = tuple(os.path.join(sysconfig.get_paths()[name], "") for name in ("stdlib", "platstdlib"))
PACKAGES = (os.sep + "site-packages" + os.sep, os.sep + "dist-packages" + os.sep)
_SCRIPTS = os.path.join(sysconfig.get_paths()["scripts"], "")
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


def where(frame: FrameType | None) -> str | None:
    """``file:line`` of the nearest caller that is the user's code, else of the nearest outside torch."""
    torch = os.path.join(os.path.dirname(getattr(sys.modules.get("torch"), "__file__", None) or "/torch/x"), "")
    outside = None
    for _ in range(200):
        if frame is None:
            break
        file = frame.f_code.co_filename
        full = os.path.normpath(os.path.join(output.CWD, file))
        package = any(part in full for part in PACKAGES)
        library = full.startswith(STDLIB) and not package
        if not (library or file.startswith("<frozen") or full.startswith((torch, HERE))):
            place = (file if file.startswith("<") else full) + f":{frame.f_lineno}"
            if not package and not full.startswith(_SCRIPTS):
                return place
            outside = outside or place
        frame = frame.f_back
    return outside


def length(dataset: Any) -> int | None:
    """Samples in a map-style dataset; None when it has no length."""
    try:
        return len(dataset) if hasattr(type(dataset), "__getitem__") else None
    except Exception:
        return None


def loader(source: Any) -> dict[str, Any]:
    """The settings of a DataLoader, or of a bare iterator over one (whose attributes have an underscore in front)."""

    def get(name: str) -> Any:
        return getattr(source, name, getattr(source, "_" + name, None))

    dataset = get("dataset")
    batch_size = get("batch_size")
    sampler = get("batch_sampler")
    if sampler is None:  # not `or`: that would ask for its length
        sampler = get("index_sampler")
    context = get("multiprocessing_context")
    return {
        "num_workers": get("num_workers"),
        "batch_size": batch_size if batch_size is not None else getattr(sampler, "batch_size", None),
        "pin_memory": bool(get("pin_memory")),
        "persistent_workers": bool(get("persistent_workers")),
        "prefetch_factor": get("prefetch_factor"),
        "dataset": type(dataset).__name__,
        "length": length(dataset),
        "sampler": type(getattr(sampler, "sampler", sampler)).__name__,
        "iterable": getattr(source, "_dataset_kind", 0) == 1,
        "context": context if context is None or isinstance(context, str) else type(context).__name__,
    }


def process(optimizer: Any) -> dict[str, Any]:
    """Versions, threads, modes and the model as the optimizer sees it; asked once, after the first step."""
    torch = sys.modules["torch"]
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": str(getattr(torch, "__version__", "")),
        "cuda_build": torch.version.cuda,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "launch_blocking": os.environ.get("CUDA_LAUNCH_BLOCKING"),
    }
    questions: dict[str, Callable[[], Any]] = {
        "threads": lambda: int(torch.get_num_threads()),
        "deterministic": lambda: bool(torch.are_deterministic_algorithms_enabled()),
        "anomaly": lambda: bool(torch.is_anomaly_enabled()),
        "cudnn_benchmark": lambda: bool(torch.backends.cudnn.benchmark),
        "cuda_available": lambda: cuda_ready() is not None and torch.cuda.is_available(),
        "compiled": _compiled,
        "optimizer": lambda: _optimizer(optimizer),
        "distributed": distributed,
    }
    for name, ask in questions.items():
        try:
            found[name] = ask()
        except Exception as error:  # an old or unusual build lacks one of them: the others still count
            found[name] = None
            found.setdefault("unknown", []).append(f"{name}: {type(error).__name__}")
    return found


def _compiled() -> bool | None:
    dynamo = sys.modules.get("torch._dynamo.utils")
    if dynamo is None:
        return False
    return True if dynamo.counters["frames"].get("ok", 0) > 0 else None


def compiles() -> bool:
    """Whether torch.compile has begun to compile anything in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo is not None and dynamo.counters["frames"].get("total", 0) > 0


def _optimizer(optimizer: Any) -> dict[str, Any]:
    counts: dict[tuple[str, str], int] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            key = (parameter.device.type, str(parameter.dtype).replace("torch.", ""))
            counts[key] = counts.get(key, 0) + parameter.numel()
    device, dtype = max(counts, key=lambda key: counts[key]) if counts else (None, None)
    defaults = getattr(optimizer, "defaults", {})
    return {
        "class": type(optimizer).__name__,
        "tensors": sum(len(group["params"]) for group in optimizer.param_groups),
        "parameters": sum(counts.values()),
        "device": device,
        "dtype": dtype,
        "foreach": defaults.get("foreach"),
        "fused": defaults.get("fused"),
        "has_foreach": "foreach" in defaults,
    }


def distributed() -> dict[str, Any]:
    """Rank and world size, from torch.distributed when it runs, else from the launcher's environment."""
    found: dict[str, Any] = {
        "rank": os.environ.get("RANK"),
        "world_size": os.environ.get("WORLD_SIZE"),
        "local_world_size": os.environ.get("LOCAL_WORLD_SIZE"),
        "backend": None,
    }
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        found.update(rank=dist.get_rank(), world_size=dist.get_world_size(), backend=str(dist.get_backend()))
    return found


def cuda_ready() -> Any:
    """``torch.cuda`` when this process has already started CUDA, else None; never starts it."""
    cuda = sys.modules.get("torch.cuda")
    return cuda if cuda is not None and cuda.is_initialized() else None


_leaf: Any = None


def autograd_nodes() -> int | None:
    """A number that grows by one for every operation autograd records in this thread; None where it records none.

    Asking is itself such an operation.
    """
    global _leaf  # noqa: PLW0603
    torch = sys.modules["torch"]
    if not torch.is_grad_enabled() or not hasattr(torch, "is_inference_mode_enabled"):
        return None
    if torch.is_inference_mode_enabled():
        return None
    if _leaf is None:
        _leaf = torch.zeros(1, device="cpu", requires_grad=True)
    return int(_leaf.view(1).grad_fn._sequence_nr())  # noqa: SLF001


def memory() -> dict[str, float] | None:
    """The caching allocator's counters on the current device; None without CUDA."""
    cuda = cuda_ready()
    if cuda is None:
        return None
    stats = cuda.memory_stats()
    names = {
        "allocated": "allocated_bytes.all.current",
        "allocated_peak": "allocated_bytes.all.peak",
        "reserved": "reserved_bytes.all.current",
        "reserved_peak": "reserved_bytes.all.peak",
        "inactive_split": "inactive_split_bytes.all.current",
        "alloc_retries": "num_alloc_retries",
        "ooms": "num_ooms",
        "device_alloc": "num_device_alloc",
        "device_free": "num_device_free",
    }
    return {short: stats[name] for short, name in names.items() if name in stats}
