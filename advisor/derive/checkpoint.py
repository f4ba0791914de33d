"""Formulas about checkpoints: how large one is, and how often saving pays."""

from __future__ import annotations

from advisor.derive.formula import formula

_MOMENTS = {"Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "Adamax": 2, "SGD": 0, "Adagrad": 1, "RMSprop": 1}
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
COST = 0.01  # share of the time that saving may take


@formula("derived.checkpoint.interval.cheap", "ml.checkpoint.time")
def cheap_interval(save: float) -> float | None:
    """Time from one checkpoint to the next at which blocking saves take a hundredth of the run (seconds).

    >>> cheap_interval(30.0), cheap_interval(0.0)
    (3000.0, None)
    """
    return save / COST if save > 0 else None


@formula("derived.checkpoint.interval.failure_time", "ml.checkpoint.time", "derived.checkpoint.interval.cheap")
def failures_for(save: float, interval: float) -> float | None:
    """Mean time between failures for which that interval loses least: M = T^2 / (2 * save), in seconds.

    Young's first-order optimum T = sqrt(2 * save * M) (CACM 17(9), 1974), solved for M. Daly's formula of 2006 adds
    terms of higher order, which matter once saving takes more than a tenth of M.

    >>> failures_for(30.0, 3000.0)
    150000.0
    """
    return interval**2 / (2 * save) if save > 0 else None


@formula(
    "derived.checkpoint.bytes",
    "config.model.parameters",
    "config.model.dtype",
    "config.optimizer",
    optional=("config.distributed.world_size",),
)
def checkpoint_bytes(parameters: float, dtype: str, optimizer: str, world: float | None) -> float | None:
    """Bytes of a checkpoint with weights and optimizer state; not computed for several ranks, which may shard them.

    Plain SGD counts without momentum, so that the figure is a lower bound.

    >>> checkpoint_bytes(1e9, "float32", "AdamW", None), checkpoint_bytes(1e9, "float32", "AdamW", 8.0)
    (12000000000.0, None)
    """
    size, moments = _BYTES.get(dtype.removeprefix("torch.")), _MOMENTS.get(optimizer)
    if size is None or moments is None or (world or 1) > 1:
        return None
    return parameters * size * (1 + moments)
