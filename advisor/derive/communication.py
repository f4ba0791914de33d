"""Formulas about exchanging gradients: how many bytes, how long on the link at hand, in which pieces.

An all-reduce of S bytes over n ranks moves 2(n-1)/n * S through the slowest link of each rank (nccl-tests,
PERFORMANCE.md); that over the rate of the link is its time, and each of its 2(n-1) hops costs a latency besides.
"""

from __future__ import annotations

import math

from advisor.derive.formula import formula

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
MIB = 2.0**20
DEFAULT_MIB = 25.0  # DDP's bucket_cap_mb
BUCKETS = 4  # so many at least, so that the first exchanges run behind the rest of the backward pass
LATENCY_SHARE = 0.1  # of the time of a bucket


@formula("derived.comm.gradient.bytes", "config.model.parameters", "config.model.dtype", "config.distributed.strategy")
def gradient_bytes(parameters: float, dtype: str, strategy: str) -> float | None:
    """Bytes of gradient that each rank reduces per step under DDP: one value per parameter, of the parameters' dtype.

    >>> gradient_bytes(1e9, "float32", "DDP"), gradient_bytes(1e9, "torch.bfloat16", "DDP")
    (4000000000.0, 2000000000.0)
    >>> gradient_bytes(1e9, "float32", "FSDP"), gradient_bytes(1e9, "int8", "DDP")
    (None, None)
    """
    size = _BYTES.get(dtype.removeprefix("torch."))
    return parameters * size if size and strategy == "DDP" else None


def _all_reduce(size: float, ranks: float, rate: float) -> float | None:
    return 2 * (ranks - 1) / ranks * size / rate if ranks > 1 and rate > 0 else None


@formula("derived.comm.allreduce.time", "derived.comm.gradient.bytes", "config.distributed.world_size", "comm.busbw")
def all_reduce_time(size: float, ranks: float, busbw: float) -> float | None:
    """Time to reduce the gradients at the measured bus bandwidth (bytes per second).

    >>> all_reduce_time(4e9, 8.0, 70e9), all_reduce_time(4e9, 1.0, 70e9)
    (0.1, None)
    """
    return _all_reduce(size, ranks, busbw)


@formula(
    "derived.comm.allreduce.nominal.time",
    "derived.comm.gradient.bytes",
    "config.distributed.nodes",
    "system.network.link.speed",
)
def all_reduce_nominal(size: float, nodes: float, speed: float) -> float | None:
    """Time to reduce the gradients between hosts at the rated speed of the network interface: it cannot be less.

    Every host has to send and to receive 2(N-1)/N of the gradients for N hosts, whatever the algorithm of its ranks.

    >>> all_reduce_nominal(4e9, 2.0, 1.25e9), all_reduce_nominal(4e9, 1.0, 1.25e9)
    (3.2, None)
    """
    return _all_reduce(size, nodes, speed)


@formula(
    "derived.comm.allreduce.backward.ratio",
    "derived.comm.allreduce.nominal.time",
    "ml.step.backward.fraction",
    "ml.step.time",
)
def all_reduce_to_backward(exchange: float, share: float, step: float) -> float | None:
    """The exchange at the link's rated speed over the backward pass that it can hide behind; above 1 it cannot.

    >>> all_reduce_to_backward(3.2, 0.5, 4.0), all_reduce_to_backward(3.2, 0.0, 4.0)
    (1.6, None)
    """
    backward = share * step
    return exchange / backward if backward > 0 else None


@formula(
    "derived.ddp.bucket.recommended",
    "derived.comm.gradient.bytes",
    "config.distributed.world_size",
    optional=("system.network.rtt", "comm.busbw", "system.network.link.speed", "config.distributed.nodes"),
)
def bucket(
    size: float,
    ranks: float,
    rtt: float | None,
    busbw: float | None,
    speed: float | None,
    nodes: float | None,
) -> float | None:
    """DDP's bucket_cap_mb (MiB): large enough that latency is a tenth of its time, small enough for four buckets.

    A bucket of b bytes takes ``2(n-1) * rtt/2 + 2(n-1)/n * b/rate``, so latency is a tenth of it at ``b = 9 n rate
    rtt/2``. Never less than DDP's default of 25 MiB, and never more than a quarter of the gradients, as one bucket
    for everything cannot overlap (Li et al. 2020, arXiv 2006.15704). Without a measured round trip, or for ranks of
    one host, the default counts, bounded by the four buckets.

    >>> bucket(4e9, 8.0, 1e-4, 10e9, None, 2.0), bucket(4e9, 8.0, 1e-4, 1e9, None, 2.0)
    (34.0, 25.0)
    >>> bucket(40e6, 8.0, None, None, None, None), bucket(4e9, 1.0, 1e-4, 10e9, None, 2.0)
    (9.0, None)
    """
    if ranks <= 1:
        return None
    rate = busbw or speed
    wanted = DEFAULT_MIB
    if rtt is not None and rate and nodes is not None and nodes > 1:
        wanted = max(wanted, (1 / LATENCY_SHARE - 1) * ranks * rate * rtt / 2 / MIB)
    return float(max(1, math.floor(min(wanted, size / BUCKETS / MIB))))
