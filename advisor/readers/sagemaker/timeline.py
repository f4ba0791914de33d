"""Framework events of SageMaker Debugger and Horovod's timeline -> readings.

Both are lists in Chrome's trace format with an event per line; a writer that was stopped leaves the list open, and a
damaged line costs only itself. Times are microseconds since a start that a metadata event tells.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.rows import Row, facts, row
from advisor.readers.steps import PAUSE, Step, step_rows, step_series, window
from advisor.readers.told import Told

KIND = "trace"
MAX_BYTES = 512 << 20
MAX_EVENTS = 5_000_000
_TRAINING_STEP = re.compile(r"(?i)^step:?.*\btrain|^train_?step")
_START = "start_time_since_epoch_in_micros"


@dataclass
class _Timeline:
    """Complete events as (name, seconds since the epoch or since some start, seconds), and what else was counted."""

    events: list[tuple[str, float, float]] = field(default_factory=list)
    pairs: int = 0
    open: int = 0
    marks: int = 0
    lost: int = 0
    absolute: bool = False


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What the timelines of one job say together.

    Raises:
        InputError: when one cannot be read or none holds an event.
    """
    timelines = [_load(artefact, tick) for artefact in artefacts]
    origin = ", ".join(a.origin for a in artefacts)
    events = [event for t in timelines for event in t.events]
    if not events and not any(t.marks or t.open for t in timelines):
        raise InputError(f"{origin}: a timeline of SageMaker or Horovod without events; give one of a longer run")
    steps = _steps([e for e in events if _TRAINING_STEP.match(e[0])])
    used = window(steps)
    note = _note(timelines, events, used.note())
    rows = [*step_rows(used), *_framework(events)]
    begun = min((at for _, at, _ in events), default=0.0)
    ended = max((at + seconds for _, at, seconds in events), default=0.0)
    started = begun if begun and all(t.absolute for t in timelines if t.events) else None
    reading = Reading(Source(KIND, origin, "ok", note), facts(rows, origin), step_series(used))
    return [Told((reading,), (), started, max(0.0, ended - begun))]


def count_complete(artefact: Artefact, tick: Tick) -> int:
    """Complete events of a trace of TensorFlow's profiler (raises InputError)."""
    data = artefact.read(MAX_BYTES, tick)
    try:
        raw = json.loads(decode(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data))
        events = raw["traceEvents"]
        return sum(isinstance(e, dict) and e.get("ph") == "X" for e in events)
    except (ValueError, KeyError, TypeError, OSError, EOFError, RecursionError) as error:
        raise InputError(f"{artefact.origin} is a trace that is damaged or cut off ({error}); copy it again") from None


def _load(artefact: Artefact, tick: Tick) -> _Timeline:
    timeline = _Timeline()
    start, began = 0.0, {}  # type: tuple[float, dict[Any, list[tuple[str, float]]]]
    for event in _raw(decode(artefact.read(MAX_BYTES, tick)), timeline):
        arguments = event.get("args")
        told = arguments.get(_START) if isinstance(arguments, dict) else None
        if isinstance(told, int | float) and 0 < told < 1e18:
            start, timeline.absolute = float(told), True
        _add(event, start, began, timeline)
        if len(timeline.events) >= MAX_EVENTS:
            break
    timeline.open += sum(len(names) for names in began.values())
    return timeline


def _raw(text: str, timeline: _Timeline) -> Iterator[Mapping[str, Any]]:
    """The events of a list, one by one; lines that are no event are counted as lost."""
    for line in text.split("\n"):
        bare = line.strip().removeprefix("[").strip().removesuffix("]").strip().rstrip(",")
        if not bare:
            continue
        try:
            told = json.loads(f"[{bare}]")
        except (ValueError, RecursionError):
            timeline.lost += 1
            continue
        for event in told:
            if isinstance(event, dict):
                yield event
            else:
                timeline.lost += 1


def _add(
    event: Mapping[str, Any], start: float, began: dict[Any, list[tuple[str, float]]], timeline: _Timeline
) -> None:
    """Add an event; a begin waits for the end of the same track."""
    phase, name, at = event.get("ph"), str(event.get("name", "")), _number(event.get("ts"))
    if phase == "M" or at is None:
        return
    moment = (start + at) / 1e6
    track = (str(event.get("pid")), str(event.get("tid")))
    if phase == "X":
        length = _number(event.get("dur"))
        timeline.events.append((name, moment, (length or 0.0) / 1e6))
    elif phase == "B":
        began.setdefault(track, []).append((name, moment))
    elif phase == "E" and began.get(track):
        name, begun = began[track].pop()
        timeline.events.append((name, begun, max(0.0, moment - begun)))
        timeline.pairs += 1
    elif phase == "E":
        timeline.open += 1
    else:
        timeline.marks += 1


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e18 or not math.isfinite(value):
        return None
    return float(value)


def _steps(events: Sequence[tuple[str, float, float]]) -> list[Step]:
    """From the start of a step to the start of the next; where a pause lies between, only the step itself."""
    ordered = sorted(events, key=lambda event: event[1])
    steps = []
    for number, (_, at, seconds) in enumerate(ordered):
        following = ordered[number + 1][1] - at if number + 1 < len(ordered) else seconds
        whole = following if seconds <= following <= PAUSE * seconds else seconds
        steps.append(Step(whole, number, (0, number)))
    return steps


def _framework(events: Sequence[tuple[str, float, float]]) -> Iterator[Row]:
    names = {name for name, _, _ in events}
    if any(_TRAINING_STEP.match(name) for name in names):
        yield row("run.phase", "training", "{string}")
    if any("ModeKeys" in name or name.startswith("dataset::") for name in names):
        yield row("run.framework", "tensorflow", "{string}")


def _note(timelines: Sequence[_Timeline], events: Sequence[tuple[str, float, float]], steps: str) -> str:
    often: dict[str, int] = defaultdict(int)
    for name, _, _ in events:
        often[name] += 1
    most = sorted(often.items(), key=lambda pair: -pair[1])[:4]
    counted = ", ".join(f"{count:,} of {name}" for name, count in most)
    opened, lost = sum(t.open for t in timelines), sum(t.lost for t in timelines)
    pairs = sum(t.pairs for t in timelines)
    parts = [f"a framework timeline: {len(events) - pairs:,} events" + (f" ({counted})" if counted else "")]
    parts += [f"{pairs:,} more with a begin and an end"] if pairs else []
    parts += [f"{opened:,} begun or ended only"] if opened else []
    parts += [f"{lost:,} damaged left out"] if lost else []
    if not steps:
        parts.append("no training step is in it, which is what is timed: give the python timelines of the same job too")
    return "; ".join([*parts, *([steps] if steps else [])])
