"""Facts from what the hook saw of the model, of torch.compile and of the batches.

Pure: the arguments are one process of the capture that `training.read` returns, and the steps that count. A part
that the hook did not write, or lost, gives no facts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from advisor.collect.base import Facts
from advisor.collect.training_steps import Steps

PRECISIONS = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def model_facts(facts: Facts, process: Mapping[str, Any]) -> None:
    """Precision, layout, checkpointing, offload, attention, compilation; nothing before the first optimizer step."""
    extras, found = process.get("extras") or {}, process["process"]
    model, distributed = extras.get("model"), extras.get("distributed") or {}
    if found is None or model is None:
        return
    optimizer = found["optimizer"] or {}
    layout = model["layout"]
    facts.add("config.precision.compute", _precision(model, distributed, optimizer), "{string}")
    if any(layout.values()):
        facts.add("config.memory_format", max(layout, key=lambda name: layout[name]), "{string}")
    facts.add("config.gradient_checkpointing", _checkpointing(model, process["ends"]), "{bool}")
    facts.add("config.attention.backend", model["attention"], "{string}")
    on_device = any(counters.get("allocated_peak") for _, counters in process["memory"])
    facts.add("config.offload", _offload(distributed, optimizer.get("device"), on_device), "{bool}")
    facts.add("config.torch.arch_native", _native(model["arch"]), "{bool}")
    _compile_facts(facts, model, found["compiled"], process["ends"])


def _precision(model: Mapping[str, Any], distributed: Mapping[str, Any], optimizer: Mapping[str, Any]) -> str | None:
    """Of autocast, else of the wrapper, else of the parameters; None when something else may decide."""
    device, dtype = optimizer.get("device"), optimizer.get("dtype")
    casts = {name.split()[1]: often for name, often in model["casts"].items() if name.split()[0] == device}
    wrappers = [*(distributed.get(kind) or [] for kind in ("fsdp", "fsdp2", "deepspeed"))]
    wrapped = [w["dtype"].replace("torch.", "") for some in wrappers for w in some if w.get("dtype")]
    chosen = max(casts, key=lambda name: casts[name]) if casts else next((d for d in wrapped if d in PRECISIONS), dtype)
    if not casts and chosen == "float32" and (_frames(model) or distributed.get("megatron")):
        return None  # a compiled region enters autocast unseen; Megatron's optimizer holds copies in float32
    if chosen == "float32" and model["tf32"] and device == "cuda":
        return "tf32"
    return PRECISIONS.get(chosen) if chosen else None


def _frames(model: Mapping[str, Any]) -> int:
    return int((model["compiler"] or {}).get("frames", 0))


def _checkpointing(model: Mapping[str, Any], ends: int) -> bool | None:
    if model["checkpoints"]:
        return True
    return None if _frames(model) or model["own_checkpoints"] or ends < 2 else False


def _offload(distributed: Mapping[str, Any], device: str | None, on_device: bool) -> bool | None:
    wrappers = [w for kind in ("fsdp", "fsdp2", "deepspeed") for w in distributed.get(kind) or []]
    if any(w["offload"] for w in wrappers) or (device == "cpu" and on_device):
        return True
    return False if device == "cuda" else None


def _native(arch: Mapping[str, Any] | None) -> bool | None:
    """Whether the build has code for this GPU: of its own architecture, or of a lower minor of the same major."""
    if arch is None:
        return None
    major, minor = arch["device"]
    numbers = [name[3:] for name in arch["built"] if name.startswith("sm_")]
    exact = f"{major}{minor}"
    plain = [int(n) for n in numbers if n.isdigit()]
    return any(n.rstrip("af") == exact for n in numbers) or any(n // 10 == major and n % 10 <= minor for n in plain)


def _compile_facts(facts: Facts, model: Mapping[str, Any], known: bool | None, ends: int) -> None:
    now, early = model["compiler"], model["early"] or {}
    if not _frames(model):
        if known is None and ends >= 2:
            facts.add("config.compile.enabled", False, "{bool}")
        return
    if not known:
        facts.add("config.compile.enabled", True, "{bool}")
    facts.add("ml.compile.time", now["seconds"], "s")
    if model["early"] is not None:
        facts.add("trace.recompile.count", now["recompiles"] - early["recompiles"], "{event}")
        # Breaks are counted when a frame is compiled; compiling it again counts the same break again.
        facts.add("trace.graph_break.count", early["breaks"] if early["frames"] else now["breaks"], "{event}")
    if now["limit"]:
        facts.add("trace.recompile.limit_hit", now["worst"] > now["limit"], "{bool}")


def batch_facts(facts: Facts, process: Mapping[str, Any], steps: Steps, loader: int, where: str | None) -> None:
    """Bytes, sequence lengths, padding, tokens per second and input dtype of the loader that feeds the training."""
    seen = ((process.get("extras") or {}).get("batches") or {}).get(str(loader))
    if seen is None:
        return
    dtypes = seen["dtypes"]
    facts.add("config.input.dtype", max(dtypes, key=lambda d: dtypes[d]) if dtypes else None, "{string}", where)
    if seen.get("seen"):
        facts.add("ml.dataloader.batch.bytes", seen["bytes"] / seen["seen"], "By", where)
    looks = seen["looks"]
    if not looks:
        return
    tokens = seen["tokens"] / looks
    facts.add("ml.sequence_length.max", seen["longest"] or seen["widest"], "{token}", where)
    if seen["sequences"]:
        facts.add("ml.sequence_length.mean", seen["real"] / seen["sequences"], "{token}", where)
        facts.share("ml.padding.fraction", seen["padding"] / seen["known"], where)
    if looks > 1:
        variance = max(0.0, seen["square"] / looks - tokens * tokens)
        facts.add("ml.batch.tokens.cv", math.sqrt(variance) / tokens, "1", where)
    if steps.count and steps.total > 0:
        facts.add("ml.throughput.tokens", tokens * steps.sums["batches"] / steps.total, "{token}/s")
