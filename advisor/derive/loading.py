"""Formulas about data loading and the step it feeds."""

from __future__ import annotations

import math

from advisor.derive.formula import formula

TINY_S = 1e-4  # seconds of a step per operation, above which the operation has work of its own


@formula(
    "ml.dataloader.batch.cpu.fraction",
    "ml.dataloader.batch.cpu_time",
    "ml.dataloader.batch.time",
    optional=("ml.dataloader.batch.run_delay",),
)
def loader_cpu_share(cpu: float, wall: float, delay: float | None) -> float | None:
    """CPU time over wall time of loading a batch: near 1 the loader computes, near 0 it waits for storage.

    Time for which it could have run, but other threads had the CPUs, is no part of either: it says how busy the
    machine is, and nothing about the loader.

    >>> loader_cpu_share(0.1, 0.2, None), loader_cpu_share(0.1, 0.5, 0.3)
    (0.5, 0.5)
    """
    able = wall - (delay or 0.0)
    if wall <= 0:
        return None
    return min(1.0, cpu / able) if able > 0 else 1.0


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
    "derived.dataloader.workers.cpu_limit",
    "derived.cpu.per_rank",
    optional=("ml.dataloader.batch.cpu.fraction",),
)
def workers_by_cpu(cpus: float, busy: float | None) -> float:
    """Workers that the CPUs of a rank carry: never more than there are whole CPUs, none on less than one.

    One CPU stays with the training process, and each worker needs `busy` of one (all of it when unknown).

    >>> workers_by_cpu(12.0, 1.0), workers_by_cpu(12.0, 0.1), workers_by_cpu(2.5, None), workers_by_cpu(0.5, 1.0)
    (11.0, 12.0, 1.0, 0.0)
    """
    if cpus < 1:
        return 0.0
    carried = math.floor((cpus - 1.0) / max(0.1, min(1.0, 1.0 if busy is None else busy)) + 1e-9)
    return float(max(1, min(math.floor(cpus), carried)))


@formula(
    "derived.dataloader.workers.memory_limit",
    "config.dataloader.num_workers",
    "process.memory.worker.unique",
    "derived.memory.available",
    optional=("config.distributed.local_world_size",),
)
def workers_by_memory(configured: float, each: float, available: float, ranks: float | None) -> float | None:
    """Workers per rank for which memory is there: those that run, and what fits in nine tenths of the rest.

    `each` is the memory that one worker holds alone, `available` what the host or the container has left for all
    `ranks` on it; a tenth stays free for the spread between workers.

    >>> workers_by_memory(4, 2e9, 10e9, None), workers_by_memory(4, 2e9, 10e9, 2), workers_by_memory(4, 0.0, 10e9, None)
    (8.0, 6.0, None)
    """
    return float(configured + math.floor(0.9 * available / max(1.0, ranks or 1.0) / each)) if each > 0 else None


@formula(
    "derived.dataloader.workers.recommended",
    "derived.dataloader.workers.needed",
    "derived.dataloader.workers.cpu_limit",
    optional=("derived.dataloader.workers.memory_limit",),
)
def workers(needed: float, by_cpu: float, by_memory: float | None) -> float:
    """Workers per rank that keep up, as far as the rank's CPUs and memory carry them; at least one on a whole CPU.

    >>> workers(8.0, 11.0, None), workers(8.0, 3.0, None), workers(8.0, 11.0, 4.0), workers(3.0, 0.0, None)
    (8.0, 3.0, 4.0, 0.0)
    """
    return _carried(needed, by_cpu, by_cpu if by_memory is None else by_memory)


def _carried(needed: float, by_cpu: float, by_memory: float) -> float:
    return float(min(by_cpu, max(1.0, min(needed, by_cpu, by_memory))))


@formula(
    "derived.dataloader.cpus.needed",
    "derived.dataloader.workers.needed",
    optional=("ml.dataloader.batch.cpu.fraction",),
)
def cpus_needed(needed: float, busy: float | None) -> float:
    """CPUs that a rank would need to keep up: its share of one for every worker, and one for the training process.

    >>> cpus_needed(8.0, 1.0), cpus_needed(8.0, 0.3), cpus_needed(8.0, None)
    (9.0, 4.0, 9.0)
    """
    return float(math.ceil(needed * (1.0 if busy is None else min(1.0, busy)) - 1e-9) + 1)


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
    "derived.dataloader.workers.needed",
    "derived.dataloader.workers.cpu_limit",
    "config.dataloader.num_workers",
)
def missing_workers(needed: float, by_cpu: float, configured: float) -> float:
    """Workers that keep up and that the CPUs carry, minus those configured; negative when there are more than needed.

    >>> missing_workers(6.0, 11.0, 2.0), missing_workers(6.0, 3.0, 2.0), missing_workers(1.0, 11.0, 4.0)
    (4.0, 1.0, -3.0)
    """
    return _carried(needed, by_cpu, by_cpu) - configured


@formula("derived.step.skipped.fraction", "ml.step.skipped.count", "ml.step.count")
def skipped_share(skipped: float, steps: float) -> float | None:
    """Share of the steps whose update was thrown away: they were computed for nothing.

    >>> skipped_share(30.0, 100.0), skipped_share(1.0, 0.0)
    (0.3, None)
    """
    return min(1.0, skipped / steps) if steps > 0 else None


@formula("derived.speedup.without_data_wait", "ml.step.data_wait.exposed.fraction")
def speedup_without_wait(exposed: float) -> float | None:
    """Amdahl's bound: step time over step time without the exposed data wait.

    >>> speedup_without_wait(0.5), speedup_without_wait(1.0)
    (2.0, None)
    """
    return 1.0 / (1.0 - exposed) if exposed < 1.0 else None


@formula(
    "derived.data_wait.logged.fraction",
    "ml.step.data_wait.logged.fraction",
    optional=("ml.step.data_wait.exposed.fraction", "trace.gpu.idle.fraction", "hw.gpu.utilization", "run.gpu.used"),
    unless={
        "ml.step.data_wait.exposed.fraction": ("training hook",),
        "trace.gpu.idle.fraction": ("trace",),
        "hw.gpu.utilization": ("nvml",),
        "run.gpu.used": ("training hook",),
    },
)
def logged_wait(
    logged: float, exposed: float | None, idle: float | None, busy: float | None, on_gpu: bool | None
) -> float:
    """The wait for data that the program prints, as far as the device was not measured to have work meanwhile.

    A loop that runs ahead of its GPU waits for the loader while kernels are queued: at most the exposed wait is lost,
    and at most the time without a kernel.

    >>> logged_wait(0.25, 0.01, None, None, True), logged_wait(0.25, None, None, 0.97, True)
    (0.01, 0.03)
    >>> logged_wait(0.5, None, None, None, None), logged_wait(0.5, None, None, 0.0, False)
    (0.5, 0.5)
    """
    without = round(1.0 - busy, 9) if idle is None and busy is not None and on_gpu else idle
    return min([logged, *(x for x in (exposed, without) if x is not None)])


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


@formula(
    "derived.dataloader.prefetch.fitting",
    "config.dataloader.num_workers",
    "ml.dataloader.batch.bytes",
    "derived.memory.available",
    optional=(
        "system.filesystem.shm.limit",
        "system.filesystem.shm.utilization",
        "config.distributed.local_world_size",
        "config.dataloader.prefetch_factor",
    ),
)
def prefetch(
    workers_: float,
    size: float,
    available: float,
    shm: float | None,
    used: float | None,
    ranks: float | None,
    present: float | None,
) -> float | None:
    """Batches per worker to load in advance, at most 8: so many that half of the free memory stays free.

    ``ranks * workers * prefetch`` batches wait in shared memory (torch.utils.data); those of the `present` factor are
    in place already, so that only what comes on top has to fit, in memory and in /dev/shm. None without workers, and
    where no more fit than are there.

    >>> prefetch(8.0, 64e6, 32e9, None, None, None, 2.0), prefetch(8.0, 512e6, 32e9, None, None, None, 2.0)
    (8.0, 5.0)
    >>> prefetch(8.0, 64e6, 32e9, 2e9, 0.5, None, 2.0), prefetch(0.0, 64e6, 32e9, None, None, None, None)
    (None, None)
    """
    in_flight = max(1.0, ranks or 1.0) * workers_ * size
    if in_flight <= 0:
        return None
    room = available if shm is None or used is None else min(available, shm * (1.0 - used))
    now = 2.0 if present is None else present
    factor = min(8.0, now + math.floor(0.5 * room / in_flight))
    return factor if factor > now else None
