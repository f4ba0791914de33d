"""A file -> the columns of one trace, in bounded memory."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.trace.arrays import Column, Floats, Mask
from advisor.readers.trace.categories import SIGNS
from advisor.readers.trace.columns import Columns
from advisor.readers.trace.decode import decode, repair
from advisor.readers.trace.pieces import Pieces

MAX_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches of time on the CPU, sorted by start; microseconds."""

    start: Floats
    end: Floats
    name: Column
    thread: Column

    def __len__(self) -> int:
        return int(self.start.size)

    def only(self, keep: Column) -> Spans:
        """Those for which the mask `keep` holds, or those at the places that it lists."""
        return Spans(self.start[keep], self.end[keep], self.name[keep], self.thread[keep])


@dataclass(frozen=True, slots=True)
class Device:
    """Work on devices, sorted by start; microseconds."""

    start: Floats
    end: Floats
    name: Column
    kind: Column
    device: Column
    stream: Column
    link: Floats
    bytes: Floats
    occupancy: Column
    blocks: Column

    def __len__(self) -> int:
        return int(self.start.size)

    def only(self, keep: Column) -> Device:
        """Those for which the mask holds, or those at the places that it lists."""
        return Device(*(getattr(self, name)[keep] for name in self.__slots__))


class NameList(list[str]):
    """Names by number; which of them match a pattern is found once."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self._like: dict[re.Pattern[str], Mask] = {}

    def like(self, pattern: re.Pattern[str]) -> Mask:
        """For each name whether its beginning matches."""
        if pattern not in self._like:
            self._like[pattern] = np.array([pattern.match(name) is not None for name in self], np.bool_)
        return self._like[pattern]

    def any(self, pattern: re.Pattern[str]) -> bool:
        """Whether any name matches."""
        return bool(self.like(pattern).any())


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace.

    Args:
        origin: where it comes from.
        header: what stands beside the events.
        names: names by number.
        ops: operators, with what their shapes tell and the bytes that they send.
        notes: annotations: steps, data loading, the optimizer.
        calls: calls of the device's runtime, and what links them to the work they launched.
        device: work on devices.
        code: functions of the user's Python code.
        memory: time, bytes allocated and reserved, and device, at each change of the allocator.
        process: the process that most events are of.
        python: how many Python functions were recorded.
        lost: events that were left out because their times make no sense.
        count: all entries.
    """

    origin: str
    header: dict[str, Any]
    names: NameList
    ops: Spans
    shape: Column
    message: Column
    notes: Spans
    note_message: Column
    calls: Spans
    link: Floats
    device: Device
    code: Spans
    memory: dict[str, Column]
    process: str
    python: int
    lost: int
    count: int


def load(artefact: Artefact, tick: Tick) -> Trace:
    """The trace in an artefact.

    Raises:
        InputError: when it is damaged, cut off, or of another tool.
    """
    columns = Columns()
    with artefact.open(tick) as stream, _without_collection():
        pieces = Pieces(stream, artefact.origin, decode, repair)
        for events in pieces:
            columns.add(events)
    if not pieces.closed:
        raise InputError(
            f"{artefact.origin} breaks off: of {pieces.size:,} bytes that are there, {pieces.done:,} hold whole "
            f"events ({columns.count:,}), and the rest of the trace is missing; copy it again, or profile again"
        )
    _check(artefact.origin, columns)
    return _trace(artefact.origin, pieces.header, columns)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Events hold no cycles, and looking for some takes longer than decoding."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _check(origin: str, columns: Columns) -> None:
    """Whether the PyTorch profiler wrote it (raises InputError with what it is instead)."""
    seen = sorted(c for c in columns.kinds if c)
    if any(c.lower() in SIGNS for c in seen):
        return
    if not columns.count:
        raise InputError(f"{origin} is a trace without a single event; profile while the program works")
    told = f" (its categories: {', '.join(c[:40] for c in seen[:MAX_SHOWN])})" if seen else ""
    raise InputError(
        f"{origin} is a Chrome trace, and none of its {columns.count:,} events is of the PyTorch profiler{told}; "
        "give one that torch.profiler exported"
    )


def _trace(origin: str, header: dict[str, Any], columns: Columns) -> Trace:
    host, calls, device = columns.host.done(), columns.calls.done(), columns.device.done()
    note = host["note"]
    ops, order = _spans(host, ~note)
    notes, note_order = _spans(host, note)
    launched, call_order = _spans(calls, np.ones(calls["start"].size, np.bool_))
    memory = columns.memory.done()
    by_time = np.argsort(memory["time"], kind="stable")
    return Trace(
        origin=origin,
        header=header,
        names=NameList(columns.names.all),
        ops=ops,
        shape=host["shape"][order],
        message=host["message"][order],
        notes=notes,
        note_message=host["message"][note_order],
        calls=launched,
        link=calls["link"][call_order],
        device=_device(device),
        code=_spans(code := columns.code.done(), np.ones(code["start"].size, np.bool_))[0],
        memory={name: column[by_time] for name, column in memory.items()},
        process=_process(columns, host["thread"]),
        python=columns.python,
        lost=columns.lost,
        count=columns.count,
    )


def _process(columns: Columns, threads: Column) -> str:
    if not threads.size:
        return ""
    places = list(columns.places)
    return str(places[int(np.bincount(threads).argmax())][0])


def _spans(table: dict[str, Column], keep: Column) -> tuple[Spans, Column]:
    """Sorted by start, the longer first, so that what contains another comes before it; and the rows they were."""
    rows = np.flatnonzero(keep)
    start, end = table["start"][rows], table["end"][rows]
    order = rows[np.lexsort((-end, start))]
    return Spans(*(table[name][order] for name in ("start", "end", "name", "thread"))), order


def _device(table: dict[str, Column]) -> Device:
    order = np.argsort(table["start"], kind="stable")
    return Device(**{name: column[order] for name, column in table.items()})
