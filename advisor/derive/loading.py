"""Formulas about data loading and the step it feeds."""

from __future__ import annotations

import math

from advisor.derive.formula import formula

TINY_S = 1e-4  # seconds of a step per operation, above which the operation has work of its own


@formula("ml.dataloader.batch.cpu.fraction", "ml.dataloader.batch.cpu_time", "ml.dataloader.batch.time")
def loader_cpu_share(cpu: float, wall: float) -> float | None:
    """CPU time over wall time of loading a batch: near 1 the loader computes, near 0 it waits for storage.

    >>> loader_cpu_share(0.1, 0.2)
    0.5
    """
    return min(1.0, cpu / wall) if wall > 0 else None


@formula(
    "derived.dataloader.workers.needed",
    "ml.dataloader.batch.time",
    "ml.step.compute.time",
    optional=("ml.step.batches",),
)
def workers_needed(batch: float, compute: float, batches: float | None) -> float | None:
    """Workers per rank so that a batch is ready whenever the step needs one.

    One worker delivers a batch every `batch` seconds and a step takes `compute` seconds without waiting, so
    ``batches * batch / compute`` workers keep up (queueing theory's utilisation law); a quarter more absorbs
    the spread of load times.

    >>> workers_needed(0.79, 0.137, 1.0), workers_needed(0.2, 0.1, None)
    (8.0, 3.0)
    """
    return float(math.ceil(1.25 * (batches or 1.0) * batch / compute)) if compute > 0 else None


@formula(
    "derived.dataloader.workers.recommended",
    "derived.dataloader.workers.needed",
    "derived.cpu.per_rank",
    optional=("ml.dataloader.batch.cpu.fraction",),
)
def workers(needed: float, cpus: float, busy: float | None) -> float:
    """Workers per rank that keep up, as far as the rank's CPUs carry them.

    Each worker needs `busy` of a CPU (all of one when unknown), and one CPU stays with the training process.

    >>> workers(8.0, 12.0, 1.0), workers(8.0, 4.0, None), workers(3.0, 2.0, 0.1)
    (8.0, 3.0, 3.0)
    """
    affordable = math.floor((cpus - 1.0) / max(0.1, min(1.0, 1.0 if busy is None else busy)))
    return float(max(1, min(needed, affordable)))


@formula(
    "derived.dataloader.workers.won.fraction",
    "ml.step.time",
    "ml.step.compute.time",
    "ml.dataloader.batch.time",
    "derived.dataloader.workers.recommended",
    optional=("ml.step.batches",),
)
def won_by_workers(step: float, compute: float, batch: float, workers_: float, batches: float | None) -> float | None:
    """Share of the step that the recommended workers win back at most.

    With workers a step takes the longer of computing and of delivering its batches: ``max(compute, batches * batch /
    workers)`` (pipelining; the stages overlap fully at best).

    >>> won_by_workers(0.8, 0.2, 0.6, 1.0, None), won_by_workers(0.8, 0.2, 0.6, 4.0, 1.0)
    (0.25, 0.75)
    """
    if step <= 0 or workers_ <= 0:
        return None
    after = max(compute, (batches or 1.0) * batch / workers_)
    return round(max(0.0, 1.0 - after / step), 6)


@formula(
    "derived.dataloader.workers.missing",
    "derived.dataloader.workers.recommended",
    "config.dataloader.num_workers",
)
def missing_workers(recommended: float, configured: float) -> float:
    """Recommended workers minus those configured; negative when there are more than needed.

    >>> missing_workers(6, 2)
    4
    """
    return recommended - configured


@formula("derived.speedup.without_data_wait", "ml.step.data_wait.exposed.fraction")
def speedup_without_wait(exposed: float) -> float | None:
    """Amdahl's bound: step time over step time without the exposed data wait.

    >>> speedup_without_wait(0.5), speedup_without_wait(1.0)
    (2.0, None)
    """
    return 1.0 / (1.0 - exposed) if exposed < 1.0 else None


@formula(
    "ml.preprocess.samples.rate.ratio",
    "ml.dataloader.alone.batch.time",
    "ml.step.time",
    optional=("ml.step.batches",),
)
def loader_alone(alone: float, step: float, batches: float | None) -> float | None:
    """Batches per second of the loader alone, over those that training takes: 1 and less, the loader sets the pace.

    >>> loader_alone(0.02, 0.1, 1.0), loader_alone(0.05, 0.1, 2.0), loader_alone(0.0, 0.1, None)
    (5.0, 1.0, None)
    """
    return step / (batches or 1.0) / alone if alone > 0 else None


@formula("derived.step.tiny_operations", "ml.step.operations", "config.model.tensors", "ml.step.time")
def tiny_operations(operations: float, tensors: float, time: float) -> float | None:
    """Operations per parameter tensor where they are tiny, so that calling them is what takes the time; else 0.

    A call costs 5 to 20 us with its backward; an operation of more than 0.1 ms has work of its own.

    >>> tiny_operations(3826.0, 6.0, 0.082), tiny_operations(150.0, 3.0, 0.035)
    (637.6666666666666, 0.0)
    """
    if tensors <= 0 or operations <= 0:
        return None
    return operations / tensors if time / operations < TINY_S else 0.0
