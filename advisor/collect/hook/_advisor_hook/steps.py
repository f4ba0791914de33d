"""Counts training steps: how long each took, how much of it waited for data, how much was the optimizer.

A step is the time between two ends of the primary optimizer's `step`, in one thread. Steps are kept apart by the
set of loaders that were iterated in them, so that the reader can leave evaluation out. Memory is bounded: the
first steps singly, then sums, a histogram and at most 256 buckets over time. No decisions are made here.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import weakref
from time import perf_counter
from types import FrameType
from typing import Any

from . import describe, extras, output

HEAD = 64
BUCKETS = 256
LOADERS = 32
GROUPS = 8
BIN = math.log(1.02)


class Loader:
    """A place in the program that makes a DataLoader, with what was seen of its batches."""

    def __init__(self, index: int, settings: dict[str, Any], made: str | None) -> None:
        self.index = index
        self.samples = settings.get("batch_size") or 0
        self.facts = dict(settings, where=made, loop=None)
        self.asked_loop = False
        self.batches = self.no_grad = 0
        self.wall = self.cpu = self.first_wall = self.first_cpu = 0.0

    def begun(self, frame: FrameType) -> None:
        """The program asks for the first batch: note where."""
        self.asked_loop = True
        self.facts["loop"] = describe.where(frame)

    def waited(self, wall: float, cpu: float) -> None:
        """One batch has arrived."""
        if not self.batches:
            self.first_wall, self.first_cpu = wall, cpu
        self.batches += 1
        self.wall += wall
        self.cpu += cpu
        if not sys.modules["torch"].is_grad_enabled():
            self.no_grad += 1

    def content(self) -> dict[str, Any]:
        """For the output file."""
        names = ("batches", "no_grad", "wall", "cpu", "first_wall", "first_cpu")
        return dict(self.facts, **{name: getattr(self, name) for name in names})


class Step:
    """What has happened in one thread since its last step ended."""

    __slots__ = ("batches", "began", "cpu", "exposed", "idle", "loaders", "optimizer", "samples", "unsure", "wait")

    def __init__(self) -> None:
        self.began: float | None = None
        self.batches = self.samples = self.unsure = 0
        self.wait = self.exposed = self.idle = self.cpu = self.optimizer = 0.0
        self.loaders: tuple[int, ...] = ()


class Group:
    """Sums over the steps that used the same loaders, after the first ones."""

    WAITS = ("wait", "exposed", "idle", "cpu", "batches", "samples", "unsure")
    SUMS = ("optimizer", *WAITS)

    def __init__(self, loaders: tuple[int, ...]) -> None:
        self.loaders = loaders
        self.sums: dict[str, float] = dict.fromkeys(("steps", "time", "square", *self.SUMS), 0.0)
        self.histogram: dict[int, int] = {}
        self.buckets: list[list[float]] = []
        self.span = 1

    def add(self, at: float, time: float, step: Step) -> None:
        """Count one step that ended `at` seconds after the start."""
        sums = self.sums
        sums["steps"] += 1
        sums["time"] += time
        sums["square"] += time * time
        sums["optimizer"] += step.optimizer
        if step.batches:
            for name in self.WAITS:
                sums[name] += getattr(step, name)
        bin_ = int(math.log(time) / BIN) if time > 0 else -2000
        self.histogram[bin_] = self.histogram.get(bin_, 0) + 1
        if self.buckets and self.buckets[-1][1] < self.span:
            last = self.buckets[-1]
            self.buckets[-1] = [at, last[1] + 1, last[2] + time, last[3] + step.wait]
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
        return dict(self.sums, loaders=self.loaders, histogram=list(self.histogram.items()), buckets=self.buckets)


class Recorder:
    """Everything measured in this process. `stopped` is set when the hook has given up."""

    def __init__(self) -> None:
        self.stopped = False
        self.reset()

    def reset(self) -> None:
        """Begin anew: at the start and in a forked child."""
        self.name = f"process-{os.getpid()}-{int(output.STARTED * 1000):x}.json"
        self.places: Any = weakref.WeakKeyDictionary()
        self.loaders: list[Loader] = []
        self.by_key: dict[Any, Loader] = {}
        self.open: dict[int, Step] = {}
        self.head: list[dict[str, Any]] = []
        self.groups: dict[tuple[int, ...], Group] = {}
        self.primary: Any = None
        self.others = self.ends = 0
        self.last: float | None = None
        self.thread: int | None = None
        self.first_end: float | None = None
        self.process: dict[str, Any] | None = None
        self.memory: list[tuple[int, dict[str, float]]] = []
        self.written = 0.0

    # --- loaders ---

    def made(self, loader: Any, frame: FrameType) -> None:
        """A DataLoader is being made by `frame`."""
        place = describe.where(frame)
        with contextlib.suppress(TypeError):  # a subclass that cannot be hashed stays without a place
            self.places[loader] = place

    def iterating(self, loader: Any, iterator: Any) -> None:
        """`iterator` runs over `loader` (None when that is not known); both get one `Loader`."""
        settings = describe.loader(iterator if loader is None else loader)
        try:
            place = self.places.get(loader) if loader is not None else None
        except TypeError:
            place = None
        key = (place, str(settings))
        known = self.by_key.get(key)
        if known is None:
            if len(self.loaders) < LOADERS:
                self.loaders.append(Loader(len(self.loaders), settings, place))
            known = self.by_key[key] = self.loaders[-1]
            if len(self.by_key) > 16 * LOADERS:
                self.by_key.clear()
        with contextlib.suppress(TypeError):  # some other class came back from __iter__; its __next__ asks again
            vars(iterator)["_advisor_loader"] = known

    def device_busy(self) -> bool | None:
        """Whether the GPU still has queued work, in the thread that trains; None when that cannot be asked."""
        cuda = describe.cuda_ready()
        if cuda is None or (self.thread is not None and self.thread != threading.get_ident()):
            return None
        if hasattr(cuda, "is_current_stream_capturing") and cuda.is_current_stream_capturing():
            return None  # asking would spoil the graph that is being captured
        return not cuda.current_stream().query()

    def waited(self, loader: Loader, busy: bool | None, wall: float, cpu: float) -> None:
        """A batch arrived after `wall` seconds; `busy` is the device's state when the wait began."""
        loader.waited(wall, cpu)
        step = self._step()
        step.batches += 1
        step.samples += loader.samples
        step.wait += wall
        step.cpu += cpu
        after = self.device_busy()
        if not after:
            step.exposed += wall
            if not busy:
                step.idle += wall
        if after is None:
            step.unsure += 1
        if loader.index not in step.loaders:
            step.loaders = tuple(sorted((*step.loaders, loader.index)))
        if self.first_end is None:
            self._write_now_and_then(perf_counter())

    # --- steps ---

    def _step(self) -> Step:
        thread = threading.get_ident()
        step = self.open.get(thread)
        if step is None:
            if len(self.open) > 64:
                self.open.clear()
            step = self.open[thread] = Step()
        return step

    def step_begins(self) -> None:
        """Some optimizer's `step` begins."""
        self._step().began = perf_counter()

    def step_ends(self, optimizer: Any) -> None:
        """Some optimizer's `step` has ended; when it is the primary one, so has the training step."""
        now = perf_counter()
        step = self._step()
        if step.began is not None:
            step.optimizer += now - step.began
            step.began = None
        if not self._is_primary(optimizer):
            return
        thread = threading.get_ident()
        self.open[thread] = Step()
        if self.last is not None and self.thread == thread:
            self._add(now - output.START, now - self.last, step)
        self.ends += 1
        self.thread = thread
        if self.process is None:
            self.first_end = now - output.START
            self.process = describe.process(optimizer)
        extras.step_ended(optimizer, self.ends)
        self._write_now_and_then(now)
        # What the hook itself did at this boundary belongs to no step.
        self.last = perf_counter()

    def _is_primary(self, optimizer: Any) -> bool:
        current = self.primary() if self.primary is not None else None
        if current is optimizer:
            self.others = 0
            return True
        self.others += 1
        if current is None or self.others > 50:  # gone, or not used any more
            self.primary, self.others, self.last = weakref.ref(optimizer), 0, None
            return True
        return False

    def _add(self, at: float, time: float, step: Step) -> None:
        if len(self.head) < HEAD:
            names = ("loaders", *Group.SUMS)
            self.head.append(dict({name: getattr(step, name) for name in names}, at=at, time=time))
            return
        key = step.loaders if step.loaders in self.groups or len(self.groups) < GROUPS else (-1,)
        if key not in self.groups:
            self.groups[key] = Group(key)
        self.groups[key].add(at, time, step)

    # --- output ---

    def _write_now_and_then(self, now: float) -> None:
        if now - self.written > 1.0:
            self.written = now
            self.write()

    def write(self, ended: bool = False) -> None:
        """Replace this process's output file."""
        output.at_exit(self.finish)
        snapshot = describe.memory()
        if snapshot is not None:
            self.memory.append((self.ends, snapshot))
            if len(self.memory) > 128:
                self.memory = self.memory[::2]
        content = {
            "pid": os.getpid(),
            "ppid": output.parent(),
            "command": getattr(sys, "argv", [])[:1],
            "started": output.STARTED,
            "seconds": perf_counter() - output.START,
            "cwd": output.CWD,
            "ended": ended,
            "ends": self.ends,
            "first_end": self.first_end,
            "loaders": [loader.content() for loader in self.loaders],
            "head": self.head,
            "groups": [group.content() for group in self.groups.values()],
            "process": self.process,
            "memory": self.memory,
            "extras": extras.content(),
        }
        output.write(self.name, content)

    def finish(self) -> None:
        """Write a last time, when the process ends; a forked child that measured nothing leaves no file."""
        if not self.written:
            return
        try:
            self.write(ended=True)
        except Exception as error:
            from . import fail

            fail("writing the last numbers", error)


recorder = Recorder()
