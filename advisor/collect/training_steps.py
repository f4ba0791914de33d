"""From the hook's step records of one process to step facts: which steps count, and what they add up to.

Pure. Counted are the steps of the training loop: warm-up is left out, and so are steps in which another loader
was iterated (evaluation). Shares are sums over sums, because single steps on a busy machine are noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from advisor.collect.base import Facts, picture
from advisor.models import Series

BIN = math.log(1.02)  # width of the hook's histogram bins, as a logarithm
SUMS = ("wait", "exposed", "optimizer", "forward", "backward", "batches", "samples", "unsure",
        "epoch", "sampled", "sampled_time", "syncs", "sync", "copies", "copy")  # fmt: skip
ENOUGH = 100  # steps from which a hundredth of them, or a third, is a number


@dataclass
class Steps:
    """The steps that count. `times` are (seconds, how often); `points` (end, steps, seconds, wait) in order."""

    loaders: tuple[int, ...] = ()
    count: int = 0
    excluded: int = 0
    total: float = 0.0
    square: float = 0.0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    times: list[tuple[float, int]] = field(default_factory=list)
    points: list[tuple[float, float, float, float]] = field(default_factory=list)

    def facts(self, facts: Facts, process: Mapping[str, Any], where: str | None) -> None:
        """Add the step facts; `where` is the line that draws the batches."""
        facts.add("ml.initialization.time", process["first_end"], "s")
        if process["ends"]:
            facts.add("ml.step.count", self.count, "{step}")
        if not self.count or self.total <= 0:
            return
        mean = self.total / self.count
        facts.add("ml.step.time", mean, "s")
        facts.add("ml.step.time.p95", _quantile(self.times, 0.95), "s")
        if self.count > 1:
            variance = max(0.0, self.square / self.count - mean * mean)
            facts.add("ml.step.time.cv", math.sqrt(variance) / mean, "1")
        facts.share("ml.step.optimizer.fraction", self.sums["optimizer"] / self.total)
        if self.count >= ENOUGH:
            facts.share("ml.step.time.outlier.fraction", self._outliers(mean))
            facts.add("ml.step.time.trend", self._trend(), "1")
        if self.loaders:
            self._data_facts(facts, process, where)

    def _outliers(self, mean: float) -> float:
        limit = 5 * math.sqrt(max(0.0, self.square / self.count - mean * mean))
        return sum(often for seconds, often in self.times if abs(seconds - mean) > limit) / self.count

    def _trend(self) -> float | None:
        """The median of the last third over that of the first: a spell at one end is no drift."""
        done, first, last = 0.0, [], []
        for _, often, seconds, _ in self.points:
            place = (done + often / 2) / self.count
            done += often
            if place < 1 / 3:
                first.append((seconds / often, int(often)))
            elif place > 2 / 3:
                last.append((seconds / often, int(often)))
        before = _quantile(first, 0.5)
        return _quantile(last, 0.5) / before - 1 if before > 0 else None

    def _data_facts(self, facts: Facts, process: Mapping[str, Any], where: str | None) -> None:
        wait, batches = self.sums["wait"], self.sums["batches"]
        facts.add("ml.step.data_wait.time", wait / self.count, "s", where)
        facts.add("ml.step.compute.time", max(0.0, self.total - wait) / self.count, "s")
        facts.share("ml.step.data_wait.fraction", wait / self.total, where)
        device = ((process["process"] or {}).get("optimizer") or {}).get("device")
        # On a GPU the waits count only when its queue could be looked at; other devices cannot be asked.
        if device == "cpu" or (device == "cuda" and self.sums["unsure"] < 0.1 * batches):
            facts.share("ml.step.data_wait.exposed.fraction", self.sums["exposed"] / self.total, where)
        if device == "cpu" and self.sums["backward"]:  # on a GPU these are the times of queueing, not of computing
            facts.share("ml.step.forward.fraction", self.sums["forward"] / self.total)
            facts.share("ml.step.backward.fraction", self.sums["backward"] / self.total)
        facts.add("ml.step.batches", batches / self.count, "{batch}")
        if self.sums["samples"]:
            facts.add("ml.throughput.samples", self.sums["samples"] / self.total, "{sample}/s")

    def series(self) -> dict[str, Series]:
        """Step time and wait share over time, seconds since the process started; points weigh about the same."""
        points = _even(self.points)
        t = [at for at, *_ in points]
        drawn = {"ml.step.time": picture(t, [seconds / steps for _, steps, seconds, _ in points])}
        if self.loaders:
            waits = [wait / seconds if seconds else None for _, _, seconds, wait in points]
            drawn["ml.step.data_wait.fraction"] = picture(t, waits)
        return {name: series for name, series in drawn.items() if series is not None}


def combine(process: Mapping[str, Any]) -> Steps:
    """The steps of `process` that count."""
    head, groups = process["head"], process["groups"]
    main = _training_loaders(head, groups)
    ours = [step for step in head if set(step["loaders"]) <= set(main)]
    tails = [group for group in groups if set(group["loaders"]) <= set(main)]
    steps = Steps(loaders=main)
    steps.excluded = len(head) - len(ours) + int(sum(g["steps"] for g in groups if g not in tails))
    for step in _warm(ours, tails):
        _add(steps, 1, step["time"], step["time"] ** 2, step)
        steps.times.append((step["time"], 1))
        steps.points.append((step["at"], 1, step["time"], step["wait"]))
    for group in tails:
        _add(steps, int(group["steps"]), group["time"], group["square"], group)
        steps.times += _histogram(group)
        steps.points += [(b[0], b[1], b[2], b[3]) for b in group["buckets"]]
    steps.points.sort()
    return steps


def _add(steps: Steps, count: int, time: float, square: float, sums: Mapping[str, float]) -> None:
    steps.count += count
    steps.total += time
    steps.square += square
    for name in SUMS:
        steps.sums[name] += sums.get(name, 0.0)


def _even(points: Sequence[tuple[float, float, float, float]]) -> list[tuple[float, float, float, float]]:
    """Neighbouring points joined until each stands for enough steps: the first are kept singly, the later ones not.

    >>> _even([(1.0, 1, 0.2, 0.0), (2.0, 1, 0.4, 0.1), (5.0, 2, 0.8, 0.2), (6.0, 1, 0.3, 0.0)])
    [(2.0, 2.0, 0.6000000000000001, 0.1), (5.0, 2.0, 0.8, 0.2)]
    """
    span = max((steps for _, steps, _, _ in points), default=1)
    joined: list[tuple[float, float, float, float]] = []
    count, seconds, wait = 0.0, 0.0, 0.0
    for at, steps, time, waited in points:
        count, seconds, wait = count + steps, seconds + time, wait + waited
        if count >= span:
            joined.append((at, count, seconds, wait))
            count, seconds, wait = 0.0, 0.0, 0.0
    return joined  # what is left at the end is too few steps for a point


def _quantile(times: Sequence[tuple[float, int]], share: float) -> float:
    left = share * sum(often for _, often in times)
    for seconds, often in sorted(times):
        left -= often
        if left <= 0:
            return seconds
    return 0.0


def _histogram(group: Mapping[str, Any]) -> list[tuple[float, int]]:
    return [(math.exp((bin_ + 0.5) * BIN), often) for bin_, often in group["histogram"]]


def _training_loaders(head: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """The set of loaders that most steps draw from; empty when hardly any step draws from a loader at all."""
    counts: dict[tuple[int, ...], float] = {}
    for loaders, often in [(s["loaders"], 1) for s in head] + [(g["loaders"], g["steps"]) for g in groups]:
        if -1 not in loaders:
            counts[tuple(loaders)] = counts.get(tuple(loaders), 0) + often
    drawing = {loaders: often for loaders, often in counts.items() if loaders}
    if not drawing or sum(drawing.values()) < 0.05 * sum(counts.values()):
        return ()
    return max(drawing, key=lambda loaders: (drawing[loaders], -len(loaders)))


def _warm(head: Sequence[Mapping[str, Any]], tails: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """`head` without warm-up: the first two steps (the first has no interval), then all that are slow at first."""
    times = [(s["time"], 1) for s in head[1:]] + [pair for group in tails for pair in _histogram(group)]
    median = _quantile(times, 0.5)
    start = 1
    while start < len(head) and head[start]["time"] > 3 * median:
        start += 1
    return head[start:]
