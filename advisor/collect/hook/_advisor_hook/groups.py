"""What one training step and many of them add up to. Memory is bounded: sums, a histogram and 256 buckets over time."""

from __future__ import annotations

import math
from typing import Any

BUCKETS = 256
BIN = math.log(1.02)


class Step:
    """What has happened in one thread since its last step ended; `clear` begins the next one.

    The zeros are class attributes, so that beginning a step costs nothing. Times are `perf_counter` seconds; `mark`
    is the end of what was timed last: what follows it up to a backward pass is the forward pass.
    """

    mark = ended = asked = 0.0
    saving = batches = samples = unsure = sampled = syncs = copies = 0
    wait = exposed = optimizer = forward = backward = save = epoch = sync = copy = 0.0
    loaders: tuple[int, ...] = ()
    loader: Any = None  # the one that was asked last
    blocked = False  # inside a call that waits for the device

    def clear(self, now: float) -> None:
        """The next step begins."""
        vars(self).clear()
        self.mark = self.ended = now

    def arrived(self, loader: Any, wall: float, now: float, busy: bool | None) -> None:
        """`loader` gave a batch after `wall` seconds; `busy` is whether the device had work all the time."""
        self.batches += 1
        self.samples += loader.samples
        self.wait += wall
        self.mark = now
        if not busy:
            self.exposed += wall
            if busy is None:
                self.unsure += 1
        if loader.index not in self.loaders:
            self.loaders = tuple(sorted((*self.loaders, loader.index)))

    def asks(self, loader: Any, now: float) -> None:
        """The next batch is asked for: what lies between two of them is held for the loader."""
        if self.loader is loader:
            loader.held += now - self.asked
        self.loader, self.asked = loader, now

    def backward_ended(self, start: float, began: float, now: float) -> None:
        """A backward pass is over. One that steps optimizers meanwhile counts from the end of the last step.

        `began` is when the optimizer's step began whose closure this is a part of, 0 when it is none.
        """
        start = max(start, self.ended)
        before = max(self.mark, began)
        if before:
            self.forward += max(0.0, start - before)
        self.backward += now - start
        self.mark = now

    def optimizer_ended(self, began: float, now: float) -> None:
        """An optimizer's step is over. A closure that ran inside, with its forward and backward, is not part of it."""
        if began:
            self.optimizer += now - max(began, self.mark)
        self.mark = now


class Group:
    """Sums over the steps that used the same loaders, after the first ones."""

    # What only some steps have comes last.
    SUMS = ("optimizer", "forward", "backward", "wait", "exposed", "batches", "samples",
            "unsure", "save", "epoch", "sampled", "sampled_time", "syncs", "sync", "copies", "copy")  # fmt: skip
    COMMON, RARE = SUMS[:8], SUMS[8:]

    def __init__(self, loaders: tuple[int, ...]) -> None:
        self.loaders = loaders
        self.steps = self.batches = self.samples = self.unsure = 0
        self.time = self.square = self.optimizer = self.forward = self.backward = self.wait = self.exposed = 0.0
        self.rare: dict[str, float] = dict.fromkeys(self.RARE, 0.0)
        self.histogram: dict[int, int] = {}
        self.buckets: list[list[float]] = []
        self.span = 1

    def add(self, at: float, time: float, step: Step) -> None:
        """Count one step that ended `at` seconds after the start."""
        self.steps += 1
        self.time += time
        self.square += time * time
        self.optimizer += step.optimizer
        self.forward += step.forward
        self.backward += step.backward
        self.wait += step.wait
        self.exposed += step.exposed
        self.batches += step.batches
        self.samples += step.samples
        self.unsure += step.unsure
        if step.save or step.epoch or step.sampled:
            for name, value in rare(step, time).items():
                self.rare[name] += value
        bin_ = int(math.log(time) / BIN) if time > 0 else -2000
        self.histogram[bin_] = self.histogram.get(bin_, 0) + 1
        buckets = self.buckets
        if buckets and buckets[-1][1] < self.span:
            last = buckets[-1]
            last[0] = at
            last[1] += 1
            last[2] += time
            last[3] += step.wait
        else:
            self._open([at, 1, time, step.wait])

    def _open(self, bucket: list[float]) -> None:
        if len(self.buckets) >= BUCKETS:
            pairs = zip(self.buckets[::2], self.buckets[1::2])  # noqa: B905 - `strict` is not in Python 3.8
            self.buckets = [[b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]] for a, b in pairs]
            self.span *= 2
        self.buckets.append(bucket)

    def content(self) -> dict[str, Any]:
        """For the output file."""
        sums = {name: getattr(self, name) for name in ("steps", "time", "square", *self.COMMON)}
        more = {"loaders": self.loaders, "histogram": list(self.histogram.items()), "buckets": self.buckets}
        return {**sums, **self.rare, **more}


def rare(step: Step, time: float) -> dict[str, float]:
    """The sums that most steps leave at zero."""
    found: dict[str, float] = {name: getattr(step, name, 0.0) for name in Group.RARE}
    found["sampled_time"] = time if step.sampled else 0.0
    return found


def alone(at: float, time: float, step: Step) -> dict[str, Any]:
    """One step by itself, for the output file."""
    common = {name: getattr(step, name) for name in ("loaders", *Group.COMMON)}
    return {**common, **rare(step, time), "at": at, "time": time}
