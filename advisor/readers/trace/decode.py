"""JSON of events -> typed events: only the fields that the analysis needs are kept, the rest is skipped unread."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

Number = int | float | str | None  # numbers come as text too: "N/A", "0x0", "stream 7"


class Args(msgspec.Struct, gc=False):
    """What an event says beside its name and time."""

    correlation: Number = None
    external: Number = msgspec.field(name="External id", default=None)
    external_2021: Number = msgspec.field(name="external id", default=None)
    device: Number = None
    stream: Number = None
    bytes: Number = None
    occupancy: Number = msgspec.field(name="est. achieved occupancy %", default=None)
    blocks: Number = msgspec.field(name="blocks per SM", default=None)
    dims: msgspec.Raw = msgspec.field(name="Input Dims", default=msgspec.Raw(b""))
    types: msgspec.Raw = msgspec.field(name="Input type", default=msgspec.Raw(b""))
    received: Number = msgspec.field(name="Out msg nelems", default=None)
    sent: Number = msgspec.field(name="In msg nelems", default=None)
    dtype: Number = None
    device_type: Number = msgspec.field(name="Device Type", default=None)
    device_id: Number = msgspec.field(name="Device Id", default=None)
    allocated: Number = msgspec.field(name="Total Allocated", default=None)
    reserved: Number = msgspec.field(name="Total Reserved", default=None)


class Event(msgspec.Struct, gc=False):
    """One entry of a trace; times in microseconds."""

    ph: str | None = None
    cat: str | None = None
    name: str | None = None
    pid: Number = None
    tid: Number = None
    ts: float | None = None
    dur: float | None = None
    args: Args | None = None


NO_ARGS = Args()
_STRICT, _LENIENT = (msgspec.json.Decoder(list[Event], strict=strict) for strict in (True, False))
# Outside of the JSON standard, and written by profilers: NaN, inf and N/A without quotes, single backslashes.
_WORD = re.compile(rb"([:,\[]\s*)(?:-?nan|-?inf(?:inity)?|n/a)(?=\s*[,}\]])", re.IGNORECASE)
_BACKSLASH = re.compile(rb'\\(?!["\\/bfnrtu])')


def decode(data: bytes) -> list[Event]:
    """A JSON array of events (raises ValueError when it is not one of strict JSON, or has numbers as text)."""
    return _STRICT.decode(data)


def repair(data: bytes) -> list[Event]:
    """The events of an array that breaks the standard; entries that are no events are left out (raises ValueError)."""
    try:
        return _LENIENT.decode(data)
    except ValueError:
        pass
    text = _WORD.sub(rb"\1null", _BACKSLASH.sub(rb"\\\\", data)).decode("utf-8", "replace")
    found: list[Any] = json.loads(text, strict=False)
    return [event for raw in found if (event := _convert(raw)) is not None]


def _convert(raw: Any) -> Event | None:
    """One entry, without its arguments where those cannot be understood."""
    if not isinstance(raw, dict):
        return None
    args = raw.pop("args", None)
    try:
        event = msgspec.convert(raw, Event, strict=False)
    except (ValueError, RecursionError):
        return None
    event.args = _convert_args(args)
    return event


def _convert_args(raw: Any) -> Args | None:
    if not isinstance(raw, dict):
        return None
    plain = {k: v for k, v in raw.items() if isinstance(v, int | float | str)}
    try:
        args = msgspec.convert(plain, Args, strict=False)
        args.dims, args.types = (msgspec.Raw(msgspec.json.encode(raw.get(k, []))) for k in ("Input Dims", "Input type"))
    except (ValueError, RecursionError):
        return None
    return args
