"""Formulas about device memory as a training run grows: which batch still fits."""

from __future__ import annotations

import math

from advisor.derive.formula import formula

FULL = 0.9  # share of the device that may be in use at the peak; the rest is for fragments and for longer samples
FROM_ONE_POINT = 4.0  # how far the estimates reach, in present batches
FROM_TWO_POINTS = 2.0  # what variables keep alive between steps grows too and is not seen, so one doubling at a time


@formula(
    "derived.gpu.memory.batch.bytes",
    "torch.cuda.memory.activation.share",
    "torch.cuda.memory.allocated.peak",
    "torch.cuda.memory.reserved_unused.fraction",
)
def memory_of_batch(share: float, peak: float, unused: float) -> float | None:
    """Device memory that grows with the batch: the allocated peak above what is held between steps.

    What is held between steps (weights, optimizer state) is the one point, the peak at the present batch the other.
    The pool reserves more than it hands out, so the growth counts with the present ratio of reserved to allocated.

    >>> memory_of_batch(0.6, 50e9, 0.25), memory_of_batch(0.6, 50e9, 1.0)
    (40000000000.0, None)
    """
    return share * peak / (1.0 - unused) if unused < 1 else None


@formula(
    "derived.dataloader.batch_size.fitting",
    "config.dataloader.batch_size",
    "hw.gpu.memory.peak_utilization",
    optional=("hw.gpu.memory.limit", "derived.gpu.memory.batch.bytes"),
)
def fitting_batch(batch: float, peak: float, limit: float | None, grows: float | None) -> float | None:
    """A larger batch that leaves a tenth of device memory free; None when it would grow by less than a quarter.

    From one point: memory grows at most in proportion to the batch, so ``0.9 / peak`` times the batch fits, whatever
    the weights take; at most four times. From two points: the free memory up to nine tenths over what one batch takes
    (`grows`), on top of the present one; at most twice. The larger of both, as each errs on the safe side. Rounded
    down to a multiple of 8 where that is still larger.

    >>> fitting_batch(32, 0.3, None, None), fitting_batch(4, 0.1, None, None), fitting_batch(32, 0.8, None, None)
    (96.0, 16.0, None)
    >>> fitting_batch(32, 0.6, 80e9, 24e9), fitting_batch(32, 0.6, 80e9, 60e9), fitting_batch(32, 0.0, 80e9, 1e9)
    (64.0, 48.0, None)
    """
    if peak <= 0 or batch <= 0:
        return None
    factor = min(FROM_ONE_POINT, FULL / peak)
    if limit is not None and grows is not None and grows > 0:
        factor = max(factor, min(FROM_TWO_POINTS, 1.0 + (FULL - peak) * limit / grows))
    fits = math.floor(batch * factor + 1e-9)
    best = fits // 8 * 8 if fits // 8 * 8 > batch else fits
    return float(best) if best >= 1.25 * batch else None
