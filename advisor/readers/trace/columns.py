"""Typed events, run by run -> columns: one table for each kind of work, some 40 bytes for an event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.readers.trace.arrays import Floats, Mask
from advisor.readers.trace.categories import COPY, FILL, KERNEL, NOTE, OP, OTHER, PYTHON, RUNTIME, Kinds
from advisor.readers.trace.decode import NO_ARGS, Args, Event, Number
from advisor.readers.trace.operators import Shapes, is_user_code

MEMORY = "[memory]"
MOST = 2.0**60  # bytes: more than any machine has
LATEST, LONGEST = 1e16, 1e13  # microseconds since 1970 until the year 2286, and 115 days
_CATEGORY, _NAME, _PLACE = attrgetter("cat"), attrgetter("name"), attrgetter("pid", "tid")
_START, _LENGTH, _LINK = attrgetter("ts"), attrgetter("dur"), attrgetter("correlation")
_STREAM, _DEVICE, _BYTES = attrgetter("device", "stream"), attrgetter("device"), attrgetter("bytes")
_OCCUPANCY, _BLOCKS = attrgetter("occupancy"), attrgetter("blocks")
MAX_NAMES = 200_000  # names that hold a running number would fill the memory


class Names(dict[str | None, int]):
    """Names by number, in order of their appearance."""

    def __init__(self) -> None:
        super().__init__({"": 0, None: 0})
        self.all = [""]

    def __missing__(self, name: str) -> int:
        if len(self.all) >= MAX_NAMES:
            return 0
        self[name] = len(self.all)
        self.all.append(name)
        return self[name]


class Places(dict[Any, int]):
    """Threads, devices and streams by number."""

    def __missing__(self, place: Any) -> int:
        self[place] = min(len(self), 2**15 - 1)
        return self[place]


class Mine(dict[str | None, bool]):
    """Whether a Python function is in the user's code."""

    def __missing__(self, name: str | None) -> bool:
        found = is_user_code(name or "")
        if len(self) < MAX_NAMES:
            self[name] = found
        return found


class Table:
    """Columns of equal length that grow."""

    def __init__(self, **types: Any) -> None:
        self.types = types
        self._parts: dict[str, list[NDArray[Any]]] = {name: [] for name in types}

    def add(self, columns: dict[str, Any], keep: Mask) -> None:
        """Rows for which `keep` holds."""
        every = bool(keep.all())
        for name, values in columns.items():
            column = np.asarray(values, dtype=self.types[name])
            self._parts[name].append(column if every else column[keep])

    def done(self) -> dict[str, NDArray[Any]]:
        """The columns; the parts are given up."""
        made = {}
        for name, parts in self._parts.items():
            made[name] = np.concatenate(parts) if parts else np.empty(0, self.types[name])
            parts.clear()
        return made


class Columns:
    """Everything that is kept of a trace.

    Attributes:
        host: operators and annotations: start, end, name, thread, note (is an annotation), shape (see operators),
            message (bytes that a collective moves).
        calls: calls of the device's runtime: start, end, name, thread, link to what they launched.
        device: work on devices: start, end, name, kind, device, stream, link, bytes, occupancy, blocks (per SM).
        code: functions of the user's Python code: start, end, name, thread.
        memory: bytes of the allocator after each change: time, allocated, reserved, device.
        names: the names, by number.
        places: process and thread, by number.
        count, lost, python: of all entries, of those with times that cannot be, of Python functions.
    """

    def __init__(self) -> None:
        span = {"start": np.float64, "end": np.float64, "name": np.int32}
        self.host = Table(**span, thread=np.int16, note=np.bool_, shape=np.uint8, message=np.float64)
        self.calls = Table(**span, thread=np.int16, link=np.float64)
        self.device = Table(
            **span, kind=np.uint8, device=np.int16, stream=np.int16, link=np.float64,
            bytes=np.float64, occupancy=np.float64, blocks=np.float64,
        )  # fmt: skip
        self.code = Table(**span, thread=np.int16)
        self.memory = Table(time=np.float64, allocated=np.float64, reserved=np.float64, device=np.float64)
        self.names, self.kinds, self._shapes, self._mine = Names(), Kinds(), Shapes(), Mine()
        self.places, self._devices, self._streams = Places(), Places(), Places()
        self.count = self.lost = self.python = 0

    def add(self, events: Sequence[Event]) -> None:
        """One run of events."""
        self.count += len(events)
        # Flows, instants and metadata have categories of their own, which are none of these.
        kind = np.frombuffer(bytes(map(self.kinds.__getitem__, map(_CATEGORY, events))), np.uint8)
        self._host(*_of(events, kind, (kind == OP) | (kind == NOTE)))
        self._calls(*_of(events, kind, kind == RUNTIME))
        self._device(*_of(events, kind, (kind == KERNEL) | (kind == COPY) | (kind == FILL)))
        self._code(*_of(events, kind, kind == PYTHON))
        self._memory(*_of(events, kind, kind == OTHER))

    def _span(self, events: Sequence[Event]) -> tuple[dict[str, Any], Mask]:
        """Start, end and name, and which of the events have a time and a length that can be."""
        start, length = numbers(events, _START), numbers(events, _LENGTH)
        keep = (np.abs(start) < LATEST) & (length >= 0) & (length < LONGEST)  # NaN compares as False
        self.lost += len(events) - int(keep.sum())
        names = np.fromiter(map(self.names.__getitem__, map(_NAME, events)), np.int32, len(events))
        return {"start": start, "end": start + length, "name": names}, keep

    def _threads(self, events: Sequence[Event]) -> NDArray[np.int16]:
        return np.fromiter(map(self.places.__getitem__, map(_PLACE, events)), np.int16, len(events))

    def _host(self, events: list[Event], kind: NDArray[np.uint8]) -> None:
        if not events:
            return
        columns, keep = self._span(events)
        shape, message = self._shapes.of(events, columns["name"], self.names.all)
        columns |= {"thread": self._threads(events), "note": kind == NOTE, "shape": shape, "message": message}
        self.host.add(columns, keep)

    def _calls(self, events: list[Event], _: NDArray[np.uint8]) -> None:
        if not events:
            return
        columns, keep = self._span(events)
        args = [e.args or NO_ARGS for e in events]
        self.calls.add(columns | {"thread": self._threads(events), "link": _links(args)}, keep)

    def _device(self, events: list[Event], kind: NDArray[np.uint8]) -> None:
        if not events:
            return
        columns, keep = self._span(events)
        args = [e.args or NO_ARGS for e in events]
        streams = list(map(_STREAM, args))
        devices = list(map(_DEVICE, args))
        if None in devices or any(stream is None for _, stream in streams):
            streams = list(map(_PLACE, events))
            devices = [device for device, _ in streams]
        copied = np.full(len(events), np.nan)
        copies = np.flatnonzero(kind != KERNEL)  # kernels say nothing of bytes
        copied[copies] = numbers([args[place] for place in copies.tolist()], _BYTES)
        columns |= {
            "kind": kind,
            "device": np.fromiter(map(self._devices.__getitem__, devices), np.int16, len(events)),
            "stream": np.fromiter(map(self._streams.__getitem__, streams), np.int16, len(events)),
            "link": _links(args),
            "bytes": copied,
            "occupancy": numbers(args, _OCCUPANCY),
            "blocks": numbers(args, _BLOCKS),
        }
        self.device.add(columns, keep)

    def _code(self, events: list[Event], _: NDArray[np.uint8]) -> None:
        self.python += len(events)
        mine = [e for e in events if self._mine[e.name]]
        if mine:
            columns, keep = self._span(mine)
            self.code.add(columns | {"thread": self._threads(mine)}, keep)

    def _memory(self, events: list[Event], _: NDArray[np.uint8]) -> None:
        changes = [e for e in events if e.name == MEMORY]
        if not changes:
            return
        args = [e.args or NO_ARGS for e in changes]
        columns = {
            "time": numbers(changes, _START),
            "allocated": numbers(args, attrgetter("allocated")),
            "reserved": numbers(args, attrgetter("reserved")),
            "device": numbers(args, attrgetter("device_id")),
        }
        on_device = numbers(args, attrgetter("device_type")) == 1  # c10::DeviceType::CUDA, also for ROCm
        self.memory.add(columns, on_device & np.isfinite(columns["time"]) & (columns["allocated"] < MOST))


def _of(events: Sequence[Event], kind: NDArray[np.uint8], wanted: Mask) -> tuple[list[Event], NDArray[np.uint8]]:
    """The events for which the mask holds, and their kinds."""
    return list(compress(events, wanted.tolist())), kind[wanted]


def _links(args: Sequence[Args]) -> Floats:
    """What ties a call to the work it launched: the correlation, or the external id where there is none."""
    found = numbers(args, _LINK)
    missing = ~np.isfinite(found)
    if missing.any():
        new, old = numbers(args, attrgetter("external")), numbers(args, attrgetter("external_2021"))
        found = np.where(missing, np.where(np.isfinite(new), new, old), found)
    return found


def numbers(things: Sequence[Any], field: Callable[[Any], Number]) -> Floats:
    """A field of each as a number, NaN where it is none."""
    try:
        return np.fromiter(map(field, things), np.float64, len(things))  # the fastest, and none may be missing
    except (ValueError, OverflowError, TypeError):
        values = list(map(field, things))
    try:
        return np.array(values, np.float64)
    except (ValueError, OverflowError, TypeError):
        return np.fromiter(map(number, values), np.float64, len(things))


def number(value: Number) -> float:
    """One number, NaN where it is none."""
    try:
        return float(value) if value is not None else float("nan")
    except (ValueError, OverflowError):
        return float("nan")
