"""Facts from what the hook wrote about settings: the process, its loader, its device memory.

Pure: the arguments are parts of the capture that `training.read` returns. Step times are in `training_steps`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from advisor.collect.base import Facts, ratio, slope


def place(where: str | None, cwd: str) -> str | None:
    """``file:line`` relative to the working directory when the file is inside it."""
    if where is None or not os.path.isabs(where):
        return where
    inside = os.path.commonpath([where, cwd]) == os.path.normpath(cwd)
    return os.path.relpath(where, cwd) if inside else where


def process_facts(facts: Facts, process: Mapping[str, Any], ranks_here: int) -> None:
    """Versions, modes, model and distribution; nothing before the first optimizer step."""
    found = process["process"]
    if found is None:
        return
    facts.add("config.python.version", found["python"], "{version}")
    facts.add("config.torch.version", found["torch"], "{version}")
    facts.add("config.torch.cuda_build", found["cuda_build"] or "none", "{version}")
    available = found["cuda_available"] or None
    facts.add("config.torch.cuda_available", available if found["cuda_build"] else False, "{bool}")
    facts.add("config.omp_num_threads", found["threads"], "{thread}")
    facts.add("config.deterministic", found["deterministic"], "{bool}")
    facts.add("config.anomaly_mode", found["anomaly"], "{bool}")
    facts.add("config.cudnn.benchmark", found["cudnn_benchmark"], "{bool}")
    facts.add("config.launch_blocking", found["launch_blocking"] not in (None, "", "0"), "{bool}")
    facts.add("config.compile.enabled", found["compiled"], "{bool}")
    # With offloading the optimizer's parameters are on the CPU while the GPU computes: memory held there tells.
    on_device = any(counters.get("allocated_peak") for _, counters in process["memory"])
    _model(facts, found["optimizer"] or {}, found["torch"], on_device)
    distributed = found["distributed"] or {}
    facts.add("comm.backend", distributed.get("backend"), "{string}")
    world = int(distributed.get("world_size") or 1)
    facts.add("config.distributed.world_size", world, "{rank}")
    local = distributed.get("local_world_size") or (ranks_here if world > 1 else 1)
    facts.add("config.distributed.local_world_size", int(local), "{rank}")


def _model(facts: Facts, found: Mapping[str, Any], torch: str, on_device: bool) -> None:
    if not found.get("parameters"):
        return
    device = found["device"]
    facts.add("run.gpu.used", device == "cuda" or on_device, "{bool}")
    facts.add("config.model.device", device, "{string}")
    facts.add("config.model.dtype", found["dtype"], "{string}")
    facts.add("config.model.parameters", found["parameters"], "{parameter}")
    facts.add("config.model.tensors", found.get("tensors"), "{tensor}")
    facts.add("config.optimizer", found["class"], "{string}")
    if found["fused"]:
        facts.add("config.optimizer.implementation", "fused", "{string}")
    elif found["foreach"]:
        facts.add("config.optimizer.implementation", "foreach", "{string}")
    elif found["has_foreach"]:
        # Left to PyTorch: foreach on CUDA since 2.0, the loop on the CPU.
        chosen = found["foreach"] is None and device == "cuda" and not torch.startswith(("0.", "1."))
        facts.add("config.optimizer.implementation", "foreach" if chosen else "for-loop", "{string}")


def loader_facts(facts: Facts, loader: Mapping[str, Any], workers: Sequence[Mapping[str, Any]], cwd: str) -> None:
    """Settings with the line that made the loader, and the cost of one batch in the process that loads it."""
    where = place(loader["where"], cwd)
    facts.add("config.dataloader.num_workers", loader["num_workers"], "{worker}", where)
    facts.add("config.dataloader.batch_size", loader["batch_size"], "{sample}", where)
    facts.add("config.dataloader.pin_memory", loader["pin_memory"], "{bool}", where)
    facts.add("config.dataloader.persistent_workers", loader["persistent_workers"], "{bool}", where)
    facts.add("config.dataloader.prefetch_factor", loader["prefetch_factor"], "{batch}", where)
    facts.add("config.dataloader.dataset", loader["dataset"], "{string}", where)
    facts.add("config.dataloader.iterable", loader["iterable"], "{bool}", where)
    own = [w for w in workers if (w["dataset"], w["length"]) == (loader["dataset"], loader["length"])] or workers
    batch = _in_workers(own) if loader["num_workers"] else _in_process(loader)
    if batch is not None:
        wall, cpu, delay, collate = batch
        facts.add("ml.dataloader.batch.time", wall, "s", where)
        facts.add("ml.dataloader.batch.cpu_time", None if cpu is None else min(cpu, wall), "s", where)
        facts.add("ml.dataloader.batch.run_delay", None if delay is None else min(delay, wall), "s", where)
        facts.share("ml.dataloader.collate.fraction", ratio(collate, wall), where)


def _in_process(loader: Mapping[str, Any]) -> tuple[float, float | None, float | None, float] | None:
    """Wall, CPU, run delay and collate seconds of a batch; the first is left out when there are more."""
    first = int(loader["batches"] > 1)
    batches = loader["batches"] - first
    if batches <= 0:
        return None
    wall = (loader["wall"] - first * loader["first_wall"]) / batches
    collate = (loader["collate"] - first * loader["first_collate"]) / batches
    return wall, ratio(loader["cpu"], loader["timed"]), ratio(loader["delay"], loader["timed"]), collate


def _in_workers(workers: Sequence[Mapping[str, Any]]) -> tuple[float, float | None, float | None, float] | None:
    """The same over all workers, each process without its first batch; that one when there are no others."""
    batches = sum(w["batches"] for w in workers)
    if batches <= 0:
        firsts = [w["first"] for w in workers if w.get("first") is not None]
        return (sum(firsts) / len(firsts), None, None, 0.0) if firsts else None
    names = ("wall", "cpu", "delay", "collate")
    wall, cpu, delay, collate = (sum(w.get(name, 0.0) for w in workers) / batches for name in names)
    return wall, cpu, delay, collate


def memory_facts(facts: Facts, snapshots: Sequence[Sequence[Any]]) -> None:
    """The allocator's counters; `snapshots` are (steps done, counters), and rates need two of them."""
    if not snapshots:
        return
    last = snapshots[-1][1]
    peak, reserved = last.get("allocated_peak"), last.get("reserved_peak")
    facts.add("torch.cuda.memory.allocated.peak", peak, "By")
    if peak is not None and reserved:
        facts.share("torch.cuda.memory.reserved_unused.fraction", (reserved - peak) / reserved)
    split = ratio(last.get("inactive_split"), last.get("reserved"))
    facts.share("torch.cuda.memory.inactive_split.fraction", split)
    facts.add("torch.cuda.memory.alloc_retries", last.get("alloc_retries"), "{retry}")
    facts.add("torch.cuda.memory.ooms", last.get("ooms"), "{error}")
    warm = [(steps, counters) for steps, counters in snapshots if steps >= 10]
    if len(warm) < 2 or warm[-1][0] == warm[0][0]:
        return
    steps = warm[-1][0] - warm[0][0]
    for name, counter in (("device_alloc", "device_alloc"), ("device_free", "device_free")):
        if counter in last and counter in warm[0][1]:
            grown = last[counter] - warm[0][1][counter]
            facts.add(f"torch.cuda.memory.{name}.rate", grown / steps, "{call}/step")
    held = [(float(s), float(c["allocated"])) for s, c in warm if "allocated" in c]
    if held and peak:
        # Between steps the activations are gone: what the peak has above that is theirs (and the workspaces').
        facts.share("torch.cuda.memory.activation.share", 1 - statistics.median(b for _, b in held) / peak)
    if len(held) >= 5:
        facts.add("torch.cuda.memory.allocated.slope", slope([s for s, _ in held], [b for _, b in held]), "By/step")
