"""Facts from what the hook saw of the distributed setup: strategy, wrappers' arguments, communication per step.

Pure, like `training_model`. Communication is what DDP measured itself, plus, when tensors are on the CPU, the time
the training thread was blocked in collectives that Python waits for. With NCCL a wait does not block the thread,
so without DDP the exposed share stays unknown and a trace has to tell.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from advisor.collect.base import Facts
from advisor.collect.training_steps import Steps

WARM = 2  # rows of the first steps that are left out
STEADY = 0.03  # largest standard error of the exposed share with which ranks are compared


def parallel_facts(facts: Facts, process: Mapping[str, Any], steps: Steps, ranks_here: int) -> None:
    """Everything about ranks; nothing before the first optimizer step."""
    extras, found = process.get("extras") or {}, process["process"]
    setup, traffic = extras.get("distributed") or {}, extras.get("traffic")
    if found is None or not setup:
        return
    world = int((found["distributed"] or {}).get("world_size") or 1)
    device = (found["optimizer"] or {}).get("device")
    _layout_facts(facts, setup, world)
    _node_facts(facts, setup, found, device, world, ranks_here)
    for ddp in (setup.get("ddp") or [])[:1]:
        facts.add("config.ddp.bucket_cap", ddp["bucket_cap"], "By")
        facts.add("config.ddp.find_unused_parameters", ddp["find_unused_parameters"], "{bool}")
        facts.add("config.ddp.static_graph", ddp["static_graph"], "{bool}")
        facts.add("config.ddp.gradient_as_bucket_view", ddp["gradient_as_bucket_view"], "{bool}")
    if traffic is not None:
        rows = _usual(traffic["rows"])
        _accumulation_facts(facts, traffic["wrapped"], rows, steps)
        if world > 1:
            _communication_facts(facts, setup, traffic, rows, steps, device)


def rank_facts(facts: Facts, processes: Sequence[Mapping[str, Any]]) -> None:
    """How far apart the ranks of this host begin to exchange the gradients of one iteration, the median.

    Only for the CPU: on a GPU DDP notes when the host has come there, which may be well before the device.
    """
    began: dict[tuple[float, float], list[float]] = {}
    for process in processes:
        if ((process["process"] or {}).get("optimizer") or {}).get("device") != "cpu":
            return
        setup = (process.get("extras") or {}).get("distributed") or {}
        for row in setup.get("times") or []:
            if row[1] > WARM and row[4]:
                began.setdefault((row[0], row[1]), []).append(row[4])
    gaps = [max(starts) - min(starts) for starts in began.values() if len(starts) == len(processes) > 1]
    if len(gaps) >= 5:
        facts.add("trace.comm.wait_skew", statistics.median(gaps) / 1e9, "s")


def _layout_facts(facts: Facts, setup: Mapping[str, Any], world: int) -> None:
    sizes = _sizes(setup, world)
    base = _base(setup, world)
    if base is not None:
        parts = [base, *(name.upper() for name in ("tp", "pp", "cp") if sizes.get(name, 1) > 1)]
        facts.add("config.distributed.strategy", "+".join(parts), "{string}")
    for short, name, unit in (
        ("tp", "config.tensor_parallel.size", "{gpu}"),
        ("pp", "config.pipeline.stages", "{stage}"),
        ("cp", "config.context_parallel.size", "{gpu}"),
    ):
        facts.add(name, sizes.get(short), unit)


def _base(setup: Mapping[str, Any], world: int) -> str | None:
    kinds = setup.get("kinds") or {}
    for engine in setup.get("deepspeed") or []:
        return f"ZeRO-{engine['stage']}" if engine["stage"] else "DDP"
    if kinds.get("FSDP") or kinds.get("FSDP2"):
        return "FSDP"
    if kinds.get("ZeRO-1"):
        return "ZeRO-1"
    if kinds.get("DDP"):
        return "DDP"
    if any(devices != 1 for devices in setup.get("dp_devices") or []):
        return "DP"
    return "none" if world == 1 and kinds else None


def _sizes(setup: Mapping[str, Any], world: int) -> dict[str, int]:
    """Degrees of tensor, pipeline and context parallelism, as far as something says them."""
    sizes: dict[str, int] = dict(setup.get("megatron") or {})
    for mesh in setup.get("meshes") or []:
        for name, size in mesh.items():
            short = {"sp": "cp", "ulysses": "cp"}.get(name, name)
            if short in ("tp", "pp", "cp"):
                sizes[short] = max(size, sizes.get(short, 1))
    wrappers = [w for kind in ("ddp", "fsdp", "fsdp2") for w in setup.get(kind) or []]
    if not sizes and not setup.get("splitting", True) and (world == 1 or any(w["group"] == world for w in wrappers)):
        return {"tp": 1, "pp": 1, "cp": 1}  # the data-parallel group is the whole job: nothing else is split
    return sizes


def _node_facts(
    facts: Facts, setup: Mapping[str, Any], found: Mapping[str, Any], device: str | None, world: int, ranks_here: int
) -> None:
    local = int((found["distributed"] or {}).get("local_world_size") or 0)
    nodes = int(setup.get("nodes") or 0) if world > 1 else 1
    if not nodes and world > 1:
        nodes = round(world / local) if local else 1 if ranks_here == world else 0
    if nodes:
        facts.add("config.distributed.nodes", nodes, "{host}")
    if device == "cuda":
        per_node = local or (round(world / nodes) if nodes else 0)
        facts.add("config.gpus_per_node", max(per_node, *setup.get("dp_devices") or [0]) or None, "{gpu}")
    if world > 1:
        names = setup.get("nccl") or {}
        facts.add("config.nccl.env", " ".join(f"{n}={v}" for n, v in sorted(names.items())) or "none", "{string}")


def _usual(rows: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Rows of steps as most are: without the first ones, and without evaluation or a checkpoint in them."""
    warm = rows[WARM:]
    if not warm:
        return []
    longest = 3 * statistics.median(row[0] for row in warm)
    return [row for row in warm if row[0] <= longest]


def _accumulation_facts(facts: Facts, wrapped: bool, rows: Sequence[Sequence[float]], steps: Steps) -> None:
    """Backward passes are micro-batches when there are as many batches, or no loader that could tell."""
    if not rows:
        return
    backwards = statistics.median(row[1] for row in rows)
    batches = steps.sums["batches"] / steps.count if steps.count and steps.loaders else None
    if backwards >= 1 and (batches is None or abs(batches - backwards) <= 0.05 * backwards):
        facts.add("ml.gradient_accumulation.steps", backwards, "{step}")
    if wrapped and backwards >= 2:
        synced = statistics.median(row[2] for row in rows)
        if synced in (1, backwards):
            facts.add("config.no_sync", synced == 1, "{bool}")


def _communication_facts(
    facts: Facts,
    setup: Mapping[str, Any],
    traffic: Mapping[str, Any],
    rows: Sequence[Sequence[float]],
    steps: Steps,
    device: str | None,
) -> None:
    if not rows:
        return
    synced = statistics.median(row[2] for row in rows)
    calls = statistics.mean(row[3] for row in rows)
    buckets = [size for ddp in setup.get("ddp") or [] for size in ddp["buckets"]]
    count = calls + len(buckets) * synced
    if count:
        facts.add("trace.comm.count.per_step", count, "{collective}")
        weights = [(size, synced * len(rows)) for size in buckets] + [(s, n) for s, n in traffic["sizes"]]
        facts.add("trace.comm.message_size.median", _median(weights), "By")
    timed = [row for row in setup.get("times") or [] if row[1] > WARM]
    if (setup.get("ddp") and not timed) or (not setup.get("ddp") and (device != "cpu" or not calls)):
        return  # something exchanges tensors and nothing here has timed it
    spans = [row[5] if synced <= 1 else row[6] for row in timed]  # DDP speaks about the exchange before the last
    shares = [(row[2] - row[3]) / 1e9 * synced / span for row, span in zip(timed, spans, strict=True) if span > 0]
    if device == "cpu" and calls:
        blocked = [row[4] / row[0] for row in rows]
        shares = [share + statistics.mean(blocked) for share in shares] or blocked
    exposed = min(1.0, statistics.mean(shares))
    facts.share("trace.comm.exposed.fraction", exposed)
    if timed:
        facts.share("trace.comm.overlap.fraction", sum(row[3] for row in timed) / sum(row[2] for row in timed))
    # Shares that jump from step to step say what a step loses, but not which of two ranks needs longer.
    if len(shares) >= 8 and statistics.stdev(shares) / len(shares) ** 0.5 <= STEADY and steps.count:
        waited = steps.sums["wait"] / steps.total
        facts.add("ml.step.local.time", max(0.0, 1 - waited - exposed) * steps.total / steps.count, "s")


def _median(weights: Sequence[tuple[float, float]]) -> float | None:
    left = sum(weight for _, weight in weights) / 2
    for size, weight in sorted(weights):
        left -= weight
        if left <= 0 < weight:
            return float(size)
    return None
