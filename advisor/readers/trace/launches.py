"""How work gets to the device: launches, the queue, and calls that wait for it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.categories import KERNEL
from advisor.readers.trace.intervals import union
from advisor.readers.trace.load import Spans
from advisor.readers.trace.work import Work, inside

_LAUNCH = re.compile(
    r"(cuda|cu|hip|hipExt|hipExtModule|hipModule|hipDrv)Launch(Kernel|Cooperative|Ext)|(cuda|cu|hip)GraphLaunch"
)
_GRAPH = re.compile(r"(cuda|cu|hip)GraphLaunch")
# Calls that return only when the device is done: cudaMemcpy and hipMemcpyWithStream copy and wait.
_SYNC = re.compile(
    r"(cuda|cu|hip)(Stream|Device|Event|Ctx|Context)Synchronize|(cuda|hip)Memcpy(2D|3D)?$|cuMemcpy(HtoD|DtoH)(_v2)?$"
    r"|hipMemcpyWithStream$|(cuda|hip)Free$|synchronize(Stream)?$"
)
_DEVICE = re.compile(r"(cuda|hip)DeviceSynchronize")
_ALLOC = re.compile(r"(cuda|hip)Malloc$|(cu|hip)MemMap$|cuMemCreate$")
_FREE = re.compile(r"(cuda|hip)Free$|(cu|hip)MemUnmap$")
_READ = re.compile(r"aten::_local_scalar_dense$")
_ITEM = re.compile(r"aten::(_local_scalar_dense|item)$")
_BACKWARD = re.compile(r"autograd::engine::evaluate_function: ")
FULL_QUEUE = 1024  # launches that CUDA holds per stream before the call blocks


def rows(work: Work) -> Iterator[Row]:
    """Everything about launches and waits; nothing when no call was recorded."""
    if not len(work.trace.calls):
        return
    yield from _launches(work)
    yield from _queue(work)
    yield from _waits(work)
    yield from _allocator(work)


def in_window(work: Work, spans: Spans) -> Spans:
    """The spans that begin in the window."""
    return spans.only(work.window.holds(spans.start))


def waits(work: Work) -> Spans:
    """Calls of the program that block until the device is done.

    The profiler waits for the device itself when it stops: after the last step, or as the last call of all.
    """
    calls = work.trace.calls
    found = work.trace.names.like(_SYNC)[calls.name] & work.window.marked.hold(calls.start)
    if not work.window.steps and len(calls) and _DEVICE.match(work.trace.names[int(calls.name[-1])]):
        found[-1] = False
    return calls.only(found)


def _launches(work: Work) -> Iterator[Row]:
    calls = work.named(work.trace.calls, _LAUNCH)
    kernels = (work.gpu.kind == KERNEL) & work.window.holds(work.gpu.start)
    if len(work.gpu):
        yield row("trace.kernel.count.per_step", work.per_step(float(kernels.sum())), "{kernel}")
    yield share("trace.launch.fraction", work.share(union(calls.start, calls.end)))
    graphs = in_window(work, work.named(calls, _GRAPH))
    yield row("trace.graph_launch.count", work.per_step(float(len(graphs))), "{call}")
    begun, ended = work.launched(), work.launched(begin=False)
    known = kernels & np.isfinite(begun)
    if known.any():
        # A graph launches many kernels with one call: together they are shorter than it, or not.
        _, first, each = np.unique(work.call[known], return_index=True, return_inverse=True)
        total = np.bincount(each, (work.gpu.end - work.gpu.start)[known])
        short = total[each] < (ended - begun)[known]
        delay = (work.gpu.start - ended)[known][first]
        yield share("trace.kernel.short.fraction", float(short.mean()))
        yield row("trace.launch.delay.median", float(np.median(delay)) * 1e-6, "s")


def _queue(work: Work) -> Iterator[Row]:
    """The longest queue of any stream: launched and not begun, as Holistic Trace Analysis counts it."""
    begun = work.launched()
    longest, full = 0, 0.0
    for stream in np.unique(work.gpu.stream):
        known = np.flatnonzero((work.gpu.stream == stream) & np.isfinite(begun))
        if not known.size:
            continue
        mine = known[np.unique(work.call[known], return_index=True)[1]]  # a graph is one entry, however many kernels
        times = np.r_[begun[mine], work.gpu.start[mine]]
        change = np.r_[np.ones(mine.size), -np.ones(mine.size)]
        order = np.lexsort((change, times))
        length = np.cumsum(change[order])
        longest = max(longest, int(length.max()))
        over = length >= FULL_QUEUE
        full = max(full, float(np.diff(times[order], append=times[order][-1])[over].sum()))
    if np.isfinite(begun).any():
        yield row("trace.stream.queue_length.max", float(longest), "{op}")
        yield share("trace.stream.queue_full.fraction", full / work.window.length)


def _waits(work: Work) -> Iterator[Row]:
    blocked = waits(work)
    yield row("trace.sync.count.per_step", work.per_step(float(len(blocked))), "{call}", place(work, blocked))
    yield share("trace.sync.fraction", work.share(union(blocked.start, blocked.end)), place(work, blocked))
    items = in_window(work, work.named(work.trace.ops, _ITEM))
    inner = _innermost(work, items)
    if len(work.gpu):  # without a device a read costs nothing
        real = np.unique(inside(inner, blocked.start, blocked.thread))
        reads = inner.only(real[real >= 0])
        yield row("trace.item.count.per_step", work.per_step(float(len(reads))), "{call}", place(work, reads))
    yield row("trace.clip.sync.count.per_step", _before_optimizer(work, blocked), "{call}")


def _innermost(work: Work, items: Spans) -> Spans:
    """Reads of a value: ``aten::item`` calls ``_local_scalar_dense``, which does the work."""
    inner = work.named(items, _READ)
    return inner if len(inner) else items


def _before_optimizer(work: Work, blocked: Spans) -> float | None:
    """Waits per step after the last backward operator and before the optimizer is done."""
    steps = work.optimizer_steps
    backward = work.named(work.trace.ops, _BACKWARD)
    if not len(steps) or not len(backward):
        return None
    ends = np.sort(backward.end)
    at = np.searchsorted(ends, steps.end, "right") - 1
    begin = np.where(at >= 0, ends[np.maximum(at, 0)], steps.start)
    count = sum(int(((blocked.start >= b) & (blocked.start < e)).sum()) for b, e in zip(begin, steps.end, strict=True))
    return work.per_step(float(count))


def _allocator(work: Work) -> Iterator[Row]:
    for name, pattern in (("device_alloc", _ALLOC), ("device_free", _FREE)):
        calls = in_window(work, work.named(work.trace.calls, pattern))
        yield row(f"torch.cuda.memory.{name}.rate", work.per_step(float(len(calls))), "{call}/step")


def place(work: Work, spans: Spans) -> str | None:
    """``file:line`` of the user's function that the spans spend most time in, where functions were recorded."""
    code = work.trace.code
    if not len(spans) or not len(code):
        return None
    longest = spans.only(np.argsort(spans.start - spans.end, kind="stable")[:50])
    found: dict[str, float] = {}
    for start, end in zip(longest.start, longest.end, strict=True):
        around = np.flatnonzero((code.start <= start) & (code.end >= end))
        if around.size:
            name = work.trace.names[int(code.name[around[-1]])]
            found[name] = found.get(name, 0.0) + float(end - start)
    if not found:
        return None
    file, _, rest = max(found, key=lambda n: found[n]).partition("(")
    return f"{file}:{rest.split(')')[0]}"
