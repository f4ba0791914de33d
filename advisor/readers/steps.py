"""Training steps that something timed (a log, an event file, a profiler) -> step facts.

What is timed is either single steps or means over several; the first is used for percentiles too. The first
steps of a run compile, allocate and fill caches, so they are left out of every number.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Series
from advisor.readers.rows import Row, row, share

SLOW_START = 2.0  # steps at the beginning that take longer than that many medians belong to warm-up
PAUSE = 3.0  # a mean over steps longer than that many medians holds a pause: evaluation, a checkpoint
ENOUGH = 100  # steps from which a hundredth of them, or a third, is a number
LONGEST = 1e7  # seconds of a step: what is longer was read wrongly
FEW = 20  # steps from which there is a 95th percentile
PICTURE = 600  # points of a series


@dataclass(frozen=True, slots=True)
class Step:
    """One step, or the mean of `span` steps.

    Args:
        seconds: wall time of a step.
        at: place in the text, or place in order.
        number: of the last step that it covers; None when steps are not numbered.
        span: steps that `seconds` is the mean of.
        wait: seconds of a step in which the loop waited for its batch; None when that was not timed.
    """

    seconds: float
    at: int = 0
    number: tuple[int, int] | None = None
    span: int = 1
    wait: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """The steps that count, how many were left out as warm-up, and how many runs there were."""

    steps: tuple[Step, ...]
    left_out: int = 0
    attempts: int = 1

    @property
    def seconds(self) -> float:
        """Time in these steps."""
        return sum(s.seconds * s.span for s in self.steps)

    @property
    def count(self) -> int:
        """How many steps that is."""
        return sum(s.span for s in self.steps)

    def note(self) -> str:
        """Which steps were used, for a person; empty when there are none."""
        if not self.steps:
            return ""
        parts = [f"{self.count:,} steps timed"]
        if self.left_out:
            parts.append(f"the first {self.left_out:,} left out as warm-up")
        if self.attempts > 1:
            parts.append(f"of {self.attempts} runs in it the longest was used")
        return ", ".join(parts)


def window(steps: Sequence[Step]) -> Window:
    """The steps of one run that count: of several runs in one text the one with most steps, without warm-up."""
    runs = _attempts([s for s in steps if 0 < s.seconds < LONGEST])
    if not runs:
        return Window(())
    chosen = max(enumerate(runs), key=lambda pair: (len(pair[1]), pair[0]))[1]
    warm = _warm(chosen)
    return Window(tuple(warm), sum(s.span for s in chosen[: len(chosen) - len(warm)]), len(runs))


def step_rows(used: Window, where: str | None = None, *, exact: bool = True, evenly: bool = False) -> Iterator[Row]:
    """Facts of the steps in a window.

    Args:
        used: the steps.
        where: where in the source the first of them stands.
        exact: whether each was timed; rates that a progress bar has smoothed are not spread like steps are.
        evenly: whether means over several steps are averaged too, because they are coarse (whole seconds).
    """
    steps = used.steps
    if not steps:
        return
    middle = typical(steps, evenly=evenly)
    yield row("ml.step.time", middle, "s", where)
    yield row("ml.step.count", float(used.count), "{step}", where)
    if exact:
        yield from _spread(steps, where)
    if used.count >= ENOUGH and len(steps) >= 9:
        yield row("ml.step.time.trend", _trend(steps), "1", where)
    waits = [s for s in steps if s.wait is not None]
    if waits:
        waited = sum((s.wait or 0.0) * s.span for s in waits)
        part = waited / sum(s.seconds * s.span for s in waits)
        yield from waiting(part, where)
        yield row("ml.step.data_wait.time", waited / sum(s.span for s in waits), "s", where)
        yield row("ml.step.compute.time", max(0.0, middle * (1.0 - min(1.0, part))), "s", where)


def waiting(part: float | None, where: str | None = None) -> Iterator[Row]:
    """Rows for the share of a step in which the loop waits for its batch, as the program tells it."""
    yield share("ml.step.data_wait.fraction", part, where)
    yield share("ml.step.data_wait.logged.fraction", part, where)


def typical(steps: Sequence[Step], *, evenly: bool = False) -> float:
    """Seconds of a step: the mean of single steps, the median of means, in which pauses would count."""
    if all(s.span == 1 for s in steps):
        return statistics.fmean(s.seconds for s in steps)
    middle = _median(steps)
    if not evenly:
        return middle
    usual = [s for s in steps if s.seconds <= PAUSE * middle]
    return sum(s.seconds * s.span for s in usual) / sum(s.span for s in usual)


def step_series(used: Window) -> dict[str, Series]:
    """Step time over the time spent in steps."""
    done, t, v = 0.0, [], []
    for step in used.steps:
        done += step.seconds * step.span
        t.append(done)
        v.append(step.seconds)
    stride = max(1, math.ceil(len(t) / PICTURE))
    if len(t) < 3:
        return {}
    return {"ml.step.time": Series(tuple(t[::stride]), tuple(v[::stride]))}


def _attempts(steps: Sequence[Step]) -> list[list[Step]]:
    """Runs that one text holds, each in order; of a step that was told twice (by ranks, after a restart) the last.

    A run begins anew where the numbering falls back to where it began.
    """
    runs: list[dict[tuple[int, int], Step]] = []
    loose = [s for s in steps if s.number is None]
    for step in steps:
        if step.number is None:
            continue
        if not runs or (step.number <= next(iter(runs[-1])) and len(runs[-1]) >= 3):
            runs.append({})
        runs[-1][step.number] = step
    numbered = [sorted(run.values(), key=lambda s: s.number or (0, 0)) for run in runs]
    return numbered or ([loose] if loose else [])


def _warm(steps: list[Step]) -> list[Step]:
    """Without the first step, when the log begins there, and without those that are slow at the start."""
    if len(steps) < 2:
        return steps
    first = 1 if len(steps) > 2 and _begins(steps[0], steps[1]) else 0
    middle = _median(steps[1:])
    while first < len(steps) // 2 and steps[first].seconds > SLOW_START * middle:
        first += 1
    return steps[first:]


def _begins(first: Step, second: Step) -> bool:
    """Whether the first line is of the first steps: it covers at least as many as lie between it and the second."""
    if first.number is None or second.number is None or first.number[0] > 1:
        return False
    gap = second.number[1] - first.number[1] if second.number[0] == first.number[0] else 1
    return first.number[1] <= max(first.span, gap, 1)


def _spread(steps: Sequence[Step], where: str | None) -> Iterator[Row]:
    seconds = [s.seconds for s in steps]
    mean = statistics.fmean(seconds)
    deviation = statistics.pstdev(seconds)
    if len(seconds) >= 5:
        yield row("ml.step.time.cv", deviation / mean, "1", where)
    if any(s.span != 1 for s in steps):
        return
    if len(seconds) >= FEW:
        yield row("ml.step.time.p95", sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1], "s", where)
    if len(seconds) >= ENOUGH:
        far = sum(abs(s - mean) > 5 * deviation for s in seconds)
        yield share("ml.step.time.outlier.fraction", far / len(seconds), where)


def _trend(steps: Sequence[Step]) -> float | None:
    third = len(steps) // 3
    before, after = _median(steps[:third]), _median(steps[-third:])
    return after / before - 1.0 if before > 0 else None


def _median(steps: Sequence[Step]) -> float:
    """The median over steps, not over lines."""
    left = 0.5 * sum(s.span for s in steps)
    ordered = sorted(steps, key=lambda s: s.seconds)
    for i, step in enumerate(ordered):
        left -= step.span
        if left < 0:
            return step.seconds
        if left == 0 and i + 1 < len(ordered):
            return (step.seconds + ordered[i + 1].seconds) / 2
    return ordered[-1].seconds
