"""JSON results of rocprofv3 (``--output-format json``) -> what each GPU did.

One document per process: agents (CPUs are of type 1, GPUs of type 2), names of kernels by number, and
records in buffers. Names of operations stand in a table by kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from advisor.errors import InputError
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.profilers.gpu_report import Report
from advisor.readers.profilers.timeline import (
    D2D,
    D2H,
    FARTHEST,
    H2D,
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
from advisor.readers.rows import Row, row

MAX_BYTES = 1 << 30
GPU = 2
Int = Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)]  # numbers of JSON may be of any length
DIRECTIONS = {"HOST_TO_DEVICE": H2D, "DEVICE_TO_HOST": D2H, "DEVICE_TO_DEVICE": D2D, "PEER": PEER}


class _Id(msgspec.Struct):
    handle: Int = 0


class _Correlation(msgspec.Struct):
    internal: Int = 0


class _Size(msgspec.Struct):
    x: Int = 1
    y: Int = 1
    z: Int = 1


class _Agent(msgspec.Struct):
    id: _Id = msgspec.field(default_factory=_Id)
    type: Int = 0
    product_name: str = ""
    name: str = ""
    cu_count: Int = 0


class _Symbol(msgspec.Struct):
    kernel_id: Int = 0
    formatted_kernel_name: str = ""
    kernel_name: str = ""


class _Dispatch(msgspec.Struct):
    agent_id: _Id = msgspec.field(default_factory=_Id)
    queue_id: _Id = msgspec.field(default_factory=_Id)
    kernel_id: Int = 0
    workgroup_size: _Size = msgspec.field(default_factory=_Size)
    grid_size: _Size = msgspec.field(default_factory=_Size)


class _Record(msgspec.Struct):
    kind: Int = 0
    operation: Int = 0
    thread_id: Int = 0
    correlation_id: _Correlation = msgspec.field(default_factory=_Correlation)
    start_timestamp: Int = 0
    end_timestamp: Int = 0
    dispatch_info: _Dispatch | None = None
    src_agent_id: _Id | None = None
    dst_agent_id: _Id | None = None
    bytes: Int = 0


class _Kind(msgspec.Struct):
    kind: str = ""
    operations: list[str] = []


class _Strings(msgspec.Struct):
    buffer_records: list[_Kind] = []


class _Buffers(msgspec.Struct):
    kernel_dispatch: list[_Record] = []
    memory_copy: list[_Record] = []
    hip_api: list[_Record] = []


class _Metadata(msgspec.Struct):
    pid: Int = 0
    init_time: Int = 0
    fini_time: Int = 0


class _Tool(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    agents: list[_Agent] = []
    strings: _Strings = msgspec.field(default_factory=_Strings)
    kernel_symbols: list[_Symbol] = []
    buffer_records: _Buffers = msgspec.field(default_factory=_Buffers)


class _Document(msgspec.Struct):
    tools: list[_Tool] = msgspec.field(name="rocprofiler-sdk-tool", default_factory=list)


def report(artefact: Artefact, tick: Tick) -> Report:
    """What one results file says (raises InputError)."""
    try:
        tools = msgspec.json.decode(artefact.read(MAX_BYTES, tick), type=_Document).tools
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{artefact.origin} is a rocprofiler result that is damaged or cut off ({str(error)[:200]}); copy it again"
        ) from None
    gpus = [gpu for tool in tools for gpu in _gpus(tool) if gpu.worked]
    agents = next(([a for a in tool.agents if a.type == GPU] for tool in tools), [])
    window = next(((t.metadata.fini_time - t.metadata.init_time) / 1e9 for t in tools), 0.0)
    said = _said(agents, any("at::native" in s.formatted_kernel_name for t in tools for s in t.kernel_symbols))
    return Report("rocprofiler result", artefact.origin, gpus, machine=said, seconds=max(window, 0.0))


def _said(agents: Sequence[_Agent], torch: bool) -> tuple[Row, ...]:
    model = next((a.product_name or a.name for a in agents), "")
    return (
        row("hw.gpu.count", len(agents) or None, "{gpu}"),
        row("hw.gpu.model", model or None, "{string}"),
        row("run.framework", "pytorch" if torch else None, "{string}"),
    )


def _gpus(tool: _Tool) -> list[Gpu]:
    number = {a.id.handle: at for at, a in enumerate(a for a in tool.agents if a.type == GPU)}
    units = {number[a.id.handle]: float(a.cu_count) for a in tool.agents if a.type == GPU}
    calls, rows_of = _calls(tool)
    whole = joined([_kernels(tool, number, rows_of), _copies(tool, number, rows_of)])
    return [
        Gpu(
            f"GPU {at}",
            whole.take(whole.gpu == at),
            calls,
            ints(),
            units.get(int(at)) or None,
            bool(tool.buffer_records.memory_copy),
        )
        for at in np.unique(whole.gpu)
        if at >= 0
    ]


def _times(records: Sequence[_Record], rows_of: Mapping[int, int]) -> dict[str, Any]:
    return {
        "start": _column(r.start_timestamp for r in records),
        "end": _column(r.end_timestamp for r in records),
        "call": ints([rows_of.get(r.correlation_id.internal, UNKNOWN) for r in records]),
    }


def _column(values: Any) -> Ints:
    """Whole numbers that fit; what does not is put out of the way, where `ops` leaves it out."""
    return ints([value if abs(value) < FARTHEST else FARTHEST for value in values])


def _kernels(tool: _Tool, number: Mapping[int, int], rows_of: Mapping[int, int]) -> Ops:
    names = {s.kernel_id: s.formatted_kernel_name or s.kernel_name for s in tool.kernel_symbols}
    known = {key: marks(name) for key, name in names.items()}
    other = marks("")
    records = [(r, r.dispatch_info) for r in tool.buffer_records.kernel_dispatch]
    told = [(r, d) for r, d in records if d is not None]
    columns = _times([r for r, _ in told], rows_of) | {
        "kind": ints([known.get(d.kernel_id, other)[0] for _, d in told]),
        "marks": ints([known.get(d.kernel_id, other)[1] for _, d in told]),
        "stream": _column(d.queue_id.handle for _, d in told),
        "gpu": ints([number.get(d.agent_id.handle, UNKNOWN) for _, d in told]),
        "blocks": ints([_blocks(d) for _, d in told]),
    }
    return ops(columns, len(told))


def _blocks(d: _Dispatch) -> int:
    """Work groups of a dispatch: HIP counts the grid in threads."""
    blocks = 1
    for grid, group in ((getattr(d.grid_size, side), getattr(d.workgroup_size, side)) for side in "xyz"):
        blocks *= -(-max(grid, 1) // max(group, 1))
    return min(blocks, 1 << 40)


def _copies(tool: _Tool, number: Mapping[int, int], rows_of: Mapping[int, int]) -> Ops:
    records = tool.buffer_records.memory_copy
    names = [_name(tool, r).upper() for r in records]
    kind = [next((code for part, code in DIRECTIONS.items() if part in name), D2D) for name in names]
    ends = [(r.src_agent_id or _Id(), r.dst_agent_id or _Id()) for r in records]
    columns = _times(records, rows_of) | {
        "kind": ints(kind),
        "size": _column(max(r.bytes, 0) for r in records),
        "gpu": ints([number.get(dst.handle, number.get(src.handle, UNKNOWN)) for src, dst in ends]),
    }
    return ops(columns, len(records))


def _calls(tool: _Tool) -> tuple[Calls, dict[int, int]]:
    """Calls of HIP, and their rows by correlation."""
    records = tool.buffer_records.hip_api
    if not records:
        return NO_CALLS, {}
    kinds = ints([call_kind(_name(tool, r)) for r in records])
    start, end = _column(r.start_timestamp for r in records), _column(r.end_timestamp for r in records)
    made = Calls(start, end, kinds, np.zeros(len(records), np.int64))
    return made, {r.correlation_id.internal: at for at, r in enumerate(records) if r.correlation_id.internal}


def _name(tool: _Tool, record: _Record) -> str:
    kinds = tool.strings.buffer_records
    operations = kinds[record.kind].operations if 0 <= record.kind < len(kinds) else []
    return operations[record.operation] if 0 <= record.operation < len(operations) else ""
