"""What GPUs did -> facts, the same from every profiler.

Copies count as busy: a GPU that waits for its data is not idle for want of work,
and saying so would send people to the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from advisor.readers.profilers.timeline import (
    BACKWARD,
    CAST,
    CODE,
    D2H,
    FP32,
    GRAPH,
    GRAPH_LAUNCH,
    H2D,
    LAUNCH,
    NO_TENSOR,
    SYNC,
    TENSOR,
    UNKNOWN,
    Calls,
    Gpu,
    Ops,
    both,
    ints,
    length,
    merged,
)
from advisor.readers.profilers.timeline_view import NO_STEPS, Steps, View, gaps, view
from advisor.readers.rows import Row, row, share

# An idle gap with the next operation long queued is the hand-over from kernel to kernel when it is this
# short (1 to 2 us on current GPUs); a longer one waits for something else, such as another stream.
HANDOVER_NS = 5_000
LONG_NS = 5_000_000  # a gap of this length is no launch: a hundred kernels could have been launched in it
LARGE = 1 << 20  # bytes: smaller copies are all start-up and say nothing about the link
LEAST_TOLD = 0.9  # of what a share is made of, so much must be known
MOST_OTHER = 0.5  # where names say nothing of half of the time, shares of the rest would mislead


def rows(gpu: Gpu, steps: Steps = NO_STEPS) -> tuple[Row, ...]:
    """All facts of one GPU."""
    seen = view(gpu, steps)
    return (*_busy(seen), *_idle(seen), *_kernels(seen), *_copies(seen), *_comm(seen), *_host(seen), *_per_step(seen))


def _busy(v: View) -> Iterator[Row]:
    busy = length(merged(v.ops.start, v.ops.end))
    computing = length(v.union(v.ops.kernels | (v.ops.kind == GRAPH)))
    yield share("trace.gpu.idle.fraction", 1 - busy / v.lasts)
    if not v.gpu.name.startswith("TPU"):
        yield row("run.gpu.used", True, "{bool}")
        yield share("hw.gpu.utilization", computing / v.lasts)
    if (v.ops.marks & BACKWARD).any():
        yield row("run.phase", "training", "{string}")


def _idle(v: View) -> Iterator[Row]:
    found = gaps(v)
    told = found.call >= 0
    total, known = int(found.lasts.sum()), int(found.lasts[told].sum())
    if total:
        yield share("trace.gpu.idle.long_gap.fraction", found.lasts[found.lasts >= LONG_NS].sum() / total)
    if not total or known < LEAST_TOLD * total:
        return
    start, lasts = found.start[told], found.lasts[told]
    late = v.gpu.calls.start[found.call[told]] > start
    yield share("trace.gpu.idle.host_wait.fraction", lasts[late].sum() / known)
    yield share("trace.gpu.idle.kernel_wait.fraction", lasts[~late & (lasts <= HANDOVER_NS)].sum() / known)


def _kernels(v: View) -> Iterator[Row]:
    kernel = v.ops.take(v.ops.kernels)
    lasts = kernel.lasts
    computing = kernel.kind != CODE["communication"]
    total = int(lasts[computing].sum())
    if not total or (v.ops.kind == GRAPH).any():  # what runs inside graphs is not seen
        return
    of = {kind: int(lasts[kernel.kind == code].sum()) for kind, code in CODE.items()}
    if of["other"] > MOST_OTHER * total:
        return
    matrix = of["matmul"] + of["conv"]
    yield share("trace.matmul.fraction", (matrix + of["attention"]) / total)
    yield share("trace.conv.fraction", of["conv"] / total)
    yield share("trace.attention.fraction", of["attention"] / total)
    yield share("trace.elementwise.fraction", (of["elementwise"] + of["copy"] + of["reduce"]) / total)
    yield share("trace.cast.fraction", lasts[(kernel.marks & CAST) > 0].sum() / total)
    yield from _precision(kernel, matrix, total)
    yield from _grid(v, kernel.take(computing))


def _precision(kernel: Ops, matrix: int, total: int) -> Iterator[Row]:
    chosen = kernel.take((kernel.kind == CODE["matmul"]) | (kernel.kind == CODE["conv"]))
    marked = (chosen.marks & (TENSOR | NO_TENSOR)) > 0
    if not matrix or chosen.lasts[marked].sum() < LEAST_TOLD * matrix:
        return
    yield share("trace.matmul.fp32.fraction", chosen.lasts[(chosen.marks & FP32) > 0].sum() / matrix)
    unused = chosen.lasts[(chosen.marks & NO_TENSOR) > 0].sum()
    yield share("trace.tensor_core.eligible_unused.fraction", unused / total)


def _grid(v: View, kernel: Ops) -> Iterator[Row]:
    told = kernel.blocks > 0
    if v.gpu.multiprocessors and told.any():
        mean = np.average(kernel.blocks[told].astype(float), weights=np.maximum(kernel.lasts[told], 1))
        yield row("trace.kernel.blocks_per_sm.mean", float(mean) / v.gpu.multiprocessors, "{block}")


def _copies(v: View) -> Iterator[Row]:
    if not v.gpu.copies:
        return
    to_gpu = v.ops.kind == H2D
    spans = v.union(to_gpu)
    kernels = v.union(v.ops.kernels | (v.ops.kind == GRAPH))
    busy = length(spans)
    yield share("trace.memcpy.h2d.busy.fraction", busy / v.lasts)
    yield share("trace.memcpy.h2d.fraction", (busy - both(spans, kernels)) / v.lasts)
    copies = v.ops.take(to_gpu)
    size = int(copies.size.sum())
    yield row("trace.memcpy.h2d.bytes", size, "By")
    back = v.union(v.ops.kind == D2H)
    yield share("trace.memcpy.d2h.fraction", (length(back) - both(back, kernels)) / v.lasts)
    told = copies.pageable != UNKNOWN
    if size and copies.size[told].sum() >= LEAST_TOLD * size:
        pageable = copies.size[copies.pageable == 1].sum() / copies.size[told].sum()
        yield share("trace.memcpy.h2d.pageable.fraction", pageable)
    large = copies.take((copies.size >= LARGE) & (copies.lasts > 0))
    if len(large.start):
        yield row("trace.memcpy.h2d.bandwidth", large.size.sum() / large.lasts.sum() * 1e9, "By/s")


def _comm(v: View) -> Iterator[Row]:
    if (v.ops.kind == GRAPH).any():
        return
    talking = v.ops.kind == CODE["communication"]
    spans = v.union(talking)
    hidden = both(spans, v.union(v.ops.kernels & ~talking))
    total = length(spans)
    yield share("trace.comm.fraction", total / v.lasts)
    yield share("trace.comm.exposed.fraction", (total - hidden) / v.lasts)
    if total:
        yield share("trace.comm.overlap.fraction", hidden / total)


def _host(v: View) -> Iterator[Row]:
    if not len(v.calls.start):
        return
    yield share("trace.launch.fraction", length(v.asked(LAUNCH, GRAPH_LAUNCH)) / v.lasts)
    yield share("trace.sync.fraction", length(v.asked(SYNC)) / v.lasts)
    calls = v.gpu.calls
    kernel = v.ops.take(v.ops.kernels & (v.ops.call >= 0))
    single = kernel.take(calls.kind[kernel.call] == LAUNCH)
    if len(single.start):
        asking = calls.end[single.call] - calls.start[single.call]
        yield share("trace.kernel.short.fraction", float((single.lasts < asking).mean()))
        delay = single.start - calls.end[single.call]
        yield row("trace.launch.delay.median", float(np.median(delay)) * 1e-9, "s")
        yield row("trace.stream.queue_length.max", _queue(single, calls), "{op}")


def _queue(ops: Ops, calls: Calls) -> int:
    """Most operations of one stream that were asked for and had not begun."""
    moments = np.concatenate((calls.start[ops.call], ops.start))
    change = np.repeat(ints((1, -1)), len(ops.start))
    # Each stream ends at nothing outstanding, so that one sum over all of them, in order, serves each.
    order = np.lexsort((change, moments, np.tile(ops.stream, 2)))
    return int(np.cumsum(change[order]).max(initial=0))


def _per_step(v: View) -> Iterator[Row]:
    steps = v.steps
    if not steps.count:
        return
    inside = v.ops.start >= v.low
    yield row("trace.kernel.count.per_step", int((v.ops.kernels & inside).sum()) / steps.count, "{kernel}")
    if v.gpu.copies:
        yield row("trace.memcpy.d2h.count.per_step", int((v.ops.kind == D2H).sum()) / steps.count, "{copy}")
    if not (v.ops.kind == GRAPH).any():
        talking = int((v.ops.kind == CODE["communication"]).sum())
        yield row("trace.comm.count.per_step", talking / steps.count, "{collective}")
    if len(v.calls.start):
        begun = (v.calls.start >= v.low) & (v.calls.start < v.high)
        for name, kind in (("trace.sync.count.per_step", SYNC), ("trace.graph_launch.count", GRAPH_LAUNCH)):
            yield row(name, int((begun & (v.calls.kind == kind)).sum()) / steps.count, "{call}")


def step_rows(steps: Steps, exposed: float | None = None) -> Iterator[Row]:
    """How long steps take: from the start of one to the start of the next, the last until its own end."""
    if not steps.count:
        return
    lasts = np.diff(np.append(steps.start, steps.end.max())) * 1e-9
    mean = float(lasts.mean())
    yield row("ml.step.count", steps.count, "{step}")
    yield row("ml.step.time", mean, "s")
    if steps.count >= 3 and mean > 0:
        yield row("ml.step.time.cv", float(lasts.std()) / mean, "1")
        yield row("ml.step.time.p95", float(np.percentile(lasts, 95)), "s")
    if exposed is not None:
        yield row("ml.step.local.time", mean * (1 - exposed), "s")


def wait_skew(gpus: Sequence[Gpu]) -> float | None:
    """Median over collectives of latest minus earliest start over the GPUs, s; None when they do not match.

    Collectives are matched by their order, which is the same on all ranks of one communicator.
    """
    starts = [gpu.ops.start[gpu.ops.kind == CODE["communication"]] for gpu in gpus]
    if len(starts) < 2 or len({len(s) for s in starts}) > 1 or not len(starts[0]):
        return None
    table = np.stack(starts)
    return float(np.median(table.max(axis=0) - table.min(axis=0))) * 1e-9
