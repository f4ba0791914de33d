"""Formulas about how a run uses its devices: accumulation, pipelines, stragglers, scaling, recomputation."""

from __future__ import annotations

import math

from advisor.derive.formula import formula


@formula("ml.gradient_accumulation.steps", "ml.step.batches")
def accumulation(batches: float) -> float | None:
    """Micro-batches per optimizer step: the batches drawn per step, when that is a whole number of at least one.

    >>> accumulation(8.0), accumulation(8.02), accumulation(0.5), accumulation(3.4)
    (8.0, 8.0, None, None)
    """
    steps = float(round(batches))
    return steps if steps >= 1 and abs(batches - steps) <= 0.05 * steps else None


@formula(
    "ml.pipeline.bubble.fraction",
    "config.pipeline.stages",
    "config.pipeline.microbatches",
    optional=("config.pipeline.virtual_stages",),
)
def pipeline_bubble(stages: float, microbatches: float, virtual: float | None) -> float | None:
    """Idle share of a pipeline step: (p-1)/(v*m+p-1), p stages, m micro-batches, v chunks (arXiv 2104.04473).

    >>> round(pipeline_bubble(8, 8, None), 3), round(pipeline_bubble(8, 8, 4), 3), pipeline_bubble(0, 8, None)
    (0.467, 0.179, None)
    """
    if stages < 1 or microbatches < 1:
        return None
    return (stages - 1) / ((virtual or 1.0) * microbatches + stages - 1)


@formula(
    "derived.pipeline.microbatches.recommended",
    "config.pipeline.stages",
    optional=("config.pipeline.virtual_stages",),
)
def microbatches_for_a_tenth(stages: float, virtual: float | None) -> float | None:
    """Micro-batches with which the bubble is a tenth: m = 9(p-1)/v, from (p-1)/(v*m+p-1) = 0.1.

    >>> microbatches_for_a_tenth(8, None), microbatches_for_a_tenth(8, 2), microbatches_for_a_tenth(1, None)
    (63.0, 32.0, None)
    """
    return float(math.ceil(9 * (stages - 1) / (virtual or 1.0))) if stages > 1 else None


# Bytes per second that all NVLinks of a card send (NVIDIA data sheets: half of what they give for both directions).
_NVLINK = {"V100-SXM": 150e9, "A100-SXM": 300e9, "H100 80GB HBM3": 450e9, "H200": 450e9, "B200": 900e9}


@formula(
    "comm.busbw.ratio",
    "comm.busbw",
    optional=(
        "config.distributed.nodes",
        "hw.gpu.model",
        "comm.transport",
        "hw.network.rdma.rate",
        "system.network.link.speed",
    ),
)
def busbw_over_link(
    bus: float, nodes: float | None, model: str | None, path: str | None, rdma: float | None, ethernet: float | None
) -> float | None:
    """Bus bandwidth over the rate of the slowest link on its way: NVLink in one node, the adapters between nodes.

    >>> busbw_over_link(225e9, 1, "NVIDIA H100 80GB HBM3", None, None, None)
    0.5
    >>> busbw_over_link(5e9, 2, None, "NET/IB", 5e10, None)
    0.1
    >>> busbw_over_link(5e9, 2, None, "NET/Socket", 5e10, 12.5e9), busbw_over_link(5e9, 2, None, "NET/IB", None, None)
    (0.4, None)
    """
    inside = next((rate for name, rate in _NVLINK.items() if name in (model or "")), None)
    if nodes is None:
        return None
    outside = ethernet if path == "NET/Socket" else rdma
    link = inside if nodes <= 1 else outside and min(outside, inside or outside)
    return bus / link if link else None


@formula("derived.rank.straggler.fraction", "ml.rank.step_time.spread")
def straggler_share(spread: float) -> float:
    """Share of the slowest rank's compute time beyond the median: (slowest-median)/slowest = s/(1+s).

    A synchronous step takes at least the slowest rank's compute time, so this bounds what balancing can win.

    >>> straggler_share(0.25)
    0.2
    """
    return spread / (1.0 + spread)


@formula("derived.scaling.loss.fraction", "ml.scaling.efficiency")
def scaling_loss(efficiency: float) -> float:
    """Share of the throughput lost to scaling; superlinear scaling loses nothing.

    >>> scaling_loss(0.375), scaling_loss(1.05)
    (0.625, 0.0)
    """
    return min(1.0, max(0.0, 1.0 - efficiency))


@formula("ml.recompute.fraction", "ml.hfu", "ml.mfu")
def recompute_share(hfu: float, mfu: float) -> float | None:
    """Share of the executed FLOPs that only repeat earlier ones (arXiv 2205.05198); None when nothing ran.

    >>> recompute_share(0.5, 0.375), recompute_share(0.4, 0.5), recompute_share(0.0, 0.0)
    (0.25, 0.0, None)
    """
    return max(0.0, (hfu - mfu) / hfu) if hfu > 0 else None
