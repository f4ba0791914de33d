"""Where the time of a step goes, each moment counted once: the categories of the TensorBoard plugin, in its order."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.arrays import Floats
from advisor.readers.trace.categories import COPY, FILL
from advisor.readers.trace.intervals import Intervals, joined, union
from advisor.readers.trace.work import Work

LOADING = re.compile(r"enumerate\(DataLoader\)#.*\.__next__$")
COLLECTIVE = re.compile(r"(nccl|gloo|mpi|ucc|xccl|hccl):(?!.*(wait|barrier)$)")
_GLOO = re.compile(r"(gloo|mpi|ucc):")
# What the plugin counts as other: the spans that frame everything.
_FRAMES = re.compile(r"ProfilerStep|enumerate\(DataLoader\)#|PyTorch Profiler")


def loading(work: Work) -> Intervals:
    """When the main thread waits for the next batch."""
    waits = work.noted(LOADING)
    return union(waits.start, waits.end)


def host_collectives(work: Work) -> Intervals:
    """Collectives that run on the CPU (Gloo, MPI)."""
    found = work.noted(_GLOO)
    return union(found.start, found.end)


def categories(work: Work) -> dict[str, Intervals]:
    """The times of each category; where several hold, the first counts."""
    trace = work.trace
    kernels = work.computing & (work.gpu.kind != FILL)
    operators = trace.ops.only(~trace.names.like(_FRAMES)[trace.ops.name])
    return {
        "kernel": work.when(kernels),
        "memcpy": work.when(work.gpu.kind == COPY),
        "memset": work.when(work.gpu.kind == FILL),
        "communication": joined(work.when(work.communicating), host_collectives(work)),
        "runtime": union(trace.calls.start, trace.calls.end),
        "dataloader": loading(work),
        "cpu": union(operators.start, operators.end),
    }


def per_step(work: Work) -> dict[str, Floats]:
    """Microseconds of each category in each step, and what is left."""
    spans = work.window.spans
    covered = Intervals(np.empty(0), np.empty(0))
    before = np.zeros(work.window.count)
    found: dict[str, Floats] = {}
    for name, times in categories(work).items():
        covered = joined(covered, times)
        until = covered.each(spans)
        found[name] = until - before
        before = until
    found["other"] = spans.end - spans.start - before
    return found


def rows(work: Work) -> Iterator[Row]:
    """The categories as shares of the window."""
    if not len(work.trace.ops) or not (work.window.steps or len(work.gpu)):
        return
    for name, times in per_step(work).items():
        fact = "trace.dataloader.fraction" if name == "dataloader" else f"trace.step.{name}.fraction"
        yield share(fact, float(times.sum()) / work.window.length)


def step_rows(work: Work) -> Iterator[Row]:
    """Times of the steps and of the wait for data in them."""
    wait = loading(work).shared(work.window.spans)
    late = (wait.length - work.when(work.every).within(wait)) / work.window.length
    lengths = work.step_times
    told = work.trace.names.any(LOADING)  # else the program has a loader of its own
    if told:
        yield share("ml.step.data_wait.fraction", wait.length / work.window.length)
        yield share("ml.step.data_wait.exposed.fraction", late)
    if not lengths.size:
        return
    mean = float(lengths.mean())
    yield row("ml.step.time", mean, "s")
    yield row("ml.step.count", float(lengths.size), "{step}")
    yield row("ml.step.time.cv", float(lengths.std() / mean) if lengths.size > 2 else None, "1")
    yield row("ml.step.time.p95", float(np.quantile(lengths, 0.95)) if lengths.size >= 20 else None, "s")
    yield row("ml.step.data_wait.time", work.per_step(wait.length * 1e-6) if told else None, "s")
    yield row("ml.step.compute.time", mean * (1 - wait.length / work.window.length), "s")
