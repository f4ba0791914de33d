"""Snapshots of PyTorch's CUDA memory (`torch.cuda.memory._dump_snapshot`) -> what is allocated, and from where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.snapshot.plain import AsksForCode, Damaged, loads
from advisor.readers.told import Told

__all__ = ["holds", "read"]

KIND = "snapshot"
MAX_BYTES = 512 << 20
_LIBRARY = re.compile(r"-packages/|/lib/python3|^<|\.(?:cpp|cc|c|h|cu|cuh)$|^\?\?|^/opt/pytorch|^torch/|\.so\b")
_SHOWN = 80


def holds(artefact: Artefact) -> bool:
    """Whether it is a pickle of protocol 2 or later, all of which name their protocol first."""
    head = artefact.head
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5


@dataclass
class _Device:
    """The memory of one GPU at the moment of the snapshot, in bytes."""

    reserved: float = 0.0
    allocated: float = 0.0
    active: float = 0.0
    split: float = 0.0  # free parts of segments that are in use, which cannot be given back
    hole: float = 0.0  # the largest free block
    segments: int = 0
    blocks: list[tuple[float, str | None]] = field(default_factory=list)
    trace: Sequence[Any] = ()


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What each snapshot says about the GPU that holds most; snapshots of several ranks are told one by one.

    Raises:
        InputError: when one is no snapshot, is damaged, or asks to run code.
    """
    readings = [_reading(artefact, tick) for artefact in artefacts]
    if len(readings) == 1:
        return [Told((readings[0],))]
    return [Told((), tuple((f"rank {i}", reading) for i, reading in enumerate(readings)))]


def _reading(artefact: Artefact, tick: Tick) -> Reading:
    try:
        data = loads(artefact.read(MAX_BYTES, tick))
    except AsksForCode:
        raise InputError(
            f"{artefact.origin} is a pickle that asks to run code and was not opened; give a memory snapshot of "
            "torch.cuda.memory._dump_snapshot, which holds plain data only"
        ) from None
    except Damaged as error:
        raise InputError(
            f"{artefact.origin} is a pickle that cannot be read ({error}); copy or write it again"
        ) from None
    segments, traces = _parts(data)
    if segments is None:
        raise InputError(f"{artefact.origin} is a pickle, and no snapshot of PyTorch's CUDA memory; give one of those")
    devices = _devices(segments, traces)
    if not devices:
        raise InputError(
            f"{artefact.origin} is a memory snapshot in which no memory is reserved; take it after some steps"
        )
    index = max(devices, key=lambda i: (devices[i].reserved, len(devices[i].trace), -i))
    device = devices[index]
    found = facts(_rows(device), artefact.origin)
    return Reading(Source(KIND, artefact.origin, "ok", _note(index, device, len(devices))), found)


def _parts(data: Any) -> tuple[list[Any] | None, list[Any]]:
    """Segments and traces per device; PyTorch up to 1.13 wrote the list of segments alone."""
    if isinstance(data, dict) and isinstance(data.get("segments"), list):
        traces = data.get("device_traces")
        return data["segments"], traces if isinstance(traces, list) else []
    plain = isinstance(data, list) and bool(data) and isinstance(data[0], dict)
    if plain and "blocks" in data[0] and "total_size" in data[0]:
        return data, []
    return None, []


def _devices(segments: Iterable[Any], traces: Sequence[Any]) -> dict[int, _Device]:
    devices: dict[int, _Device] = {}
    for segment in segments:
        if isinstance(segment, dict) and _size(segment, "total_size"):
            _segment(devices.setdefault(_index(segment.get("device")), _Device()), segment)
    for i, trace in enumerate(traces):
        if isinstance(trace, list) and trace:
            devices.setdefault(i, _Device()).trace = trace
    return devices


def _segment(device: _Device, segment: Mapping[Any, Any]) -> None:
    size = _size(segment, "total_size")
    blocks = segment.get("blocks")
    blocks = [b for b in blocks if isinstance(b, dict)] if isinstance(blocks, list) else []
    device.segments += 1
    device.reserved += size
    used = 0.0
    for block in blocks:
        if block.get("state") == "active_allocated":
            used += _size(block, "size")
            device.blocks.append((_size(block, "size"), _place(block)))
        elif block.get("state") == "inactive":
            device.hole = max(device.hole, _size(block, "size"))
    allocated = segment.get("allocated_size")
    device.allocated += used if not isinstance(allocated, int) else _size(segment, "allocated_size")
    active = _size(segment, "active_size") or used
    device.active += active
    if 0 < active < size:
        device.split += size - active


def _place(holder: Mapping[Any, Any]) -> str | None:
    """``file:line in function`` of the innermost frame that is no library; old snapshots keep frames in a history."""
    frames = holder.get("frames")
    history = holder.get("history")
    if not frames and isinstance(history, list) and history and isinstance(history[0], dict):
        frames = history[0].get("frames")
    for frame in frames if isinstance(frames, list) else ():
        if (
            isinstance(frame, dict)
            and isinstance(frame.get("filename"), str)
            and not _LIBRARY.search(frame["filename"])
        ):
            name = str(frame.get("name", ""))[:_SHOWN]
            return f"{frame['filename'][:300]}:{_index(frame.get('line'))}" + (
                f" in {name}" if name[:1] not in ("", "<") else ""
            )
    return None


def _rows(device: _Device) -> Iterator[Row]:
    yield row("run.framework", "pytorch", "{string}")
    yield row("run.gpu.used", True, "{bool}")
    yield row("torch.cuda.memory.reserved.peak", device.reserved or None, "By")
    peak = max(device.allocated, _peak(device))
    yield row("torch.cuda.memory.allocated.peak", peak or None, "By")
    if device.reserved:
        yield share(
            "torch.cuda.memory.reserved_unused.fraction", (device.reserved - device.allocated) / device.reserved
        )
        yield share("torch.cuda.memory.inactive_split.fraction", device.split / device.reserved)
        yield row("torch.cuda.memory.free_block.max", device.hole, "By")
    yield from _largest(device)
    yield from _failures(device)


def _largest(device: _Device) -> Iterator[Row]:
    if not device.blocks:
        return
    size, place = max(device.blocks, key=lambda b: b[0])
    yield row("torch.cuda.memory.allocation.max", size, "By", place)
    lines: dict[str, float] = {}
    for size, place in device.blocks:
        if place:
            lines[place] = lines.get(place, 0.0) + size
    if lines and device.allocated:
        most = max(lines, key=lambda at: (lines[at], at))
        yield share("torch.cuda.memory.hotspot.fraction", lines[most] / device.allocated, most)


def _failures(device: _Device) -> Iterator[Row]:
    failed = [e for e in device.trace if isinstance(e, dict) and e.get("action") == "oom"]
    if not device.trace:
        return
    where = _place(failed[0]) if failed else None
    yield row("torch.cuda.memory.ooms", len(failed), "{error}", where)
    yield row("hw.gpu.memory.allocation.failures", len(failed), "{error}", where)
    if failed:
        yield row("hw.gpu.memory.allocation.request", _size(failed[0], "size") or None, "By", where)
        free = failed[0].get("device_free")
        yield row("hw.gpu.memory.free", _size(failed[0], "device_free") if isinstance(free, int) else None, "By", where)


def _peak(device: _Device) -> float:
    """The most that was allocated while the trace was recorded: it is read backwards from what is allocated now."""
    now = most = device.allocated
    for event in reversed(device.trace):
        action = event.get("action") if isinstance(event, dict) else None
        if action == "alloc":
            now -= _size(event, "size")
        elif action == "free_completed":
            now += _size(event, "size")
            most = max(most, now)
    return most


def _size(holder: Mapping[Any, Any], key: str) -> float:
    """A size in bytes; 0 for what can be none."""
    value = holder.get(key)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**60 else 0.0


def _index(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0


def _note(index: int, device: _Device, count: int) -> str:
    parts = [f"GPU {index}" + (f" of {count} in the snapshot, the one that holds most" if count > 1 else "")]
    parts.append(f"{device.allocated / 2**20:,.1f} of {device.reserved / 2**20:,.1f} MiB reserved hold tensors")
    parts.append(f"{device.segments} segments, {len(device.blocks)} allocations, {len(device.trace)} recorded events")
    top = sorted(device.blocks, key=lambda b: -b[0])[:3]
    if any(place for _, place in top):
        parts.append(
            "largest: " + ", ".join(f"{size / 2**20:,.1f} MiB at {place or 'an unknown place'}" for size, place in top)
        )
    return "; ".join(parts) + "."
