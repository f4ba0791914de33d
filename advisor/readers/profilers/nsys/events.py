"""Tables of an Nsight Systems export -> what each GPU did.

The exporter writes only the tables that something was recorded for, and columns came and went with its
versions (the schema reference of each release: docs.nvidia.com/nsight-systems, "Exported data").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from advisor.errors import InputError
from advisor.readers.profilers.nsys.database import Database
from advisor.readers.profilers.timeline import (
    CODE,
    D2D,
    D2H,
    GRAPH,
    H2D,
    MEMSET,
    NO_CALLS,
    PEER,
    UNKNOWN,
    Calls,
    Gpu,
    Ints,
    Ops,
    call_kind,
    ints,
    joined,
    marks,
    ops,
)  # fmt: skip

KERNEL, GRAPHS, COPY, SET = (f"CUPTI_ACTIVITY_KIND_{name}" for name in ("KERNEL", "GRAPH_TRACE", "MEMCPY", "MEMSET"))
MAX_GPUS = 256
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
ACTIVITIES = (KERNEL, GRAPHS, COPY, SET)
# CUpti_ActivityMemcpyKind and nsys's own ENUM_CUDA_MEM_KIND; used where the export has no table of them.
_DIRECTION = {1: H2D, 2: D2H, 3: H2D, 4: D2H, 5: D2D, 6: D2D, 7: D2D, 8: D2D, 10: PEER, 11: H2D, 12: D2H, 13: D2D}
_PAGEABLE, _PINNED = 0, 1
_LABELS = (
    (re.compile(r"HTO[DA]\b|host-to-(device|array)", re.IGNORECASE), H2D),
    (re.compile(r"[DA]TOH\b|(device|array)-to-host", re.IGNORECASE), D2H),
    (re.compile(r"PTOP\b|peer", re.IGNORECASE), PEER),
    (re.compile(r"[DA]TO[DA]\b|(device|array)-to-(device|array)", re.IGNORECASE), D2D),
)


_COLUMNS = ("start", "end", "deviceId", "streamId", "correlationId", "globalPid", "contextId")


def gpus(db: Database) -> list[Gpu]:
    """Every GPU that did something, in the order of their numbers."""
    calls, find = _calls(db)
    tables = [_table(db, table, find) for table in ACTIVITIES if db.has(table, "start", "end", "deviceId")]
    whole = _numbered(db, joined(tables))
    numbers = np.unique(whole.gpu)
    if len(numbers) > MAX_GPUS:
        raise InputError(f"{db.origin} tells of {len(numbers):,} GPUs, more than one host has; export it again")
    processors = _multiprocessors(db)
    made = []
    for number in numbers:
        own = whole.take(whole.gpu == number)
        made.append(Gpu(f"GPU {number}", own, calls, np.unique(own.process), processors.get(int(number))))
    return [gpu for gpu in made if gpu.worked]


class _Finder:
    """Rows of calls by process and correlation: correlations are numbered per process."""

    def __init__(self, process: Ints, correlation: Ints, told: bool) -> None:
        self.told = told
        keys = _keys(process, correlation)
        self._rows = np.argsort(keys, kind="stable")
        self._keys = keys[self._rows]

    def find(self, process: Ints, correlation: Ints) -> Ints:
        """The row of the call for each pair, UNKNOWN where there is none."""
        if not len(self._keys):
            return np.full(len(correlation), UNKNOWN, np.int64)
        wanted = _keys(process, correlation)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where((self._keys[at] == wanted) & (correlation > 0), self._rows[at], UNKNOWN)


def _keys(process: Ints, correlation: Ints) -> Any:
    return (process.astype(np.uint64) << np.uint64(32)) ^ correlation.astype(np.uint64)


def _calls(db: Database) -> tuple[Calls, _Finder]:
    """What the host asked of CUDA. Processes are told apart only where operations tell theirs too."""
    read = db.numbers(RUNTIME, ("start", "end", "nameId", "correlationId", "globalTid")) if RUNTIME in db.tables else {}
    if not {"start", "end", "nameId"} <= set(read):
        return NO_CALLS, _Finder(ints(), ints(), False)
    told = "globalTid" in read and any(db.has(t, "globalPid") for t in ACTIVITIES)
    process = read["globalTid"] >> 24 if told else np.zeros_like(read["start"])
    kind = _by_name(db, read["nameId"], call_kind)
    correlation = read.get("correlationId", np.full(len(process), UNKNOWN, np.int64))
    return Calls(read["start"], read["end"], kind, process), _Finder(process, correlation, told)


def _by_name(db: Database, ids: Ints, what: Any) -> Ints:
    """A number per row from the text that its id stands for."""
    known, back = np.unique(ids, return_inverse=True)
    texts = strings(db, known)
    return ints([what(texts.get(int(i), "")) for i in known])[back] if len(known) else ints()


def strings(db: Database, ids: Ints) -> Mapping[int, str]:
    """Texts of `StringIds`."""
    found: dict[int, str] = {}
    for at in range(0, len(ids), 500):
        chosen = ", ".join(str(int(i)) for i in ids[at : at + 500])
        for key, value in db.rows("StringIds", ("id", "value"), f"WHERE id IN ({chosen})", 500):
            if isinstance(key, int) and isinstance(value, str):
                found[key] = value
    return found


def _table(db: Database, table: str, find: _Finder) -> Ops:
    extra = {
        KERNEL: ("demangledName", "shortName", "gridX", "gridY", "gridZ"),
        COPY: ("bytes", "copyKind", "srcKind", "dstKind"),
    }.get(table, ())
    read = db.numbers(table, (*_COLUMNS, *extra))
    count = len(read["start"])
    zeros = np.zeros(count, np.int64)
    process = read["globalPid"] >> 24 if find.told and "globalPid" in read else zeros
    columns: dict[str, Any] = {"start": read["start"], "end": read["end"], "gpu": read["deviceId"], "process": process}
    columns["call"] = find.find(process, read.get("correlationId", zeros))
    # Streams are numbered per context.
    columns["stream"] = read.get("contextId", zeros) * 100_003 + read.get("streamId", zeros)
    if table == KERNEL:
        columns |= _kernels(db, read)
    elif table == COPY:
        columns |= _copies(db, read)
    else:
        columns["kind"] = np.full(count, GRAPH if table == GRAPHS else MEMSET, np.int64)
    return ops(columns, count)


def _kernels(db: Database, read: Mapping[str, Ints]) -> dict[str, Ints]:
    names = read.get("demangledName", read.get("shortName"))
    count = len(read["start"])
    if names is None:
        return {"kind": np.full(count, CODE["other"], np.int64)}
    both = _by_name(db, names, lambda name: marks(name)[0] * 256 + marks(name)[1])
    found = {"kind": both // 256, "marks": both % 256}
    if {"gridX", "gridY", "gridZ"} <= set(read):
        sides = [np.clip(read[side], 1, 1 << 20) for side in ("gridX", "gridY", "gridZ")]
        found["blocks"] = np.minimum(sides[0] * sides[1], 1 << 40) * np.minimum(sides[2], 1 << 16)
    return found


def _copies(db: Database, read: Mapping[str, Ints]) -> dict[str, Ints]:
    count = len(read["start"])
    unknown = np.full(count, UNKNOWN, np.int64)
    direction = _mapped(read.get("copyKind", unknown), _directions(db), CODE["other"])
    host = np.where(direction == H2D, read.get("srcKind", unknown), read.get("dstKind", unknown))
    return {
        "kind": np.where(direction == CODE["other"], D2D, direction),
        "size": np.maximum(read.get("bytes", np.zeros(count, np.int64)), 0),
        "pageable": _mapped(host, _memory(db), UNKNOWN),
    }


def _mapped(values: Ints, to: Mapping[int, int], otherwise: int) -> Ints:
    known, back = np.unique(values, return_inverse=True)
    return ints([to.get(int(value), otherwise) for value in known])[back] if len(known) else values


def _directions(db: Database) -> Mapping[int, int]:
    """What a number of `copyKind` means."""
    found = {}
    for number, label in _labels(db, "ENUM_CUDA_MEMCPY_OPER"):
        code = next((code for pattern, code in _LABELS if pattern.search(label)), None)
        if code is not None:
            found[number] = code
    return found or _DIRECTION


def _memory(db: Database) -> Mapping[int, int]:
    """Whether host memory of a kind is pageable: 1, 0, and nothing for kinds that are not host memory."""
    labels = {number: label.lower() for number, label in _labels(db, "ENUM_CUDA_MEM_KIND")}
    if not labels:
        return {_PAGEABLE: 1, _PINNED: 0}
    return {number: int("pageable" in label) for number, label in labels.items() if re.search("pageable|pinned", label)}


def _labels(db: Database, table: str) -> list[tuple[int, str]]:
    column = "name" if db.has(table, "name") else "label"
    rows = db.rows(table, ("id", column))
    return [(number, text) for number, text in rows if isinstance(number, int) and isinstance(text, str)]


def _numbered(db: Database, whole: Ops) -> Ops:
    """Operations with the number of the physical GPU: a process counts only the GPUs that are visible to it."""
    rows = db.rows("TARGET_INFO_CUDA_DEVICE", ("pid", "cudaId", "gpuId"))
    physical = {(pid, cuda): gpu for pid, cuda, gpu in rows if all(isinstance(x, int) for x in (pid, cuda, gpu))}
    seen = {(int(p) & 0xFFFFFF, int(g)) for p, g in np.unique(np.stack((whole.process, whole.gpu), 1), axis=0)}
    if not seen or not seen <= set(physical):
        return whole
    number = np.zeros(len(whole.start), np.int64)
    for pid, cuda in seen:
        number[((whole.process & 0xFFFFFF) == pid) & (whole.gpu == cuda)] = physical[pid, cuda]
    return replace(whole, gpu=number)


def _multiprocessors(db: Database) -> Mapping[int, float]:
    rows = db.rows("TARGET_INFO_GPU", ("id", "smCount"))
    return {at: float(count) for at, count in rows if isinstance(at, int) and isinstance(count, int) and count > 0}
