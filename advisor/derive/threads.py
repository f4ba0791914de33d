"""Formulas about the threads that operators on the CPU use, beside the ranks and the loader workers of the host."""

from __future__ import annotations

import math

from advisor.derive.formula import formula


@formula("derived.torch.threads.per_rank", "derived.cpu.per_rank")
def threads_per_rank(cpus: float) -> float:
    """Intra-op threads that fill the rank's CPUs without oversubscribing them.

    >>> threads_per_rank(12.0), threads_per_rank(0.5)
    (12.0, 1.0)
    """
    return float(max(1, math.floor(cpus)))


@formula("derived.torch.threads.misfit", "config.omp_num_threads", "derived.torch.threads.per_rank")
def threads_misfit(threads: float, fitting: float) -> float | None:
    """Factor by which the intra-op threads are above or below the number that fits; 1 means that they fit.

    >>> threads_misfit(2.0, 32.0), threads_misfit(64.0, 4.0), threads_misfit(0.0, 4.0)
    (16.0, 16.0, None)
    """
    return max(threads / fitting, fitting / threads) if threads > 0 else None


@formula(
    "derived.torch.threads.recommended",
    "derived.cpu.per_rank",
    "config.dataloader.num_workers",
    optional=("ml.dataloader.batch.cpu_time", "ml.step.compute.time", "ml.step.batches"),
)
def threads_beside_workers(
    cpus: float, workers_: float, cpu_time: float | None, compute: float | None, batches: float | None
) -> float:
    """Intra-op threads per rank for the CPUs that its loader workers leave, at least one.

    Workers that keep up use ``batches * cpu_time / compute`` CPUs (utilisation law), no more than one each; one each
    as well while their time is unknown.

    >>> threads_beside_workers(12.0, 4.0, None, None, None), threads_beside_workers(12.0, 4.0, 0.1, 0.2, 1.0)
    (8.0, 11.0)
    >>> threads_beside_workers(4.0, 8.0, 0.9, 0.1, 1.0), threads_beside_workers(2.5, 0.0, None, None, None)
    (1.0, 2.0)
    """
    loading = workers_
    if cpu_time is not None and compute:
        loading = min(workers_, (batches or 1.0) * cpu_time / compute)
    return float(max(1, math.floor(cpus - loading)))


@formula(
    "derived.torch.threads.fewer",
    "derived.torch.threads.per_rank",
    optional=("derived.torch.threads.recommended", "config.omp_num_threads"),
)
def fewer_threads(fitting: float, beside: float | None, now: float | None) -> float | None:
    """Threads per rank to come down to: beside the loader workers where those are known; None where no more run now.

    >>> fewer_threads(4.0, None, None), fewer_threads(4.0, 2.0, 8.0), fewer_threads(4.0, None, 1.0)
    (4.0, 2.0, None)
    """
    wanted = fitting if beside is None else beside
    return wanted if now is None or now > wanted else None
