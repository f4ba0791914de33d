"""How the program spreads over devices: the wrappers it makes, their arguments, and what DDP says about its buckets.

Wrappers are noted when they are made and read at step boundaries. DDP times its communication itself, in the first
ten iterations and every hundredth: reading those numbers waits for nothing. On the CPU, where timing an iteration
is free, it is asked to do so always.
"""

# ruff: noqa: SLF001 - the settings that matter have no public names

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any

from .part import Part

part = Part("looking at the distributed setup")
MOST = 64  # objects of one kind that are kept in mind
SAMPLES = 128  # iterations whose times are kept
READS = {"cpu": (32, 20)}  # DDP's times are read in so many first steps, then in every so many-th; else (12, 100)


class Made:
    """Objects of one kind that the program has made; weak, so that they die when the program lets go."""

    def __init__(self) -> None:
        self.count = 0
        self.refs: list[Any] = []

    def add(self, instance: Any) -> None:
        """Note `instance`; asking the class for the method makes none."""
        if instance is None:
            return
        self.count += 1
        if len(self.refs) >= MOST:
            self.refs = [ref for ref in self.refs if ref() is not None][-MOST + 1 :]
        self.refs.append(weakref.ref(instance))

    def alive(self) -> list[Any]:
        """Those that still exist."""
        return [made for made in (ref() for ref in self.refs) if made is not None]


TIMES = ("iteration", "backward_comm_time", "backward_compute_comm_overlap_time", "backward_comm_time_start")
KINDS = ("DDP", "DP", "FSDP", "FSDP2", "ZeRO-1", "deepspeed", "mesh")
made = {kind: Made() for kind in KINDS}
described: dict[str, Any] = {}
times: list[list[float]] = []
ended: list[float] = []  # when the last three steps ended


def _watch(kind: str, name: str) -> Callable[[ModuleType], None]:
    def place(module: ModuleType) -> None:
        cls = getattr(module, name, None)
        if cls is not None:
            part.put(cls, "__init__", made[kind].add)

    return place


WATCHED = {
    "torch.nn.parallel.distributed": _watch("DDP", "DistributedDataParallel"),
    "torch.nn.parallel.data_parallel": _watch("DP", "DataParallel"),
    "torch.distributed.fsdp.fully_sharded_data_parallel": _watch("FSDP", "FullyShardedDataParallel"),
    "torch.distributed.fsdp._fully_shard._fsdp_param_group": _watch("FSDP2", "FSDPParamGroup"),
    "torch.distributed._composable.fsdp._fsdp_param_group": _watch("FSDP2", "FSDPParamGroup"),
    "torch.distributed.optim.zero_redundancy_optimizer": _watch("ZeRO-1", "ZeroRedundancyOptimizer"),
    "torch.distributed.device_mesh": _watch("mesh", "DeviceMesh"),
    "deepspeed.runtime.engine": _watch("deepspeed", "DeepSpeedEngine"),
}


def syncing() -> bool:
    """Whether the backward pass that begins now exchanges gradients (no_sync is not in force)."""
    return (
        any(ddp.require_forward_param_sync for ddp in made["DDP"].alive())
        or any(module._sync_gradients for module in made["FSDP"].alive()[:1])
        or any(group.reduce_grads for group in made["FSDP2"].alive()[:1])
    )


def wrapped() -> bool:
    """Whether the program uses a wrapper that `syncing` can ask."""
    return bool(made["DDP"].count or made["FSDP"].count or made["FSDP2"].count)


def step_ended(optimizer: Any, ends: int) -> None:
    """Describe the setup after the first steps (DDP makes its buckets anew in them), and take DDP's new times."""
    if ends in (1, 2, 8):
        described.update(_describe())
    if not made["DDP"].count:
        return
    ended.append(perf_counter())
    del ended[:-3]
    device = _device(optimizer)
    first, every = READS.get(device, (12, 100))
    if ends == 1 and device == "cpu":
        for ddp in made["DDP"].alive()[:4]:
            ddp._set_ddp_runtime_logging_sample_rate(1)
    if len(ended) == 3 and (ends <= first or ends % every == 1):
        _read_times()


def _device(optimizer: Any) -> str:
    return next((p.device.type for group in optimizer.param_groups for p in group["params"]), "")


def _read_times() -> None:
    for index, ddp in enumerate(made["DDP"].alive()[:4]):
        data = ddp._get_ddp_logging_data()
        row = [index, *(int(data.get(name, 0)) for name in TIMES)]
        if row[2] > 0 and not any(old[:2] == row[:2] for old in times):
            times.append([*row, ended[1] - ended[0], ended[2] - ended[1]])
            del times[:-SAMPLES]


def _describe() -> dict[str, Any]:
    alive = {kind: made[kind].alive() for kind in KINDS}
    questions: dict[str, Callable[[], Any]] = {
        "kinds": lambda: {kind: len(found) for kind, found in alive.items()},
        "dp_devices": lambda: [len(dp.device_ids) for dp in alive["DP"]],
        "ddp": lambda: [_ddp(ddp) for ddp in alive["DDP"][:4]],
        "fsdp": lambda: [_fsdp(module) for module in alive["FSDP"][:1]],
        "fsdp2": lambda: [_fsdp2(group) for group in alive["FSDP2"][:1]],
        "deepspeed": lambda: [_deepspeed(engine) for engine in alive["deepspeed"][:1]],
        "meshes": lambda: [_mesh(mesh) for mesh in alive["mesh"] if getattr(mesh, "mesh_dim_names", None)],
        "megatron": _megatron,
        "splitting": lambda: [name for name in _SPLITTING if name in sys.modules],
        "nodes": lambda: os.environ.get("GROUP_WORLD_SIZE") or os.environ.get("SLURM_NNODES"),
        "nccl": lambda: {name: value[:80] for name, value in os.environ.items() if name.startswith("NCCL_")},
    }
    found: dict[str, Any] = {}
    for name, ask in questions.items():
        try:
            found[name] = ask()
        except Exception as error:  # another version of a library keeps it elsewhere: the others still count
            found.setdefault("unknown", []).append(f"{name}: {type(error).__name__}: {error}"[:200])
    return found


# Loaded, they can split a model or its sequences in ways that no object here tells of.
_SPLITTING = (
    "torch.distributed.pipelining",
    "megatron",
    "deepspeed.sequence.layer",
    "deepspeed.runtime.pipe.engine",
    "ring_flash_attn",
    "yunchang",
)


def _ddp(ddp: Any) -> dict[str, Any]:
    data = ddp._get_ddp_logging_data()
    sizes = str(data.get("rebuilt_bucket_sizes") or data.get("bucket_sizes") or "")
    return {
        "bucket_cap": getattr(ddp, "bucket_bytes_cap", data.get("bucket_cap_bytes")),
        "find_unused_parameters": bool(ddp.find_unused_parameters),
        "static_graph": bool(getattr(ddp, "static_graph", False)),
        "gradient_as_bucket_view": bool(ddp.gradient_as_bucket_view),
        "buckets": [int(size) for size in sizes.split(",") if size.strip().isdigit()][:256],
        "group": _size(ddp.process_group),
    }


def _fsdp(module: Any) -> dict[str, Any]:
    return {
        "sharding": getattr(getattr(module, "sharding_strategy", None), "name", None),
        "dtype": str(getattr(getattr(module, "mixed_precision", None), "param_dtype", None)),
        "offload": bool(getattr(getattr(module, "cpu_offload", None), "offload_params", False)),
        "group": _size(module.process_group),
    }


def _fsdp2(group: Any) -> dict[str, Any]:
    return {
        "dtype": str(getattr(getattr(group, "mp_policy", None), "param_dtype", None)),
        "offload": type(getattr(group, "offload_policy", None)).__name__ == "CPUOffloadPolicy",
        "group": int(group.mesh_info.mesh.size()),
    }


def _deepspeed(engine: Any) -> dict[str, Any]:
    config = getattr(engine, "_config", None)
    zero = getattr(config, "zero_config", None)
    places = (getattr(zero, name, None) for name in ("offload_optimizer", "offload_param"))
    return {
        "stage": int(engine.zero_optimization_stage()),
        "dtype": "bfloat16" if engine.bfloat16_enabled() else "float16" if engine.fp16_enabled() else None,
        "offload": any(str(getattr(place, "device", "none")).split(".")[-1] != "none" for place in places if place),
        "accumulation": int(engine.gradient_accumulation_steps()),
    }


def _mesh(mesh: Any) -> dict[str, int]:
    return {str(name): int(size) for name, size in zip(mesh.mesh_dim_names, mesh.shape)}  # noqa: B905 - Python 3.8


def _megatron() -> dict[str, int] | None:
    state = sys.modules.get("megatron.core.parallel_state")
    if state is None or not state.model_parallel_is_initialized():
        return None
    return {
        "tp": int(state.get_tensor_model_parallel_world_size()),
        "pp": int(state.get_pipeline_model_parallel_world_size()),
        "cp": int(state.get_context_parallel_world_size()),
    }


def _size(group: Any) -> int | None:
    return int(group.size()) if hasattr(group, "size") else None


def content() -> dict[str, Any]:
    """For the output file; a row of `times` is one iteration of a DDP module.

    It holds the module's index, the iteration, its communication, that part of it which ran beside the backward
    pass, when it began (all in ns), and the seconds of the step before this one and of this step. DDP speaks about
    the iteration before its last.
    """
    return dict(described, times=times)


def reset() -> None:
    """A forked child has the parent's objects, and times of its own."""
    del times[:], ended[:]
