"""Profiles of JAX and TensorFlow (``*.xplane.pb``, an XSpace of tsl/profiler/protobuf/xplane.proto) -> facts.

A plane is a device or the host, a line is one stream of it, or a view that was derived from the streams
(steps, modules, operators), which would count the same work again. GPUs have lines of streams; a TPU has
one line of operators that its core ran.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.profilers.gpu_report import Report, told
from advisor.readers.profilers.protobuf import Damaged, fields, signed, text
from advisor.readers.profilers.timeline import (
    CODE,
    D2D,
    D2H,
    FARTHEST,
    H2D,
    MEMSET,
    PEER,
    UNKNOWN,
    Gpu,
    Ops,
    ints,
    marks,
    ops,
)
from advisor.readers.profilers.timeline_view import NO_STEPS, Steps
from advisor.readers.rows import Row, row
from advisor.readers.told import Told

MAX_BYTES = 512 << 20
MAX_EVENTS = 4_000_000
_DEVICE = re.compile(r"^/device:(GPU|TPU):(\d{1,4})")
_STREAM = re.compile(r"^Stream #|^stream", re.IGNORECASE)
_MEMORY = re.compile(r"Memcpy(H2D|D2H|D2D|P2P)|Mem(set)", re.IGNORECASE)
_COPIES = {"H2D": H2D, "D2H": D2H, "D2D": D2D, "P2P": PEER, "SET": MEMSET}
_DETAILS = ("memcpy_details", "memcopy_details")
_SIZE = re.compile(r"\bsize:(\d{1,18})")


@dataclass
class _Event:
    name: int = 0
    offset: int = 0
    lasts: int = 0
    details: str = ""


@dataclass
class _Line:
    name: str = ""
    start: int = 0
    events: list[_Event] = field(default_factory=list)


@dataclass
class _Plane:
    name: str = ""
    lines: list[memoryview] = field(default_factory=list)
    events: dict[int, str] = field(default_factory=dict)
    stats: dict[int, str] = field(default_factory=dict)


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What profiles say: one run each.

    Raises:
        InputError: when one is damaged or holds no work of a device.
    """
    return [told([_report(artefact, tick)]) for artefact in artefacts]


def _report(artefact: Artefact, tick: Tick) -> Report:
    try:
        planes = [_plane(value) for number, value in fields(memoryview(artefact.read(MAX_BYTES, tick)))
                  if number == 1 and isinstance(value, memoryview)]  # fmt: skip
        devices = [(plane, match) for plane in planes if (match := _DEVICE.match(plane.name))]
        found = [_device(plane, match[1]) for plane, match in devices]
    except Damaged as error:
        raise InputError(
            f"{artefact.origin} is an XPlane profile that is damaged or cut off ({error}); copy it again"
        ) from None
    gpus = [gpu for gpu, _ in found if gpu.worked]
    if not gpus:
        what = "the host only" if planes else "nothing"
        raise InputError(
            f"{artefact.origin} is an XPlane profile that holds {what}; "
            "profile some steps with jax.profiler.trace() on a machine with GPUs or TPUs"
        )
    steps = next((steps for _, steps in found if steps.count), NO_STEPS)
    return Report("XPlane profile", artefact.origin, gpus, steps, machine=tuple(_machine(planes, len(devices))))


def _machine(planes: Sequence[_Plane], count: int) -> Iterator[Row]:
    yield row("hw.gpu.count", count if any("GPU" in p.name for p in planes) else None, "{gpu}")
    jax = any(name.startswith("jit_") for p in planes for name in p.events.values())
    yield row("run.framework", "jax" if jax else None, "{string}")


def _plane(message: memoryview) -> _Plane:
    plane = _Plane()
    for number, value in fields(message):
        if isinstance(value, int):
            continue
        if number == 2:
            plane.name = text(value)
        elif number == 3:
            plane.lines.append(value)
        elif number in (4, 5):
            key, name = _entry(value)
            (plane.events if number == 4 else plane.stats)[key] = name
    return plane


def _entry(message: memoryview) -> tuple[int, str]:
    """Key and name of one entry of a map of metadata."""
    key, name = 0, ""
    for number, value in fields(message):
        if number == 1 and isinstance(value, int):
            key = value
        elif number == 2 and isinstance(value, memoryview):
            told = {n: v for n, v in fields(value) if n in (2, 4)}
            name = text(told.get(2, 0)) or text(told.get(4, 0))
    return key, name


def _line(message: memoryview, plane: _Plane, wanted: re.Pattern[str]) -> _Line:
    """One line; its events only when its name is wanted."""
    line = _Line()
    parts: list[memoryview] = []
    for number, value in fields(message):
        if number == 3 and isinstance(value, int):
            line.start = signed(value)
        elif number == 2 and isinstance(value, memoryview):
            line.name = text(value)
        elif number == 4 and isinstance(value, memoryview):
            parts.append(value)
    if wanted.search(line.name):
        line.events = [_event(part, plane) for part in parts[:MAX_EVENTS]]
    return line


def _event(message: memoryview, plane: _Plane) -> _Event:
    event = _Event()
    for number, value in fields(message):
        if isinstance(value, int):
            if number == 1:
                event.name = value
            elif number == 2:
                event.offset = signed(value)
            elif number == 3:
                event.lasts = signed(value)
        elif number == 4:
            event.details = event.details or _details(value, plane)
    return event


def _details(message: memoryview, plane: _Plane) -> str:
    """What a statistic says of a copy, empty for all others."""
    told = dict(fields(message))
    key = told.get(1, 0)
    if not isinstance(key, int) or plane.stats.get(key) not in _DETAILS:
        return ""
    shared = told.get(7, 0)
    return plane.stats.get(shared, "") if isinstance(shared, int) and shared else text(told.get(5, 0))


def _device(plane: _Plane, kind: str) -> tuple[Gpu, Steps]:
    wanted = _STREAM if kind == "GPU" else re.compile(r"^XLA Ops$")
    lines = [_line(part, plane, re.compile(f"{wanted.pattern}|^Steps$")) for part in plane.lines]
    streams = [line for line in lines if wanted.search(line.name)]
    number = plane.name.rsplit(":", 1)[-1].split(" ")[0]
    made = _operations(streams, plane, kind)
    steps = next((_steps(line) for line in lines if line.name == "Steps" and line.events), NO_STEPS)
    return Gpu(f"{kind} {number}", made, copies=kind == "GPU"), steps


def _operations(streams: Sequence[_Line], plane: _Plane, kind: str) -> Ops:
    names = {key: _what(name, kind) for key, name in plane.events.items()}
    events = [(line, at, event) for at, line in enumerate(streams) for event in line.events]
    found = [names.get(event.name, (CODE["other"], 0)) for _, _, event in events]
    start = [line.start + event.offset // 1000 for line, _, event in events]
    columns = {
        "start": ints([_near(value) for value in start]),
        "end": ints([_near(value + event.lasts // 1000) for value, (_, _, event) in zip(start, events, strict=True)]),
        "kind": ints([code for code, _ in found]),
        "marks": ints([mark for _, mark in found]),
        "stream": ints([at for _, at, _ in events]),
        "size": ints([int(m[1]) if (m := _SIZE.search(event.details)) else 0 for _, _, event in events]),
        "pageable": ints([_pageable(event.details) for _, _, event in events]),
    }
    return ops(columns, len(events))


def _near(value: int) -> int:
    return max(min(value, FARTHEST), -FARTHEST)


def _what(name: str, kind: str) -> tuple[int, int]:
    match = _MEMORY.search(name)
    if match and kind == "GPU":
        return _COPIES[(match[1] or match[2]).upper()], 0
    return marks(name)


def _pageable(details: str) -> int:
    match = re.search(r"kind_src:(\w+)", details)
    return UNKNOWN if not match or match[1] not in ("pageable", "pinned") else int(match[1] == "pageable")


def _steps(line: _Line) -> Steps:
    held = sorted((line.start + e.offset // 1000, line.start + (e.offset + e.lasts) // 1000) for e in line.events)
    inside = [(start, end) for start, end in held if end > start]
    return Steps(ints([_near(s) for s, _ in inside]), ints([_near(e) for _, e in inside]), "Steps")
