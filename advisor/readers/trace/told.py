"""One trace -> what it says: facts, a note for people, a picture of the device, and who it is among ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from advisor.errors import InputError
from advisor.models import Reading, Series, Source
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.rows import Row, facts, row
from advisor.readers.trace import breakdown, collectives, device, habits, launches, memory, products, setting
from advisor.readers.trace.load import Trace, load
from advisor.readers.trace.work import Work, prepare

KIND = "trace"
POINTS = 600
_LATEST_S = 1e10  # the year 2286
_EPOCH_US = 1e15  # times above it count from 1970, in microseconds; others from some moment of the profiler's own


@dataclass(frozen=True, slots=True)
class One:
    """What one trace says.

    Args:
        reading: facts and note.
        rank: its rank in a distributed run, None when that is not told.
        world: ranks of that run, None when that is not told.
        process: names the process on its host.
        started: when the window began, Unix seconds; None when that is not told.
        seconds: length of the window.
        collectives: microseconds of each collective on the device.
        name: of the file.
    """

    reading: Reading
    rank: int | None
    world: int | None
    process: tuple[str, str]
    started: float | None
    seconds: float
    collectives: tuple[float, ...]
    name: str


def tell(artefact: Artefact, tick: Tick) -> One:
    """What the trace in an artefact says (raises InputError when it is none, damaged or empty)."""
    trace = load(artefact, tick)
    work = prepare(trace)
    if work is None:
        raise InputError(
            f"{artefact.origin} is a trace of the PyTorch profiler in which nothing takes time; "
            "profile some steps of training, with ProfilerActivity.CPU and, on a GPU, ProfilerActivity.CUDA"
        )
    info = setting.distributed(trace.header)
    found = facts(_rows(work), artefact.origin)
    series = {"hw.gpu.utilization": _picture(work)} if len(work.gpu) else {}
    if work.step_times.size > 2:
        series["ml.step.time"] = _steps(work)
    return One(
        Reading(Source(KIND, artefact.origin, "ok", _note(work)), found, series),
        setting.whole(info.get("rank")),
        setting.whole(info.get("world_size")),
        _process(trace),
        _started(work),
        work.seconds,
        tuple(collectives.lengths(work).tolist()),
        artefact.name,
    )


def _rows(work: Work) -> Iterator[Row]:
    yield from setting.rows(work)
    yield from breakdown.step_rows(work)
    yield from breakdown.rows(work)
    yield from device.rows(work)
    yield from collectives.rows(work)
    yield from launches.rows(work)
    yield from products.rows(work)
    yield from habits.rows(work)
    yield from memory.rows(work)
    yield from _local(work)


def _local(work: Work) -> Iterator[Row]:
    """What a rank needs for itself: the step without waiting for data and for other ranks."""
    told = {name: value for name, value, _, _ in breakdown.step_rows(work)}
    own = told.get("ml.step.compute.time")
    step = told.get("ml.step.time")
    if isinstance(own, float) and isinstance(step, float):
        yield row("ml.step.local.time", max(0.0, own - step * collectives.exposed(work)), "s")


def _note(work: Work) -> str:
    """What it is, which window was used, and what was left out."""
    trace, window = work.trace, work.window
    what = f"a PyTorch profiler trace of {trace.count:,} events"
    size = f"{window.count} steps, " if window.steps and window.count > 1 else "1 step, " if window.steps else ""
    parts = [f"{what}; window: {size}{work.seconds:.4g} s ({window.rule})"]
    if work.devices > 1:
        parts.append(f"of {work.devices} devices the busiest is looked at")
    if window.steps and len(work.gpu):
        outside = int((~window.holds(work.gpu.start)).sum())
        parts += [f"{outside:,} pieces of GPU work outside of the steps are left out"] if outside else []
    if not len(work.gpu):
        parts.append("it holds no GPU work")
    if trace.python:
        parts.append("Python functions were recorded, which makes CPU times longer than they are without")
    if trace.lost:
        parts.append(f"{trace.lost:,} events without a sensible time are left out")
    return "; ".join(parts)


def _process(trace: Trace) -> tuple[str, str]:
    host = trace.header.get("host_name")
    return str(host or ""), str(trace.process)


def _started(work: Work) -> float | None:
    first = float(work.window.spans.start[0])
    base = setting.whole_nanoseconds(work.trace.header)
    if not base:
        return first * 1e-6 if first > _EPOCH_US else None
    started = base * 1e-9 + first * 1e-6
    return started if 0 < started < _LATEST_S else None


def _steps(work: Work) -> Series:
    """Seconds of the steps, over the time spent in them."""
    every = -(-work.step_times.size // POINTS)
    ends = np.cumsum(work.step_times)
    return Series(tuple(ends[::every].round(6).tolist()), tuple(work.step_times[::every].round(9).tolist()))


def _picture(work: Work) -> Series:
    """How much of each part of the window's span the device was busy."""
    spans = work.window.spans
    points = int(min(POINTS, max(1, len(work.gpu))))
    edges = np.linspace(float(spans.start[0]), float(spans.end[-1]), points + 1)
    busy = np.diff(work.when(work.every).before(edges)) / np.diff(edges)
    return Series(
        tuple(((edges[:-1] - edges[0]) * 1e-6).round(9).tolist()), tuple(np.clip(busy, 0, 1).round(4).tolist())
    )
