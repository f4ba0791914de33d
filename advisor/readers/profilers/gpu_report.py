"""Reports of GPU profilers -> what is told of a run: one member per GPU, and the whole on top."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.profilers.timeline import Gpu
from advisor.readers.profilers.timeline_facts import rows, step_rows, wait_skew
from advisor.readers.profilers.timeline_view import NO_STEPS, Steps, longest_gap, view
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "trace"
PAUSE = 0.05  # of the window: a pause of this length is worth naming, as it may be start-up
# Of these the largest over the GPUs is told, of all else the mean.
_LARGEST = ("trace.stream.queue_length.max",)
Also = Callable[[Gpu, int, int], Iterable[Row]]


def _nothing(_: Gpu, __: int, ___: int) -> Iterable[Row]:
    return ()


@dataclass(frozen=True)
class Report:
    """What a profiler wrote.

    Args:
        what: what it is, for the note.
        origin: the file.
        gpus: what the GPUs did; at least one.
        steps: steps that were marked.
        also: what else is told of a GPU in a window (ns).
        machine: what it says about machine and settings.
        started: when it began, Unix seconds; None when that is not told.
        seconds: how long it went on; 0 when that is not told.
    """

    what: str
    origin: str
    gpus: list[Gpu]
    steps: Steps = NO_STEPS
    also: Also = _nothing
    machine: tuple[Row, ...] = ()
    started: float | None = None
    seconds: float = 0.0


def runs(reports: Sequence[Report]) -> list[list[Report]]:
    """Reports by run: those that were going on at the same time are of one."""
    groups: list[list[Report]] = []
    for report in sorted(reports, key=lambda r: (r.started or 0.0, r.origin)):
        last = groups[-1] if groups else []
        until = max((r.started + r.seconds for r in last if r.started is not None), default=None)
        if until is not None and report.started is not None and report.started < until:
            last.append(report)
        else:
            groups.append([report])
    return groups


def told(reports: Sequence[Report]) -> Told:
    """What the reports of one run say."""
    members = [(report, gpu, tuple(_member(report, gpu))) for report in reports for gpu in report.gpus]
    origins = list(dict.fromkeys(report.origin for report in reports))
    origin = ", ".join(origins)
    whole = _mean([said for _, _, said in members])
    # Clocks of several files differ: only within one are moments compared.
    skew = wait_skew([gpu for _, gpu, _ in members]) if len(reports) == 1 else None
    top = [*whole, row("trace.comm.wait_skew", skew, "s"), *(r for report in reports for r in report.machine)]
    ranks = tuple(
        (
            gpu.name if len(origins) == 1 else f"{_last(report.origin)} {gpu.name}",
            Reading(
                Source(KIND, report.origin, "ok", f"{gpu.name} of {_last(report.origin)}."), facts(said, report.origin)
            ),
        )
        for report, gpu, said in members
    )
    reading = Reading(Source(KIND, origin, "ok", _note(reports)), facts(top, origin))
    starts = [report.started for report in reports if report.started is not None]
    seconds = max(view(gpu, report.steps).lasts for report, gpu, _ in members) / 1e9
    subject = ", ".join(map(_last, origins))
    return Told((reading,), ranks if len(ranks) > 1 else (), min(starts, default=None), seconds, subject)


def _member(report: Report, gpu: Gpu) -> Iterator[Row]:
    seen = view(gpu, report.steps)
    found = rows(gpu, report.steps)
    exposed = next((value for name, value, _, _ in found if name == "trace.comm.exposed.fraction"), None)
    yield from found
    yield from report.also(gpu, seen.low, seen.high)
    yield from step_rows(seen.steps, exposed if isinstance(exposed, float) else None)


def _mean(members: Sequence[Iterable[Row]]) -> list[Row]:
    """One row for every fact that all the GPUs tell: the mean of numbers, of texts and switches the first."""
    held: dict[str, list[Row]] = defaultdict(list)
    for member in members:
        for one in {r[0]: r for r in reversed(list(member)) if r[1] is not None}.values():
            held[one[0]].append(one)
    made = []
    for name, told in held.items():
        numbers = [float(v) for _, v, _, _ in told if isinstance(v, int | float) and not isinstance(v, bool)]
        if not numbers:
            made.append(told[0])
        elif len(numbers) == len(members):
            made.append(row(name, max(numbers) if name in _LARGEST else statistics.fmean(numbers), told[0][2]))
    return made


def _last(origin: str) -> str:
    return origin.replace("!", "/").rsplit("/", 1)[-1]


def _note(reports: Sequence[Report]) -> str:
    views = [view(gpu, report.steps) for report in reports for gpu in report.gpus]
    lasts = max(v.lasts for v in views) / 1e9
    if views[0].steps.count:
        window = f"the {views[0].steps.count} steps marked '{views[0].steps.name[:40]}', {lasts:.3g} s"
    else:
        window = f"{lasts:.3g} s from the first to the last GPU operation, no steps being marked"
    apart = f" of {len(views)} GPUs, each a member, and for the whole the means over them" if len(views) > 1 else ""
    begin, gap = max((longest_gap(v) for v in views), key=lambda told: told[1])
    pause = (
        f" The longest pause without GPU work is {gap:.3g} s, {begin:.3g} s after its begin."
        if gap > PAUSE * lasts
        else ""
    )
    return f"{reports[0].what}{apart}; window: {window}.{pause}"
