"""Habits of the program that its operators give away: loops over elements, tensors made on the CPU, the optimizer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.arrays import Mask
from advisor.readers.trace.categories import COPY, FILL, KERNEL
from advisor.readers.trace.device import UP, by_name
from advisor.readers.trace.intervals import union
from advisor.readers.trace.load import Spans
from advisor.readers.trace.work import Work, inside

_SELECT, _AUTOGRAD = re.compile(r"aten::(select|index)$"), re.compile(r"autograd::|torch::autograd|\w+Backward\d")
_MAKE = re.compile(r"aten::(zeros|ones|full|rand|randn|randint|randperm|eye|linspace|arange)$")
_TO = re.compile(r"aten::(to|_to_copy)$")
_ZERO, _ACCUMULATE = re.compile(r"Optimizer\.zero_grad#"), re.compile(r"torch::autograd::AccumulateGrad$")
_FUSED, _FOREACH = re.compile(r"aten::_fused_"), re.compile(r"aten::_foreach_")
RUN, APART = 10, 8  # selects in a row that make a loop, and operators that may be between two of them
LOOP, FOREACH, FUSED = "for-loop", "foreach", "fused"


def rows(work: Work) -> Iterator[Row]:
    """Everything that is told by operators on the CPU."""
    top = work.trace.ops.only(_outermost(work.trace.ops))
    top = top.only(work.window.holds(top.start))
    if len(top):
        yield row("trace.python.forloop_indexing.count", float(_loops(work, top)), "{pattern}")
    if len(work.gpu):
        yield row("trace.cpu_init_copy.count", work.per_step(float(_made_on_cpu(work, top))), "{pattern}")
    yield from _optimizer(work)


def _outermost(ops: Spans) -> Mask:
    """Operators that no other operator of their thread contains."""
    found = np.zeros(len(ops), np.bool_)
    for thread in np.unique(ops.thread):
        mine = np.flatnonzero(ops.thread == thread)
        reach = np.maximum.accumulate(np.r_[-np.inf, ops.end[mine][:-1]])
        found[mine] = ops.start[mine] >= reach
    return found


def _loops(work: Work, top: Spans) -> int:
    """Runs of reads of single elements, on the thread that reads most."""
    names = work.trace.names
    forward, chosen = top.only(~names.like(_AUTOGRAD)[top.name]), names.like(_SELECT)
    best = 0
    for thread in np.unique(forward.thread):
        mine = forward.only(forward.thread == thread)
        at = np.flatnonzero(chosen[mine.name])
        breaks = np.flatnonzero(np.diff(at) > APART + 1)
        sizes = np.diff(np.r_[-1, breaks, at.size - 1]) if at.size else np.empty(0)
        best = max(best, int((sizes >= RUN).sum()))
    return best


def _made_on_cpu(work: Work, top: Spans) -> int:
    """Tensors that are made on the CPU and copied to the device at once."""
    made, moved = (work.trace.names.like(pattern)[top.name] for pattern in (_MAKE, _TO))
    pair = np.flatnonzero(made[:-1] & moved[1:] & (top.thread[:-1] == top.thread[1:]))
    if not pair.size or not len(work.trace.calls):
        return 0
    copies = (work.gpu.kind == COPY) & by_name(work, UP)
    called, threads = work.launched()[copies], work.trace.calls.thread[np.maximum(work.call[copies], 0)]
    copied = np.unique(inside(top.only(pair + 1), called, threads))
    on_device = np.unique(inside(top.only(pair), work.launched(), work.trace.calls.thread[np.maximum(work.call, 0)]))
    return int(np.setdiff1d(copied[copied >= 0], on_device).size)


def _optimizer(work: Work) -> Iterator[Row]:
    steps = work.optimizer_steps
    if not len(steps):
        return
    name = work.trace.names[int(steps.name[0])].partition("#")[2].removesuffix(".step")
    yield row("config.optimizer", name or None, "{string}")
    if not len(work.gpu):
        yield share("ml.step.optimizer.fraction", work.share(union(steps.start, steps.end)))
        return
    launched = _launched_in(work, steps)
    yield share("trace.optimizer.fraction", work.share(work.when(launched)))
    yield row("config.optimizer.implementation", _implementation(work, steps, launched), "{string}")
    tensors = _tensors(work)
    kernels = float((launched & (work.gpu.kind == KERNEL) & work.window.holds(work.launched())).sum())
    yield row("trace.optimizer.kernels_per_param", kernels / len(steps) / tensors if tensors else None, "{kernel}")
    # An optimizer that runs kernels has its state on the GPU; one that is offloaded steps on the CPU.
    yield row("config.offload", False if kernels else None, "{bool}")
    zeroed = _launched_in(work, work.noted(_ZERO))
    busy = work.when(work.every).within(work.window.spans)
    if busy:
        zeroing = work.when(zeroed & ((work.gpu.kind == FILL) | (work.gpu.kind == KERNEL)))
        yield share("trace.zero_grad.memset.fraction", zeroing.within(work.window.spans) / busy)


def _launched_in(work: Work, spans: Spans) -> Mask:
    """Work that was launched within spans, by whichever thread."""
    if not len(spans):
        return np.zeros(len(work.gpu), np.bool_)
    return np.asarray(inside(spans, work.launched()) >= 0)


def _implementation(work: Work, steps: Spans, launched: Mask) -> str | None:
    within = work.trace.ops.only(inside(steps, work.trace.ops.start) >= 0)
    for name, pattern in ((FUSED, _FUSED), (FOREACH, _FOREACH)):
        if len(work.named(within, pattern)):
            return name
    return LOOP if launched.any() and len(within) else None


def _tensors(work: Work) -> float | None:
    """Parameter tensors: gradients that one backward pass accumulates."""
    found = work.named(work.trace.ops, _ACCUMULATE)
    found = found.only(work.window.holds(found.start))
    steps = len(work.optimizer_steps)
    return len(found) / steps if len(found) >= steps > 0 else None
