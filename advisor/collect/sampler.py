"""Reads collectors at an interval, each in its own daemon thread, and keeps their samples within bounds.

One source cannot stop another: a read that fails gives that source a state and a note, a read
that hangs leaves its thread behind. What a collector reads and means is its own affair.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advisor.collect.base import Collector, NotYet, Sample
from advisor.collect.cgroup import Cgroup
from advisor.collect.data_files import DataFiles
from advisor.collect.disk import Disk, FileSystem
from advisor.collect.environment import Environment
from advisor.collect.gpu import Gpu
from advisor.collect.host import Host
from advisor.collect.kernel_log import KernelLog
from advisor.collect.memory import Memory
from advisor.collect.network import Network
from advisor.collect.nfs import Nfs
from advisor.collect.numa import Numa
from advisor.collect.pressure import Pressure
from advisor.collect.probe import DiskProbe, LoaderProbe, MatmulProbe, MemoryProbe, NetworkProbe
from advisor.collect.process import Process
from advisor.collect.rdma import Rdma
from advisor.collect.stacks import PySpy
from advisor.models import Reading, Series, Source, SourceState

__all__ = ["Collector", "NotYet", "Sample", "Sampler", "default_collectors", "read_now", "replay", "sample"]

KEPT = 600  # samples per collector; when there are more, every second one goes


def default_collectors(pid: int | None = None) -> list[Collector]:
    """One collector per live source; `pid` is the root of the process tree to watch."""
    return [
        Host(),
        Pressure(),
        Environment(),
        KernelLog(),
        Numa(pid),
        Cgroup(pid),
        Disk(),
        FileSystem(pid),
        Nfs(pid),
        Network(pid),
        Rdma(),
        Process(pid),
        Memory(pid),
        DataFiles(pid),
        Gpu(pid),
    ]


class _Watch(threading.Thread):
    """One collector, its samples and what went wrong with it."""

    def __init__(self, collector: Collector, interval_s: float, timeout_s: float) -> None:
        super().__init__(name=f"collect {collector.kind} {collector.origin}", daemon=True)
        self.collector = collector
        self._pause = interval_s
        self._timeout = timeout_s + getattr(collector, "takes_s", 0.0)  # one read may be meant to last
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._samples: list[Sample] = []
        self._failure: tuple[SourceState, str] = ("absent", "nothing has been read yet")
        self._failed = 0
        self._since: float | None = None  # when the read that is under way began
        self._closed = False

    def run(self) -> None:
        """Read until told to stop, then once more."""
        while True:
            last = self._stopping.is_set()
            began = time.monotonic()
            again = self._read_once(began, last)
            if last or not again:
                return
            pause = max(self._pause, getattr(self.collector, "pause_s", 0.0))  # a costly source may change its own
            self._stopping.wait(max(0.0, began + pause - time.monotonic()))

    def _read_once(self, began: float, last: bool) -> bool:
        """Whether another read may be worth while."""
        with self._lock:
            self._since = began
        try:
            raw = self.collector.read()
        except Exception as error:  # any failure of one source is that source's state
            with self._lock:
                self._since = None
                self._failed += 1
                self._failure = _failure(self.collector, error)
                return bool(self._samples) or isinstance(error, NotYet) or self._failure[0] == "unreadable"
        with self._lock:
            self._since = None
            if not self._closed:
                self._keep({**raw, "t": (began + time.monotonic()) / 2}, last)
        return not getattr(self.collector, "once", False)

    def _keep(self, sample: Sample, last: bool) -> None:
        if last and len(self._samples) > 1 and sample["t"] - self._samples[-1]["t"] < self._pause / 4:
            self._samples.pop()  # the closing sample stands for it: rates over a few milliseconds are noise
        self._samples.append(sample)
        if len(self._samples) > KEPT:
            self._samples = self._samples[::2]
            self._pause *= 2

    def once(self) -> Reading:
        """The reading of one read in the calling thread."""
        self._read_once(time.monotonic(), True)
        return _reading(self.collector, self.capture(), time.monotonic())

    def ask_to_stop(self) -> None:
        """Let the thread take its last sample."""
        self._stopping.set()

    def close(self, deadline: float) -> None:
        """Wait for the last sample, at most until `deadline`; what comes later is not taken."""
        with self._lock:
            since = self._since
        patience = deadline if since is None else min(deadline, since + self._timeout)
        if self.ident is not None:
            self.join(max(0.0, patience - time.monotonic()))
        with self._lock:
            self._closed = True

    def capture(self) -> dict[str, Any]:
        """The samples with state and note; replayable."""
        with self._lock:
            samples = list(self._samples)
            hung = self._since is not None and (self._closed or time.monotonic() - self._since > self._timeout)
            state, note = self._failure
            failed = self._failed
        late = f"{self.collector.origin} did not answer within {self._timeout:g} s"
        if samples:
            state, note = "ok", samples[-1].get("note", "")
            if hung:
                note = f"{late}; what was read before is used"
            elif failed and self._failure[0] != "absent":  # what was there and is gone has ended: no failure
                note = note or f"{failed} of {failed + len(samples)} readings failed: {self._failure[1]}"
        elif hung:
            state, note = "timeout", late
        return {
            "kind": self.collector.kind,
            "origin": self.collector.origin,
            "state": state,
            "note": note,
            "samples": samples,
        }


def _failure(collector: Collector, error: Exception) -> tuple[SourceState, str]:
    if isinstance(error, OSError) and error.errno is not None:
        said = f"{error.filename or collector.origin}: {error.strerror}"
    else:
        said = str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return "absent", said
    if isinstance(error, PermissionError):
        return "denied", said
    return "unreadable", f"{collector.origin} could not be read: {said}"


class Sampler:
    """Samples `collectors` every `interval_s` seconds; a read longer than `timeout_s` counts as hung."""

    def __init__(self, collectors: Sequence[Collector], interval_s: float = 1.0, timeout_s: float = 5.0) -> None:
        self._timeout = timeout_s
        self._watches = [_Watch(c, interval_s, timeout_s) for c in collectors]
        self._started = time.monotonic()

    def start(self) -> None:
        """Begin reading in the background."""
        self._started = time.monotonic()
        for watch in self._watches:
            watch.start()

    def stop(self) -> None:
        """Take a last sample of every source and end, after `timeout_s` at the latest."""
        for watch in self._watches:
            watch.ask_to_stop()
        deadline = time.monotonic() + self._timeout
        for watch in self._watches:
            watch.close(deadline)

    def captures(self) -> list[dict[str, Any]]:
        """Raw samples per source: JSON-able, and `replay` turns them into the same readings."""
        return [watch.capture() for watch in self._watches]

    def readings(self) -> tuple[Reading, ...]:
        """One reading per collector, at any time; series count from the start of sampling."""
        return tuple(_reading(w.collector, w.capture(), self._started) for w in self._watches)


def _reading(collector: Collector, capture: Mapping[str, Any], start: float) -> Reading:
    source = Source(capture["kind"], capture["origin"], capture["state"], capture["note"])
    samples = capture["samples"]
    if not samples:
        return Reading(source)
    try:
        facts, series = collector.parse(samples)
    except Exception as error:  # one source's odd output must not cost the others
        note = f"{source.origin} gave output that was not understood ({type(error).__name__}: {error})"
        return Reading(Source(source.kind, source.origin, "unreadable", note))
    shift = samples[0]["t"] - start
    moved = {name: Series(tuple(round(x + shift, 3) for x in s.t), s.v) for name, s in series.items()}
    return Reading(source, facts, moved)


def sample(
    seconds: float, pid: int | None = None, progress: Callable[[float], None] | None = None
) -> tuple[Reading, ...]:
    """Watch this machine, and the tree of `pid`, for `seconds`; `progress` hears 0 to 1."""
    collectors = default_collectors(pid)
    if pid is not None:
        collectors.append(PySpy(pid, seconds))
    sampler = Sampler(collectors, interval_s=min(1.0, max(0.1, seconds / 10)))
    sampler.start()
    began = time.monotonic()
    try:
        while (passed := time.monotonic() - began) < seconds:
            if progress:
                progress(passed / seconds)
            time.sleep(min(0.25, seconds - passed))
    finally:
        sampler.stop()
    if progress:
        progress(1.0)
    return sampler.readings()


def read_now(collector: Collector) -> Reading:
    """What one read says, in the calling thread and without a time limit: for a source that a person waits for."""
    return _Watch(collector, 1.0, math.inf).once()


def replay(captures: Sequence[Mapping[str, Any]]) -> tuple[Reading, ...]:
    """The readings of stored captures; nothing of this machine is read."""
    probes: list[Collector] = [DiskProbe(), MemoryProbe(), MatmulProbe(), NetworkProbe(("replayed:1",))]
    further: list[Collector] = [LoaderProbe((sys.executable,)), PySpy(None, 0.0)]
    known = {(c.kind, c.origin): c for c in (*default_collectors(), *probes, *further)}
    start = min((c["samples"][0]["t"] for c in captures if c["samples"]), default=0.0)
    readings = []
    for capture in captures:
        collector = known.get((capture["kind"], capture["origin"]))
        if collector is None:
            note = f"captures of {capture['kind']} from {capture['origin']} are not known to this version"
            readings.append(Reading(Source(capture["kind"], capture["origin"], "unreadable", note)))
        else:
            readings.append(_reading(collector, capture, start))
    return tuple(readings)
