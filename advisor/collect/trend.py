"""Whether memory grows: a robust slope that is reported only when it stands out of the noise.

Two points say nothing about a leak, and neither does a least-squares line through one step. The
smallest values of ten parts of the window are compared pair by pair (Mann-Kendall test), and the
slope is the median of the slopes between the pairs (Theil-Sen estimator): neither a single jump
nor a saw-tooth passes for a leak.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

from advisor.collect.base import median

PARTS = 10
SIGNIFICANT = 2.576  # standard deviations: one steady job in a hundred is taken for one that grows or shrinks


def floors(t: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """The smallest value of each of ten parts of the window with its time; the values themselves when few."""
    if len(values) < 2 * PARTS:
        return list(t), list(values)
    ends = [i * len(values) // PARTS for i in range(PARTS + 1)]
    lowest = [min(range(a, b), key=values.__getitem__) for a, b in pairwise(ends)]
    return [t[i] for i in lowest], [values[i] for i in lowest]


def trend(t: Sequence[float], values: Sequence[float]) -> float:
    """Growth per second of the floors of `values`, 0 when no trend stands out of the noise.

    >>> trend(range(100), [5.0 * i for i in range(100)]), trend(range(100), [1.0] * 60 + [9.0] * 40)
    (5.0, 0.0)
    """
    at, low = floors(t, values)
    pairs = [((at[j] - at[i]), low[j] - low[i]) for i, j in combinations(range(len(low)), 2)]
    score = sum((rise > 0) - (rise < 0) for _, rise in pairs)
    n = len(low)
    ties = sum(k * (k - 1) * (2 * k + 5) for k in Counter(low).values())
    deviation = math.sqrt(max(0.0, (n * (n - 1) * (2 * n + 5) - ties) / 18))
    if deviation == 0 or (abs(score) - 1) / deviation < SIGNIFICANT:
        return 0.0
    return median([rise / gap for gap, rise in pairs if gap > 0]) or 0.0


def rising(values: Sequence[float]) -> float | None:
    """How many of the ten parts of a window have a higher floor than the one before; None for fewer than 20 values.

    A leak raises nearly every floor, a one-off allocation only one: a slope alone cannot tell them apart.

    >>> rising([float(i) for i in range(100)]), round(rising([1.0] * 80 + [9.0] * 20), 2), rising([1.0] * 5)
    (1.0, 0.11, None)
    """
    if len(values) < 2 * PARTS:
        return None
    _, low = floors(range(len(values)), values)
    return sum(b > a for a, b in pairwise(low)) / (PARTS - 1)
