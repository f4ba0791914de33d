"""What Prometheus answers or exports -> samples: the JSON of its query API, exports, the text of promtool.

Every format gives tracks: a series with its samples in order of time. Values that are no numbers
(NaN marks a target that went away) are left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from advisor.errors import InputError
from advisor.readers.metrics.prometheus import Labels, canonical, parse_line
from advisor.readers.metrics.sample_signs import API, EXPORT

_POINT = re.compile(r"(\S+) @\[(\d+(?:\.\d+)?)\]")
_SAID = 200


class Track(NamedTuple):
    """A series: its canonical name, its labels, its samples as (Unix seconds, value) in order of time."""

    name: str
    labels: Labels
    points: list[tuple[float, float]]


class _Series(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []
    value: tuple[float, str] | None = None


class _Result(msgspec.Struct):
    resultType: str = ""  # noqa: N815 - the name in the answer
    result: msgspec.Raw = msgspec.Raw(b"[]")


class _Answer(msgspec.Struct):
    status: str = "success"
    data: msgspec.Raw = msgspec.Raw(b"{}")
    errorType: str = ""  # noqa: N815
    error: str = ""
    warnings: list[str] = []


class _Export(msgspec.Struct):
    metric: dict[str, str]
    values: list[float | str | None]
    timestamps: list[float]


def read_samples(text: str, origin: str) -> tuple[list[Track], list[str]]:
    """The tracks in a text, and the warnings of the server that wrote it.

    Args:
        text: one of the formats; several answers may follow each other line by line.
        origin: where it comes from, for messages.

    Raises:
        InputError: when it is damaged, or an error.
    """
    warnings: list[str] = []
    try:
        if API.match(text):
            tracks = [track for answer in _documents(text, _Answer) for track in _answered(answer, origin, warnings)]
        elif EXPORT.match(text):
            tracks = [track for line in _documents(text, _Export) for track in _exported(line)]
        else:
            tracks = list(_lines(text))
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise InputError(
            f"{origin} begins as samples of Prometheus and is damaged ({str(error)[:_SAID]}); save it again"
        ) from None
    return tracks, warnings


def _documents(text: str, kind: Any) -> Iterable[Any]:
    """One document, or one per line."""
    try:
        return [msgspec.json.decode(text, type=kind)]
    except msgspec.MsgspecError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) == 1 or lines[0].strip() == "{":  # cut off: the error of the whole says where
            raise
        return [msgspec.json.decode(line, type=kind) for line in lines]


def _answered(answer: _Answer, origin: str, warnings: list[str]) -> Iterator[Track]:
    if answer.status != "success":
        said = f"{answer.errorType}: {answer.error}"[:_SAID]
        raise InputError(
            f"{origin} is an error that Prometheus answered ({said}); correct the query and save its answer"
        )
    warnings += [warning[:_SAID] for warning in answer.warnings[:3]]
    if bytes(answer.data).lstrip()[:1] != b"{":
        raise InputError(f"{origin} is a list that Prometheus answered, without samples; save the answer of a query")
    data = msgspec.json.decode(answer.data, type=_Result)
    if data.resultType not in ("matrix", "vector"):
        raise InputError(f"{origin} is a single value that Prometheus answered; save the answer of a query for metrics")
    for series in msgspec.json.decode(data.result, type=list[_Series]):
        points = series.values or ([series.value] if series.value else [])
        yield from _track(series.metric, ((t, float(value)) for t, value in points))


def _exported(line: _Export) -> Iterator[Track]:
    """A line of an export of VictoriaMetrics: times in milliseconds."""
    values = (math.nan if value is None else float(value) for value in line.values)
    yield from _track(line.metric, ((t / 1000, value) for t, value in zip(line.timestamps, values, strict=True)))


def _lines(text: str) -> Iterator[Track]:
    """The text of promtool: a dump with a sample per line, or a series followed by its samples."""
    found: dict[tuple[str, Labels], list[tuple[float, float]]] = {}
    points: list[tuple[float, float]] = []
    for number, line in enumerate(text.split("\n"), 1):
        series, arrow, rest = line.partition(" =>")
        if arrow:
            key = _series(series, number)
            points = found.setdefault(key, [])
        point = _POINT.fullmatch((rest if arrow else line).strip())
        if point:
            points.append((float(point[2]), float(point[1])))
        elif not arrow and line.strip() and not line.startswith("#"):
            sample = parse_line(line.strip())
            if sample is None or sample.time is None:
                raise ValueError(f"line {number}")
            found.setdefault((canonical(sample.name), sample.labels), []).append((sample.time, sample.value))
    for (name, labels), at in found.items():
        yield from _track({**dict(labels), "__name__": name}, at)


def _series(text: str, number: int) -> tuple[str, Labels]:
    sample = parse_line(f"{text.strip()} 0") or parse_line(f"unnamed{text.strip()} 0")
    if sample is None:
        raise ValueError(f"line {number}")
    return canonical(sample.name), sample.labels


def _track(metric: dict[str, str], points: Iterable[tuple[float, float]]) -> Iterator[Track]:
    """One track; none of a result that has no name, as rates have none."""
    name = metric.get("__name__", "")
    labels = tuple(sorted((key, value) for key, value in metric.items() if key != "__name__"))
    finite = sorted(point for point in points if math.isfinite(point[0]) and math.isfinite(point[1]))
    if finite:
        yield Track(canonical(name), labels, finite)
