"""Event files of TensorBoard -> readings: step times from the clock of the scalars, and what their tags tell.

Scalars come as plain values (TensorFlow 1, PyTorch's writer) or as tensors without dimensions (TensorFlow 2).
"""

from __future__ import annotations

import math
import re
import statistics
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.metric_names import (
    FLOPS,
    JOB_SAMPLES,
    JOB_TOKENS,
    MFU,
    RATE,
    SAMPLES,
    STEP,
    TOKENS,
    WAIT,
    WAITING,
    Quantity,
    plain,
    quantity,
)
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.steps import PAUSE, Step, Window, step_rows, step_series, waiting, window
from advisor.readers.tfrecord import Damaged, double, fields, records, single
from advisor.readers.told import Told

KIND = "log"
MAX_POINTS = 1_000_000
MAX_TAGS = 5_000
Points = list[tuple[float, int, float]]  # Unix seconds, step, value
# Tags that are written per epoch, per evaluation, or over another count than steps, are no clock of the steps.
_NO_CLOCK = re.compile(r"(?i)\bepoch|\beval|\bval(?:id(?:ation)?)?(?:[_/ ]|$)|\btest|samples|tokens|\bvs\b|_vs_")
_PARTS = frozenset("train training validation val eval test".split())
_DTYPES = {1: ("<f", 4), 2: ("<d", 8), 3: ("<i", 4), 9: ("<q", 8)}  # DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What event files say: those of one folder are one run, also with its parts for training and validation.

    Raises:
        InputError: when one is damaged from its beginning or holds no scalar.
    """
    runs: dict[str, list[Artefact]] = {}
    for artefact in artefacts:
        folder = [part for part in artefact.origin.replace("!", "/").split("/")[:-1] if part not in _PARTS]
        runs.setdefault("/".join(folder), []).append(artefact)
    told = [_run(files, tick) for files in runs.values()]
    if all(one is None for one in told):
        raise InputError(
            f"{artefacts[0].origin} is an event file without scalars, as TensorFlow's profiler leaves one beside its "
            "traces; give the one that the training writes"
        )
    return [one for one in told if one is not None]


def _run(files: Sequence[Artefact], tick: Tick) -> Told | None:
    tags: dict[str, Points] = {}
    notes: list[str] = []
    count = 0
    for artefact in files:
        events, note = _read(artefact, tags, tick)
        count += events
        notes += [note] if note else []
    if not tags:
        return None
    origin = ", ".join(a.origin for a in files)
    moments = [at for points in tags.values() for at, _, _ in points]
    used, tag = _steps(tags)
    rows = [*step_rows(used), *_measured(tags, used), *_evaluations(tags)]
    rows.append(row("run.phase", "training" if any("loss" in t.lower() for t in tags) else None, "{string}"))
    values = sum(len(points) for points in tags.values())
    said = f"step times from the clock of “{tag}”: {used.note()}" if tag else "no tag is written per step"
    note = "; ".join(
        [f"an event file of TensorBoard: {count:,} events, {values:,} values of {len(tags):,} scalars", said, *notes]
    )
    reading = Reading(Source(KIND, origin, "ok", note), facts(rows, origin), step_series(used))
    return Told((reading,), (), min(moments), max(moments) - min(moments))


def _read(artefact: Artefact, tags: dict[str, Points], tick: Tick) -> tuple[int, str]:
    """Add a file's scalars to `tags`: how many events there were, and what was wrong at the end."""
    count = points = 0
    with artefact.open(tick) as stream:
        try:
            for record in records(stream):
                count += 1
                for tag, point in _scalars(record):
                    if len(tags) < MAX_TAGS or tag in tags:
                        tags.setdefault(tag, []).append(point)
                        points += 1
                if points >= MAX_POINTS:
                    return count, f"only the first {points:,} values were read"
        except Damaged:
            if not count:
                raise InputError(f"{artefact.origin} is a damaged event file; copy it again") from None
            return count, "the last record is cut off or damaged, what follows it was not read"
    return count, ""


def _scalars(record: bytes) -> Iterator[tuple[str, tuple[float, int, float]]]:
    """Tag and point of each scalar of an event (raises Damaged)."""
    wall, step, summaries = 0.0, 0, []
    for field, value in fields(record):
        if field == 1:
            wall = double(value)
        elif field == 2 and isinstance(value, int):
            step = value if value < 1 << 63 else 0
        elif field == 5 and isinstance(value, bytes):
            summaries.append(value)
    if not math.isfinite(wall) or wall <= 0:
        return
    for summary in summaries:
        for field, value in fields(summary):
            if field == 1 and isinstance(value, bytes):
                tag, number = _value(value)
                if tag and number is not None and math.isfinite(number):
                    yield tag, (wall, step, number)


def _value(data: bytes) -> tuple[str, float | None]:
    tag, number = "", None
    for field, value in fields(data):
        if field == 1 and isinstance(value, bytes):
            tag = value.decode("utf-8", "replace")[:300]
        elif field == 2:
            number = single(value)
        elif field == 8 and isinstance(value, bytes) and len(value) < 256:
            number = _tensor(value)
    return tag, number


def _tensor(data: bytes) -> float | None:
    """The number of a tensor without dimensions; None for all others."""
    kind, content = 0, b""
    for field, value in fields(data):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == 2 and value:
            return None
        elif field in (4, 5, 6) and isinstance(value, bytes):
            content = value
    form = _DTYPES.get(kind)
    if form is None or len(content) != form[1]:
        return None
    return float(struct.unpack(form[0], content)[0])


def _named(tags: Mapping[str, Points]) -> Iterator[tuple[Quantity, Points]]:
    """Scalars whose name tells what they are, of the training."""
    for tag, points in tags.items():
        known = quantity(tag)
        if known is not None and not re.search(r"(?i)\b(?:eval|val|test)", tag):
            yield known, points


def _steps(tags: Mapping[str, Points]) -> tuple[Window, str]:
    """Step times as a scalar tells them, else by the clock of the scalar that is written most often."""
    for tag, points in tags.items():
        known = quantity(tag)
        if known is not None and known.what in (STEP, RATE) and len(points) > 2 and not _NO_CLOCK.search(tag):
            told = [(at, step, v * known.scale if known.what == STEP else 1.0 / v) for at, step, v in points if v > 0]
            if not _rises([v for _, _, v in told]):
                return window([Step(v, i, (0, step)) for i, (_, step, v) in enumerate(told)]), tag
    clocks = {tag: points for tag, points in tags.items() if not _NO_CLOCK.search(tag.replace("_", " ")) and points}
    best: tuple[list[Step], str] = ([], "")
    for tag, points in clocks.items():
        steps = _between(points)
        if len(steps) > len(best[0]):
            best = (steps, tag)
    return window(best[0]), best[1]


def _rises(values: Sequence[float]) -> bool:
    return len(values) > 3 and all(b > a for a, b in pairwise(values)) and values[-1] > 2 * values[0]


def _between(points: Points) -> list[Step]:
    """Mean step times between the points of a tag; the pause around an evaluation is left out."""
    steps = []
    for i, ((before, first, _), (after, last, _)) in enumerate(pairwise(points)):
        if last > first and after > before:
            steps.append(Step((after - before) / (last - first), i, (2, last), last - first))
    if not steps:
        return []
    middle = statistics.median(s.seconds for s in steps)
    return [s for s in steps if s.seconds <= 2 * PAUSE * middle]


def _measured(tags: Mapping[str, Points], used: Window) -> Iterator[Row]:
    """What other scalars tell: throughput, utilisation, the wait for data."""
    told: dict[str, list[float]] = {}
    for known, points in _named(tags):
        told.setdefault(known.what, []).extend(value * known.scale for _, _, value in points[1:] or points)
    middle = {what: statistics.median(values) for what, values in told.items()}
    yield row("ml.throughput.tokens", middle.get(TOKENS), "{token}/s")
    yield row("ml.throughput.tokens.job", middle.get(JOB_TOKENS), "{token}/s")
    yield row("ml.throughput.samples", middle.get(SAMPLES), "{sample}/s")
    yield row("ml.throughput.samples.job", middle.get(JOB_SAMPLES), "{sample}/s")
    yield row("ml.throughput.flops", middle.get(FLOPS), "{operation}/s")
    mfu = middle.get(MFU)
    yield share("ml.mfu", mfu if mfu is not None and 0 < mfu <= 1 else None)
    if WAITING in middle:
        yield from waiting(middle[WAITING])
    elif WAIT in middle and used.steps and used.seconds > 0:
        yield from waiting(middle[WAIT] * used.count / used.seconds)


def _evaluations(tags: Mapping[str, Points]) -> Iterator[Row]:
    """Run times of evaluations, which the Trainer writes as ``eval/runtime``, and of the training."""
    spent = [v for tag, points in tags.items() if plain(tag) == "eval runtime" for _, _, v in points if v >= 0]
    total = [v for tag, points in tags.items() if plain(tag) == "train train runtime" for _, _, v in points]
    if spent:
        yield row("ml.evaluation.count", float(len(spent)), "{evaluation}")
        yield row("ml.evaluation.time", statistics.fmean(spent), "s")
        yield share("ml.evaluation.fraction", sum(spent) / total[-1] if total and total[-1] >= sum(spent) else None)
