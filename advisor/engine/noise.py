"""How much of a change the noise within two runs explains: a block bootstrap over their samples.

Step times are not independent: a busy neighbour, a cold cache or a garbage collection slows several steps in a
row. Resampling single steps would take such spells for many independent ones and give a band that is too narrow,
so blocks of neighbouring steps are drawn (circular block bootstrap, Politis and Romano 1992). The length of a
block follows from the samples' own autocorrelation (Politis and White 2004, corrected by Patton, Politis and
White 2009), but is at least the cube root of their number, the order of the best length (Hall, Horowitz and Jing
1995), because few samples hide their autocorrelation. Means are compared and not medians, because a mean times the
number of steps is the time of the run: rare long stalls count. The percentile interval of few samples is too narrow
(Hesterberg 2015, The American Statistician 69:4); it is stretched by what Student's t is wider than the normal
distribution, with as many degrees of freedom as there are independent blocks.

What no sample of one run can tell is how far two runs of the same program lie apart (Kalibera and Jones 2013):
`metrics` therefore asks for a smallest change besides.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 10  # samples of each run below which there is no band
DRAWS = 1999
LEVEL = 0.95
NORMAL = 1.959964  # the 97.5th percentile of the normal distribution
BLOCKS = 4  # the fewest blocks that a run is cut into

Floats = NDArray[np.float64]


def noise(before: Sequence[float], after: Sequence[float], *, points: bool) -> tuple[float, float] | None:
    """The 95 % interval of the error in a change between two runs.

    Args:
        before: samples of the first run, in order of time.
        after: those of the second.
        points: the change is the difference of the means; else the logarithm of their ratio.

    Returns:
        Low and high to add to the measured change (its logarithm); None for too few samples, or where one is not
        above 0 and has no logarithm. The same samples give the same interval; exchanged runs its mirror.

    >>> noise([1.0] * 10, [2.0] * 10, points=False), noise([1.0, 2.0], [1.0, 2.0], points=True)
    ((0.0, 0.0), None)
    """
    runs = [np.asarray(values, dtype=np.float64) for values in (before, after)]
    if min(map(len, runs)) < FEWEST or not all(np.isfinite(run).all() for run in runs):
        return None
    if not points and min(float(run.min()) for run in runs) <= 0:
        return None
    lengths = [block_length(run) for run in runs]
    first, second = (_errors(run, length, points=points) for run, length in zip(runs, lengths, strict=True))
    # Equal samples give equal draws: taken in opposite order they are as good as independent, and the interval of
    # exchanged runs stays the exact mirror.
    errors = second - first[::-1]
    blocks = min(len(run) // length for run, length in zip(runs, lengths, strict=True))
    wider = student(blocks - 1) / NORMAL * math.sqrt(blocks / (blocks - 1))
    low, high = np.quantile(errors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) * wider
    return float(low), float(high)


def block_length(values: Floats) -> int:
    """How many neighbouring samples are drawn together, so that what is drawn apart is independent.

    >>> block_length(np.array([1.0, 2.0] * 20)), block_length(np.repeat([1.0, 2.0, 1.5, 1.2, 1.9], 8))
    (4, 8)
    """
    size = len(values)
    least, most = math.ceil(math.cbrt(size)), size // BLOCKS
    away = values - values.mean()
    near = max(5, math.ceil(math.log10(size)))
    reach = min(size - 1, math.ceil(math.sqrt(size)) + near)
    covariance = np.array([away[: size - lag] @ away[lag:] / size for lag in range(reach + 1)])
    if covariance[0] <= 0:
        return min(least, most)
    negligible = np.abs(covariance / covariance[0]) < 2 * math.sqrt(math.log10(size) / size)
    last = next(m for m in range(reach + 1) if negligible[m + 1 : m + 1 + near].all())
    lags = np.arange(1, min(2 * max(last, 1), reach) + 1)
    weights = np.minimum(1.0, 2 * (1 - lags / (2 * max(last, 1)))) * covariance[lags]
    variance = covariance[0] + 2 * weights.sum()
    slope = 2 * (weights * lags).sum()
    if variance <= 0 or slope <= 0:  # neighbours even each other out: short blocks err on the safe side
        return min(least, most)
    best = math.cbrt(1.5 * size * (slope / variance) ** 2)  # 2 g^2 / (4/3 s^2) of the circular bootstrap
    return min(max(math.ceil(best), least), most)


def student(freedom: int) -> float:
    """The 97.5th percentile of Student's t by its expansion in 1/freedom (Abramowitz and Stegun 26.7.5).

    >>> [round(student(f), 2) for f in (3, 10, 1000)]
    [3.16, 2.23, 1.96]
    """
    z = NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(freedom) ** power for power, term in enumerate(terms, 1))


def _errors(values: Floats, length: int, *, points: bool) -> Floats:
    """How far the means (or their logarithms) of resampled runs lie from the measured one."""
    around = np.concatenate([values, values[: length - 1]])
    blocks = np.convolve(around, np.full(length, 1 / length), "valid")
    # The legacy generator, because its stream is frozen; seeded by the samples, so that a comparison repeats.
    random = np.random.RandomState(zlib.crc32(values.tobytes()))
    means = blocks[random.randint(0, len(values), (DRAWS, len(values) // length))].mean(axis=1)
    errors: Floats = means - values.mean() if points else np.log(means / values.mean())
    return errors
