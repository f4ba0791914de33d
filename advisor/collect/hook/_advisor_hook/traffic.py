"""Counts per training step: backward passes, how many exchanged gradients, collectives, and the wait for them.

Backward passes are counted in every step. Collectives and waits are looked at in the first steps and now and then
later, so that a program with hundreds of them per step does not pay for it. Only what Python starts or
waits for is seen here: DDP's own exchange happens in C++ (see wrappers.py).
"""

# ruff: noqa: SLF001 - frames have no public name

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from time import perf_counter
from types import ModuleType
from typing import Any

from . import wrappers
from .part import Part

part = Part("counting backward passes and collectives")
FIRST = 32
EVERY = 40
ROWS = 256
SIZES = 256
# Methods of a process group that start a collective; names differ between versions of torch.
COLLECTIVES = (
    "allreduce", "allreduce_coalesced", "allgather", "_allgather_base", "all_gather_single", "allgather_coalesced",
    "allgather_into_tensor_coalesced", "all_gather_single_coalesced", "reduce_scatter", "_reduce_scatter_base",
    "reduce_scatter_single", "reduce_scatter_tensor_coalesced", "reduce_scatter_single_coalesced", "broadcast",
    "alltoall", "alltoall_base", "all_to_all_single", "barrier", "reduce", "gather", "scatter", "send", "recv",
)  # fmt: skip
SENT = ("input_tensor", "input", "tensor", "inputs", "input_tensor_list", "tensors")  # in torch's own functions


class Counts:
    """What has happened since the last step boundary, and rows of what happened in the sampled steps."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.rows: list[list[float]] = []
        self.every = EVERY
        self.sizes: dict[int, int] = {}
        self.watching = False
        self.last: float | None = None
        self.clear()

    def concerns(self, ends: int) -> bool:
        """Whether the end of step number `ends` begins or ends a step that is counted."""
        return ends <= FIRST or self.watching or ends % self.every < 2

    def clear(self) -> None:
        """Begin a step."""
        self.backwards = self.synced = self.collectives = 0
        self.blocked = 0.0


counts = Counts()
_modules: list[Any] = []  # torch.distributed.distributed_c10d, once it is imported


class Wait(functools.partial):  # type: ignore[type-arg]
    """One call of ``Work.wait``: a C callable that dies right after it and then counts the time."""

    start: float

    def __del__(self) -> None:
        """Count the wait."""
        try:
            counts.blocked += perf_counter() - self.start
        except Exception as error:
            part.lose(error)


def backward() -> None:
    """A backward pass begins."""
    counts.backwards += 1
    if wrappers.wrapped() and wrappers.part.lost is None:
        counts.synced += bool(wrappers.syncing())


def _distributed(module: ModuleType) -> None:
    _modules[:] = [module]


WATCHED: dict[str, Callable[[ModuleType], None]] = {
    "torch.distributed.distributed_c10d": _distributed,
}


def _begun(group: Any) -> None:
    if group is None or counts.thread != threading.get_ident():
        return
    counts.collectives += 1
    names = sys._getframe(2).f_locals  # of torch's function, like all_reduce(tensor, ...)
    value = next((names[name] for name in SENT if name in names), None)
    size = _bytes(value)
    if size is not None and (size in counts.sizes or len(counts.sizes) < SIZES):
        counts.sizes[size] = counts.sizes.get(size, 0) + 1


def _bytes(value: Any) -> int | None:
    tensors = value if isinstance(value, list) else [value]
    if not tensors or not all(hasattr(tensor, "element_size") for tensor in tensors):
        return None
    return sum(int(tensor.numel() * tensor.element_size()) for tensor in tensors)


def _waits(work: Any) -> Callable[[Any], Any] | None:
    if work is None or counts.thread != threading.get_ident():
        return None
    return _timed


def _timed(plain: Any) -> Any:
    call = Wait(plain)
    call.start = perf_counter()
    return call


def step_ended(_: Any, ends: int) -> None:
    """Close the step's row, and look at collectives in the next step or not."""
    now = perf_counter()
    if not counts.concerns(ends):
        return
    started = bool(_modules) and _modules[0].is_initialized()
    if counts.last is not None and (counts.watching or (not started and _due(ends - 1))):
        row = [now - counts.last, counts.backwards, counts.synced, counts.collectives, counts.blocked]
        counts.rows.append(row)
        if len(counts.rows) >= ROWS:
            counts.rows = counts.rows[::2]
            counts.every *= 2
    counts.thread = threading.get_ident()
    _watch(started and _due(ends))
    counts.clear()
    counts.last = perf_counter()


def _due(ends: int) -> bool:
    return ends < FIRST or ends % counts.every == 0


def _watch(on: bool) -> None:
    if not on and not counts.watching:
        return
    group, work = _modules[0].ProcessGroup, _modules[0].Work
    if on and not counts.watching:
        for name in COLLECTIVES:
            part.put(group, name, _begun)
        part.put(work, "wait", _waits)
    elif not on:
        part.take(group, work)
    counts.watching = on


def content() -> dict[str, Any]:
    """For the output file; a row is [seconds, backwards, of these synchronised, collectives, seconds blocked]."""
    return {"rows": counts.rows, "sizes": list(counts.sizes.items()), "wrapped": wrappers.wrapped()}


def reset() -> None:
    """A forked child counts for itself."""
    watching = counts.watching
    counts.__init__()  # type: ignore[misc]
    counts.watching = watching
