"""CSV tables of rocprofv3 (``PID_kernel_trace.csv`` and its siblings), and ``results.csv`` of the older rocprof."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.profilers.gpu_report import Report
from advisor.readers.profilers.rocprof.results import DIRECTIONS
from advisor.readers.profilers.timeline import (
    D2D,
    FARTHEST,
    NO_CALLS,
    UNKNOWN,
    Calls,
    Gpu,
    Ops,
    call_kind,
    ints,
    joined,
    marks,
    ops,
)
from advisor.readers.rows import row

MAX_BYTES = 512 << 20
_BEGIN, _END = ("Start_Timestamp", "BeginNs"), ("End_Timestamp", "EndNs")
_KERNEL = ("Kernel_Name", "KernelName")
_GPU = ("Agent_Id", "gpu-id", "GPU_ID")
_SIDES = "XYZ"
Line = Mapping[str, str]


def report(artefacts: Sequence[Artefact], tick: Tick) -> Report:
    """What the tables of one process say together (raises InputError)."""
    kernels: list[Line] = []
    copies: list[Line] = []
    called: list[Line] = []
    for artefact in artefacts:
        for line in _lines(artefact, tick):
            if any(line.get(name) for name in _KERNEL):
                kernels.append(line)
            elif line.get("Direction"):
                copies.append(line)
            elif line.get("Function", "").startswith("hip"):
                called.append(line)
    origin = ", ".join(a.origin for a in artefacts)
    calls, rows_of = _calls(called)
    number = _numbers(kernels, copies)
    whole = joined([_kernels(kernels, number, rows_of), _copies(copies, number, rows_of)])
    gpus = [
        Gpu(f"GPU {at}", whole.take(whole.gpu == at), calls, copies=bool(copies))
        for at in np.unique(whole.gpu)
        if at >= 0
    ]
    torch = any("at::native" in _first(line, _KERNEL) for line in kernels)
    said = (row("run.framework", "pytorch" if torch else None, "{string}"),)
    return Report("rocprofiler tables", origin, [gpu for gpu in gpus if gpu.worked], machine=said)


def _lines(artefact: Artefact, tick: Tick) -> Iterator[Line]:
    text = decode(artefact.read(MAX_BYTES, tick))
    try:
        for line in csv.DictReader(io.StringIO(text.replace("\0", ""))):
            yield {key: value for key, value in line.items() if isinstance(key, str) and isinstance(value, str)}
    except csv.Error as error:
        raise InputError(f"{artefact.origin} is a table that is damaged ({error}); copy it again") from None


def _first(line: Line, names: Sequence[str]) -> str:
    return next((line[name] for name in names if line.get(name)), "")


def _number(text: str) -> int:
    """The whole number in a cell, such as ``Agent 4``; -1 when there is none."""
    match = re.search(r"\d{1,18}", text)
    return int(match[0]) if match else UNKNOWN


def _time(text: str) -> int:
    """Nanoseconds; what is no number is put where `ops` leaves it out."""
    return int(text) if re.fullmatch(r"\d{1,18}", text) else FARTHEST


def _numbers(kernels: Sequence[Line], copies: Sequence[Line]) -> dict[int, int]:
    """GPUs by the number of their agent: the agents that ran kernels; without kernels, those that copies went to."""
    seen = {_number(_first(line, _GPU)) for line in kernels}
    if not seen:
        to_gpu = [line for line in copies if "HOST_TO_DEVICE" in line["Direction"].upper()]
        seen = {_number(line.get("Destination_Agent_Id", "")) for line in to_gpu}
    return {agent: at for at, agent in enumerate(sorted(seen))}


def _times(lines: Sequence[Line], rows_of: Mapping[int, int]) -> dict[str, Any]:
    return {
        "start": ints([_time(_first(line, _BEGIN)) for line in lines]),
        "end": ints([_time(_first(line, _END)) for line in lines]),
        "call": ints([rows_of.get(_number(line.get("Correlation_Id", "")), UNKNOWN) for line in lines]),
    }


def _kernels(lines: Sequence[Line], number: Mapping[int, int], rows_of: Mapping[int, int]) -> Ops:
    found = [marks(_first(line, _KERNEL)) for line in lines]
    columns = _times(lines, rows_of) | {
        "kind": ints([kind for kind, _ in found]),
        "marks": ints([mark for _, mark in found]),
        "stream": ints([_number(line.get("Queue_Id", line.get("queue-id", "0"))) for line in lines]),
        "gpu": ints([number[_number(_first(line, _GPU))] for line in lines]),
    }
    return ops(columns, len(lines))


def _copies(lines: Sequence[Line], number: Mapping[int, int], rows_of: Mapping[int, int]) -> Ops:
    kinds = [next((c for part, c in DIRECTIONS.items() if part in line["Direction"].upper()), D2D) for line in lines]
    ends = [[_number(line.get(f"{end}_Agent_Id", "")) for end in ("Destination", "Source")] for line in lines]
    columns = _times(lines, rows_of) | {
        "kind": ints(kinds),
        "gpu": ints([next((number[agent] for agent in both if agent in number), UNKNOWN) for both in ends]),
    }
    return ops(columns, len(lines))


def _calls(lines: Sequence[Line]) -> tuple[Calls, dict[int, int]]:
    if not lines:
        return NO_CALLS, {}
    times = _times(lines, {})
    kinds = ints([call_kind(line["Function"]) for line in lines])
    process = np.zeros(len(lines), np.int64)
    made = Calls(times["start"], times["end"], kinds, process)
    return made, {_number(line.get("Correlation_Id", "")): at for at, line in enumerate(lines)}
