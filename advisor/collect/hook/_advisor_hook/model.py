"""Precision, memory layout, checkpointing and attention of the model, and what torch.compile has done with it.

Parameters are read off the optimizer once; their values never are. Flags and counters of torch are read whenever
the output is written, which is at most once a second.
"""

# ruff: noqa: SLF001 - what tells has no public name

from __future__ import annotations

import sys
import weakref
from types import ModuleType
from typing import Any

from . import describe
from .part import Part

part = Part("looking at the model")
CASTS = 64  # entries of autocast after which its use is known


class Seen:
    """What the probes have seen in this process."""

    def __init__(self) -> None:
        self.casts: dict[str, int] = {}
        self.checkpoints = 0
        self.models: list[Any] = []
        self.layout: dict[str, int] = {}
        self.device: str | None = None
        self.early: dict[str, Any] | None = None


seen = Seen()


def _autocast(module: ModuleType) -> None:
    part.put(module.autocast, "__enter__", _cast)


def _cast(instance: Any) -> None:
    if instance is None:
        return
    name = f"{instance.device} {str(instance.fast_dtype).replace('torch.', '')}"
    if instance._enabled and sys.modules["torch"].is_grad_enabled():
        seen.casts[name] = seen.casts.get(name, 0) + 1
    if seen.casts.get(name, 0) >= CASTS:
        part.take(*type(instance).__mro__)


def _checkpoint(module: ModuleType) -> None:
    for name, method in (("_CheckpointFrame", "__init__"), ("CheckpointFunction", "forward")):
        cls = getattr(module, name, None)
        if cls is not None:
            part.put(cls, method, _checkpointed)


def _checkpointed(_: Any) -> None:
    seen.checkpoints += 1


def _transformers(module: ModuleType) -> None:
    part.put(module.PreTrainedModel, "__init__", _pretrained)


def _pretrained(instance: Any) -> None:
    if instance is not None and len(seen.models) < 8:
        seen.models.append(weakref.ref(instance))


WATCHED = {
    "torch.amp.autocast_mode": _autocast,
    "torch.utils.checkpoint": _checkpoint,
    "transformers.modeling_utils": _transformers,
}


def step_ended(optimizer: Any, ends: int) -> None:
    """Read the parameters after the first step, the compiler's counters after the second."""
    if ends == 1:
        _parameters(optimizer)
    elif ends == 2:
        seen.early = _compiler()
    if seen.checkpoints:  # once is enough to know; the probes sit on every block
        checkpoint = sys.modules["torch.utils.checkpoint"]
        part.take(checkpoint.CheckpointFunction, getattr(checkpoint, "_CheckpointFrame", None))


def _parameters(optimizer: Any) -> None:
    channels_last = sys.modules["torch"].channels_last
    layout = {"channels_last": 0, "contiguous": 0}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen.device = seen.device or parameter.device.type
            shape = parameter.shape
            # Only weights of real convolutions differ: with one channel or a 1x1 window both layouts are the same.
            if len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1:
                last = parameter.is_contiguous(memory_format=channels_last)
                layout["channels_last" if last else "contiguous"] += 1
    seen.layout = layout


def content() -> dict[str, Any]:
    """For the output file."""
    return {
        "casts": seen.casts,
        "checkpoints": seen.checkpoints,
        "own_checkpoints": any(name in sys.modules for name in ("megatron", "deepspeed")),
        "layout": seen.layout,
        "tf32": _tf32(),
        "attention": _attention(),
        "early": seen.early,
        "compiler": _compiler(),
        "arch": _arch(),
    }


def _tf32() -> bool | None:
    """Whether matrix products in float32 may use TF32; None where there is no CUDA to do so."""
    if describe.cuda_ready() is None:
        return None
    matmul = sys.modules["torch"].backends.cuda.matmul
    setting = getattr(matmul, "fp32_precision", None)  # since 2.9; asking the older flags may then warn
    return setting == "tf32" if isinstance(setting, str) else bool(matmul.allow_tf32)


def _attention() -> str | None:
    """The attention that a Hugging Face model was given, or `math` when the program has switched off all others."""
    for ref in seen.models:
        made = ref()
        chosen = getattr(getattr(made, "config", None), "_attn_implementation", None)
        if isinstance(chosen, str):
            return chosen
    if describe.cuda_ready() is None:
        return None
    cuda = sys.modules["torch"].backends.cuda
    names = ("flash_sdp_enabled", "mem_efficient_sdp_enabled", "cudnn_sdp_enabled")
    return None if any(getattr(cuda, name, bool)() for name in names) else "math"


def _compiler() -> dict[str, Any] | None:
    """Counters of torch.compile; None while it was not used."""
    utils, convert = sys.modules.get("torch._dynamo.utils"), sys.modules.get("torch._dynamo.convert_frame")
    if utils is None or convert is None:
        return None
    limits = sys.modules["torch._dynamo.config"]
    compiles = list(convert.FRAME_COMPILE_COUNTER.values())
    spent = getattr(utils, "cumulative_time_spent_ns", {})  # since 2.6
    seconds = sum(spent.get(f"entire_{way}_compile", 0) for way in ("frame", "backward")) / 1e9
    if not spent:
        lists = dict(utils.compilation_time_metrics).items()
        seconds = sum(sum(times) for name, times in lists if name.endswith("compile_inner"))
    return {
        "frames": utils.counters["frames"].get("ok", 0),
        "compiles": sum(compiles),
        "recompiles": sum(count - 1 for count in compiles if count > 1),
        "worst": max(compiles, default=0),
        "limit": getattr(limits, "recompile_limit", getattr(limits, "cache_size_limit", None)),
        "breaks": sum(utils.counters["graph_break"].values()),
        "seconds": seconds,
    }


def _arch() -> dict[str, Any] | None:
    """The GPU's architecture and those that this build of torch has code for; None without CUDA."""
    cuda = describe.cuda_ready()
    if cuda is None or sys.modules["torch"].version.cuda is None:
        return None
    return {"device": list(cuda.get_device_capability()), "built": list(cuda.get_arch_list())}


def reset() -> None:
    """A forked child has what the parent made; its compiler counts on from there."""
    seen.early = None
