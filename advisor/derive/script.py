"""Formulas about patterns read in the script: a place stands as long as nothing measured shows that it does no harm.

A measurement that is missing changes nothing; one that contradicts the code makes the count 0, because what was
measured counts for more than what was read.
"""

from __future__ import annotations

from advisor.derive.formula import formula

HIDDEN = 0.05  # a wait of less than a twentieth of the step keeps the device fed, as in the rule host-sync-item
BUSY = 0.95  # a device that always has a kernel to run is not kept waiting
SETTLED_STEPS = 100  # fewer steps than this and memory may still be warming up


@formula(
    "derived.code.sync.count",
    "code.host_read.count",
    optional=("code.synchronize.count", "trace.sync.fraction", "trace.gpu.idle.fraction", "hw.gpu.utilization"),
)
def syncs(reads: float, waits: float | None, sync: float | None, idle: float | None, busy: float | None) -> float:
    """Places that make the host wait for the device in every step; 0 when the device was measured to stay busy.

    >>> syncs(1.0, 2.0, None, None, None), syncs(1.0, None, 0.01, None, None), syncs(1.0, 0.0, None, None, 0.97)
    (3.0, 0.0, 0.0)
    """
    harmless = (
        (sync is not None and sync <= HIDDEN)
        or (idle is not None and idle <= HIDDEN)
        or (idle is None and sync is None and busy is not None and busy >= BUSY)
    )
    return 0.0 if harmless else reads + (waits or 0.0)


@formula(
    "derived.code.cache_flush.count",
    "code.cache_flush.count",
    optional=("torch.cuda.memory.device_free.rate",),
)
def flushes(places: float, freed: float | None) -> float:
    """Places that empty the allocator's cache in every step; 0 when less than a tenth of the steps free anything.

    >>> flushes(1.0, None), flushes(1.0, 0.0), flushes(1.0, 3.0)
    (1.0, 0.0, 1.0)
    """
    return 0.0 if freed is not None and freed < 0.1 else places


@formula("derived.code.gc_collect.count", "code.gc_collect.count", optional=("process.gc.pause.fraction",))
def collections(places: float, paused: float | None) -> float:
    """Places that collect Python's garbage in every step; 0 when the pauses were measured below 1 %.

    >>> collections(1.0, None), collections(1.0, 0.002)
    (1.0, 0.0)
    """
    return 0.0 if paused is not None and paused < 0.01 else places


@formula(
    "derived.code.graph_kept.count",
    "code.graph_kept.count",
    optional=("derived.gpu.memory.growth.fraction", "ml.step.count"),
)
def graphs(places: float, growth: float | None, steps: float | None) -> float:
    """Places that keep the graph of a loss; 0 when GPU memory did not grow by 2 % over at least 100 steps.

    >>> graphs(1.0, None, 500.0), graphs(1.0, 0.001, 500.0), graphs(1.0, 0.001, 20.0)
    (1.0, 0.0, 1.0)
    """
    flat = growth is not None and growth < 0.02 and steps is not None and steps >= SETTLED_STEPS
    return 0.0 if flat else places


@formula("derived.code.save.count", "code.save.count", optional=("ml.checkpoint.blocking.fraction",))
def saves(places: float, blocked: float | None) -> float:
    """Places that write a checkpoint in every step; 0 when saving was measured to take less than 1 % of the run.

    >>> saves(1.0, None), saves(1.0, 0.001)
    (1.0, 0.0)
    """
    return 0.0 if blocked is not None and blocked < 0.01 else places
