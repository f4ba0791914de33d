"""What the device did in the window: busy or idle and why, copies, the kinds of its kernels."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.arrays import Floats, Mask
from advisor.readers.trace.categories import COPY, KERNEL
from advisor.readers.trace.columns import MOST
from advisor.readers.trace.kernels import ATTENTION, CAST, CONV, FP32, GEMM, POINTWISE
from advisor.readers.trace.setting import is_gpu
from advisor.readers.trace.work import Work

# Handing over from one queued kernel to the next takes 1 to 2 us; what lasts longer waits for something else.
HAND_OVER_US = 10.0
LARGE_COPY = 1 << 20  # smaller copies are all latency
UP = re.compile(r"(?i).*(HtoD|Host ?-> ?Device|HostToDevice)")
_DOWN = re.compile(r"(?i).*(DtoH|Device ?-> ?Host|DeviceToHost)")
_PAGEABLE = re.compile(r"(?i).*Pageable")


def rows(work: Work) -> Iterator[Row]:
    """Everything about the device; nothing when it did no work."""
    if not len(work.gpu):
        return
    yield from _busy(work)
    yield from _copies(work)
    yield from _kinds(work)
    yield from _fill(work)
    yield from span_rows(work)


def _busy(work: Work) -> Iterator[Row]:
    busy = work.when(work.every)
    used = work.share(busy)
    yield share("trace.gpu.idle.fraction", 1 - used)
    yield share("hw.gpu.utilization", used)
    gaps = busy.gaps(work.window.spans)
    lengths = gaps.end - gaps.start
    if not gaps.length:
        return
    host, handed = _reasons(work, gaps.start, gaps.end)
    if host is not None:
        yield share("trace.gpu.idle.host_wait.fraction", float(lengths[host].sum()) / gaps.length)
        yield share("trace.gpu.idle.kernel_wait.fraction", float(lengths[handed].sum()) / gaps.length)


def _reasons(work: Work, begin: Floats, end: Floats) -> tuple[Mask | None, Mask]:
    """Which gaps wait for the CPU to launch something, and which only for the hand-over between queued work.

    After Holistic Trace Analysis: the CPU is late when the call that launched what ends the gap began after the
    gap did.
    """
    launched = work.launched()
    if not np.isfinite(launched).any():
        return None, np.zeros(begin.size, np.bool_)
    following = np.searchsorted(work.gpu.start, end - 1e-3, "left")
    at = np.minimum(following, len(work.gpu) - 1)
    late = np.where(following < len(work.gpu), launched[at] >= begin, True)
    queued = np.where(following < len(work.gpu), launched[at] < begin, False)
    return late, queued & (end - begin <= HAND_OVER_US)


def _copies(work: Work) -> Iterator[Row]:
    kind = work.gpu.kind == COPY
    up, down, pageable = (kind & by_name(work, pattern) for pattern in (UP, _DOWN, _PAGEABLE))
    within = work.window.holds(work.gpu.start)
    compute = work.when(work.computing)
    copies = work.when(up).shared(work.window.spans)
    yield share("trace.memcpy.h2d.fraction", (copies.length - compute.within(copies)) / work.window.length)
    back = float((down & within).sum())
    yield row("trace.memcpy.d2h.count.per_step", work.per_step(back), "{copy}")
    told = up & within & (work.gpu.bytes >= 0) & (work.gpu.bytes < MOST)
    total = float(work.gpu.bytes[told].sum())
    if total:
        yield share("trace.memcpy.h2d.pageable.fraction", float(work.gpu.bytes[told & pageable].sum()) / total)
    large = told & (work.gpu.bytes >= LARGE_COPY)
    seconds = float((work.gpu.end - work.gpu.start)[large].sum()) * 1e-6
    yield row("trace.memcpy.h2d.bandwidth", float(work.gpu.bytes[large].sum()) / seconds if seconds else None, "By/s")


def _kinds(work: Work) -> Iterator[Row]:
    busy = work.when(work.every).within(work.window.spans)
    products = work.when(work.kernels(GEMM | CONV | ATTENTION)).within(work.window.spans)
    if not busy or not (work.gpu.kind == KERNEL).any() or not is_gpu(work):
        return
    for name, bits in (
        ("trace.matmul.fraction", GEMM | CONV | ATTENTION),
        ("trace.conv.fraction", CONV),
        ("trace.attention.fraction", ATTENTION),
        ("trace.elementwise.fraction", POINTWISE),
        ("trace.cast.fraction", CAST),
    ):
        yield share(name, work.when(work.kernels(bits)).within(work.window.spans) / busy)
    if products:  # over all products: a last layer in FP32 behind a hundred convolutions does not matter
        single = work.when(work.kernels(FP32) & work.kernels(GEMM)).within(work.window.spans)
        yield share("trace.matmul.fp32.fraction", single / products)


def _fill(work: Work) -> Iterator[Row]:
    """How far the kernels fill the device, weighted by their time."""
    kernels = work.computing & (work.gpu.kind == KERNEL) & work.window.holds(work.gpu.start)
    time = np.where(kernels, work.gpu.end - work.gpu.start, 0.0)
    # Kineto writes 0 where it cannot tell; it can be true only of grids that leave most SMs without a block.
    tiny = work.gpu.blocks < 0.1
    for name, values, scale, unit in (
        ("trace.kernel.occupancy.mean", work.gpu.occupancy, 0.01, "1"),
        ("trace.kernel.blocks_per_sm.mean", work.gpu.blocks, 1.0, "{block}"),
    ):
        known = kernels & np.isfinite(values) & ((values > 0) | tiny)
        weight = float(time[known].sum())
        if weight > 0.5 * float(time.sum()):
            yield row(name, float((time[known] * values[known]).sum()) / weight * scale, unit)


def span_rows(work: Work) -> Iterator[Row]:
    """The same over the span of the device's own work, as TraceLens and others take it.

    Work whose launch is not in the trace was left over from before it and is not counted.
    """
    known = work.call >= 0
    mine = known if known.any() else work.every
    start, end = float(work.gpu.start[mine].min()), float(work.gpu.end[mine].max())
    if end <= start:
        return
    busy, compute = work.when(mine), work.when(mine & work.computing)
    comm, copies = work.when(mine & work.communicating), work.when(mine & work.copying)
    both = work.when(mine & ~work.copying)
    yield row("trace.gpu.span.time", (end - start) * 1e-6, "s")
    yield share("trace.gpu.span.busy.fraction", busy.length / (end - start))
    yield share("trace.gpu.span.compute.fraction", compute.length / (end - start))
    yield share("trace.gpu.span.comm.fraction", comm.length / (end - start))
    yield share("trace.gpu.span.comm.exposed.fraction", (comm.length - compute.within(comm)) / (end - start))
    if comm.length:
        kernels = work.when(mine & work.computing & (work.gpu.kind == KERNEL))
        yield share("trace.gpu.span.comm.overlap.fraction", kernels.within(comm) / comm.length)
    yield share("trace.gpu.span.memcpy.exposed.fraction", (copies.length - both.within(copies)) / (end - start))


def by_name(work: Work, pattern: re.Pattern[str]) -> Mask:
    """Work whose name holds the pattern."""
    return np.asarray(work.trace.names.like(pattern)[work.gpu.name])
