"""What GPUs did, as columns of numbers: the form that all GPU profilers are brought into.

Times are integer nanoseconds of one clock per file. Everything is vectorised: a profile of a
few seconds has millions of operations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from advisor.readers.profilers.kernels import KINDS, classify

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
# What an operation is: a class of kernels, or one of these.
KERNELS = len(KINDS)
GRAPH, MEMSET, H2D, D2H, D2D, PEER = range(KERNELS, KERNELS + 6)
CODE: Mapping[str, int] = {kind: code for code, kind in enumerate(KINDS)}
# What a call of the host is.
OTHER, LAUNCH, GRAPH_LAUNCH, SYNC = range(4)
UNKNOWN = -1
# What lies farther from 0 is no time in ns (today is a third of it), nothing on a GPU lasts for hours, and no copy
# moves a pebibyte: rows that say so are damaged, and their sums would overflow.
FARTHEST, LONGEST, LARGEST = 1 << 62, 1 << 43, 1 << 50


def ints(values: Any = ()) -> Ints:
    """A column of integers."""
    return np.asarray(values, dtype=np.int64)


@dataclass(frozen=True)
class Ops:
    """Operations of one GPU, one row each, in order of their start.

    Args:
        start: ns.
        end: ns.
        kind: a code of `CODE`, or GRAPH (a whole CUDA graph, its kernels unseen), MEMSET, or a copy.
        stream: any number that tells queues apart.
        call: row of the host's call that asked for it, UNKNOWN where that is not told.
        size: bytes of copies, 0 for others.
        pageable: 1 when the host memory of a copy is pageable, 0 when it is not, UNKNOWN.
        blocks: thread blocks of kernels, UNKNOWN where that is not told.
        marks: of kernels, `MARKS` added up.
        gpu: number of the GPU.
        process: any number that tells processes apart.
    """

    start: Ints
    end: Ints
    kind: Ints
    stream: Ints
    call: Ints
    size: Ints
    pageable: Ints
    blocks: Ints
    marks: Ints
    gpu: Ints
    process: Ints

    @property
    def kernels(self) -> Bools:
        """Which of them are kernels."""
        return self.kind < KERNELS

    @property
    def lasts(self) -> Ints:
        """How long each took, ns."""
        return self.end - self.start

    def take(self, rows: Any) -> Ops:
        """Some of the rows."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def within(self, low: int, high: int) -> Ops:
        """What lies in a window, cut off at its ends."""
        moment = (self.start == self.end) & (self.start >= low) & (self.start <= high)
        part = self.take(((self.end > low) & (self.start < high)) | moment)
        return replace(part, start=np.maximum(part.start, low), end=np.minimum(part.end, high))


TENSOR, NO_TENSOR, FP32, CAST, BACKWARD = 1, 2, 4, 8, 16
MARKS = {"tensor_cores": TENSOR, "fp32": FP32, "cast": CAST, "backward": BACKWARD}


def marks(name: str) -> tuple[int, int]:
    """Kind and marks of a kernel by its name."""
    kernel = classify(name)
    told = sum(mark for what, mark in MARKS.items() if getattr(kernel, what) is True)
    return CODE[kernel.kind], told + (NO_TENSOR if kernel.tensor_cores is False else 0)


def ops(columns: Mapping[str, Any], count: int) -> Ops:
    """Operations from columns in any order; what is not given is unknown; rows that make no sense are left out."""
    none = {"size": 0, "marks": 0, "stream": 0, "gpu": 0, "process": 0}
    full = {
        f.name: ints(columns[f.name]) if f.name in columns else np.full(count, none.get(f.name, UNKNOWN), np.int64)
        for f in fields(Ops)
    }
    made = Ops(**full)
    sane = (made.end >= made.start) & (abs(made.start) < FARTHEST) & (abs(made.end) < FARTHEST)
    sane &= (made.end - made.start < LONGEST) & (made.size >= 0) & (made.size < LARGEST)
    made = made.take(sane)
    return made.take(np.argsort(made.start, kind="stable"))


def joined(parts: Sequence[Ops]) -> Ops:
    """Several columns of operations as one, in order."""
    if not parts:
        return ops({"start": (), "end": (), "kind": ()}, 0)
    whole = Ops(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Ops)})
    return whole.take(np.argsort(whole.start, kind="stable"))


@dataclass(frozen=True)
class Calls:
    """What the host asked of the driver: start and end (ns), what it is, and the process or thread that called."""

    start: Ints
    end: Ints
    kind: Ints
    process: Ints

    def of(self, processes: Ints) -> Calls:
        """The calls of some processes."""
        return self.take(np.isin(self.process, processes))

    def take(self, rows: Any) -> Calls:
        """Some of the rows."""
        return Calls(self.start[rows], self.end[rows], self.kind[rows], self.process[rows])


_SYNC = re.compile(
    r"(Stream|Device|Ctx|Event|Thread)Synchronize|^(cuda|hip)Memcpy(2D|3D|ToSymbol|FromSymbol|HtoD|DtoH|WithStream)?(_v\d+)?$|^cuMemcpy(HtoD|DtoH)(_v\d+)?$"
)


def call_kind(name: str) -> int:
    """What a call of the CUDA or HIP API is, by its name."""
    if "GraphLaunch" in name:
        return GRAPH_LAUNCH
    if "Launch" in name and ("Kernel" in name or re.match(r"(cuda|hip)Launch(_v\d+)?$", name)):
        return LAUNCH
    return SYNC if _SYNC.search(name) else OTHER


NO_CALLS = Calls(ints(), ints(), ints(), ints())


@dataclass(frozen=True)
class Gpu:
    """One GPU of a profile.

    Args:
        name: as it is shown, such as ``GPU 0``.
        ops: what it did.
        calls: what the host asked for; empty when that was not traced.
        processes: who asked.
        multiprocessors: SMs or CUs; None when that is not told.
        copies: whether copies were traced; without any it may be that they were not.
    """

    name: str
    ops: Ops
    calls: Calls = NO_CALLS
    processes: Ints = field(default_factory=ints)
    multiprocessors: float | None = None
    copies: bool = True

    @property
    def worked(self) -> bool:
        """Whether it did anything that took time."""
        return bool(len(self.ops.start)) and self.span[1] > self.span[0]

    @property
    def span(self) -> tuple[int, int]:
        """From the first to the last operation, ns."""
        return int(self.ops.start.min()), int(self.ops.end.max())


Spans: TypeAlias = tuple[Ints, Ints]


def merged(start: Ints, end: Ints) -> Spans:
    """The union of intervals, as intervals that do not touch, in order."""
    if not len(start):
        return ints(), ints()
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    first = np.concatenate(([True], start[1:] > end[:-1]))
    last = np.concatenate((first[1:], [True]))
    return start[first], end[last]


def length(spans: Spans) -> int:
    """Sum of the lengths of intervals that do not overlap."""
    return int((spans[1] - spans[0]).sum())


def both(a: Spans, b: Spans) -> int:
    """Length of what two unions share."""
    union = merged(np.concatenate((a[0], b[0])), np.concatenate((a[1], b[1])))
    return length(a) + length(b) - length(union)


def clipped(start: Ints, end: Ints, low: int, high: int) -> Spans:
    """The union of intervals inside a window."""
    held = (end > low) & (start < high)
    return merged(np.maximum(start[held], low), np.minimum(end[held], high))
