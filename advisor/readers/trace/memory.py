"""The allocator's timeline: how high it went, and whether it grows from step to step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.work import Work

FEWEST_STEPS = 5  # fewer points than this and a trend is one step's noise


def rows(work: Work) -> Iterator[Row]:
    """What the allocator's events tell; nothing when memory was not recorded."""
    memory = work.trace.memory
    if not memory["time"].size:
        return
    devices, counts = np.unique(memory["device"], return_counts=True)
    mine = memory["device"] == devices[int(counts.argmax())]
    time, allocated, reserved = (memory[name][mine] for name in ("time", "allocated", "reserved"))
    top = int(allocated.argmax())
    yield row("torch.cuda.memory.allocated.peak", float(allocated[top]), "By")
    if np.isfinite(reserved[top]) and reserved[top] > 0:
        yield share("torch.cuda.memory.reserved_unused.fraction", float(1 - allocated[top] / reserved[top]))
    ends = work.window.spans.end
    at = np.searchsorted(time, ends, "right") - 1
    if work.window.steps and ends.size >= FEWEST_STEPS and (at >= 0).all():
        slope = np.polyfit(np.arange(ends.size), allocated[at], 1)[0]
        yield row("torch.cuda.memory.allocated.slope", float(slope), "By/step")
