"""Communication in the window: how long, how much of it hides behind computation, how large its messages are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.arrays import Floats
from advisor.readers.trace.breakdown import COLLECTIVE, host_collectives
from advisor.readers.trace.categories import KERNEL
from advisor.readers.trace.intervals import Intervals, union
from advisor.readers.trace.load import Spans
from advisor.readers.trace.work import Work

_COMPUTE = re.compile(r"aten::|autograd::|mkl|onednn|torch::autograd")
_PARAMS = re.compile(r"record_param_comms$")
MANY = 20_000  # collectives of a rank that are compared with those of others


def rows(work: Work) -> Iterator[Row]:
    """Everything about communication; nothing when there is none."""
    messages, sizes = _messages(work)
    on_device = work.communicating & work.window.holds(work.gpu.start)
    if on_device.any():
        running, compute = work.when(work.communicating), work.when(work.computing & (work.gpu.kind == KERNEL))
        count = float(on_device.sum())
    else:
        running, compute = host_collectives(work), _cpu_compute(work)
        count = float(len(messages))
    running = running.shared(work.window.spans)
    if running.length:
        hidden = compute.within(running)
        yield share("trace.comm.fraction", running.length / work.window.length)
        yield share("trace.comm.exposed.fraction", (running.length - hidden) / work.window.length)
        yield share("trace.comm.overlap.fraction", hidden / running.length)
        yield row("trace.comm.count.per_step", work.per_step(count), "{collective}")
    known = sizes[np.isfinite(sizes)]
    if known.size:
        yield row("trace.comm.message_size.median", float(np.median(known)), "By")


def exposed(work: Work) -> float:
    """Share of the window in communication alone; 0 when there is none."""
    return next((float(value or 0.0) for name, value, _, _ in rows(work) if name == "trace.comm.exposed.fraction"), 0.0)


def lengths(work: Work) -> Floats:
    """Microseconds of each collective on the device, in order; at most `MANY`."""
    mine = work.communicating & work.window.holds(work.gpu.start)
    return (work.gpu.end - work.gpu.start)[mine][:MANY]


def _messages(work: Work) -> tuple[Spans, Floats]:
    """Collectives that the program asked for, and their bytes: as PyTorch records them, else of their tensors."""
    trace = work.trace
    best: tuple[Spans, Floats] = (trace.notes.only(np.zeros(len(trace.notes), np.bool_)), np.empty(0))
    for spans, message, pattern in (
        (trace.ops, trace.message, _PARAMS),
        (trace.notes, trace.note_message, COLLECTIVE),
        (trace.ops, trace.message, COLLECTIVE),
    ):
        chosen = trace.names.like(pattern)[spans.name] & work.window.holds(spans.start)
        told = chosen & np.isfinite(message) if pattern is _PARAMS else chosen
        if told.any() and not len(best[0]):
            best = spans.only(told), message[told].astype(np.float64)
    return best


def _cpu_compute(work: Work) -> Intervals:
    """When operators compute on the CPU."""
    ops = work.named(work.trace.ops, _COMPUTE)
    return union(ops.start, ops.end)
