"""Progress bars of tqdm (and of Lightning, the Trainer, Accelerate, which use it): how fast they went over time.

A bar shows whole seconds since it began and a smoothed rate. Over minutes the seconds are exact, over less the rates
are better. Every rank may draw its own, and each epoch begins a new one.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.readers.log.log import Log
from advisor.readers.log.training.part import NUMBER, Part, line_at
from advisor.readers.rows import row
from advisor.readers.steps import Step, step_rows, step_series, window

_BAR = re.compile(
    rf"\[(?P<elapsed>(?:\d{{1,5}}:)?\d{{1,2}}:\d\d)<[^,\]\n]{{1,24}}, {{0,3}}(?P<rate>{NUMBER}|\?) {{0,2}}"
    r"(?P<unit>[A-Za-z]{1,12}/[A-Za-z]{1,12})(?P<post>[^\]\n]{0,600})"
)
# rich, which Lightning draws with since 2.0: ``10/100 0:00:05 • 0:00:47 1.90it/s``
_RICH = re.compile(
    rf"(?P<elapsed>\d{{1,3}}:\d\d:\d\d) \S (?:\d{{1,3}}:\d\d:\d\d|-:--:--) {{1,3}}"
    rf"(?P<rate>{NUMBER})(?P<unit>it/s)(?P<post>[^\n]{{0,600}})"
)
_PLACE = re.compile(r"(\d{1,12})/(\d{1,12})\s{0,3}$")
_NOT_TRAINING = re.compile(
    r"(?i)eval|valid|\bval\b|test|predict|generat|\bmap\b|map \(|filter|token|download|load|shard|sav|group|infer"
    r"|compil|extract|cach|sanity|check|process|capture|upload|fetch|quantiz|import|convert|build|prompt|request|pack"
)
_TRAINING = re.compile(r"(?i)\bepochs?\b|train|\bsteps?\b|\biter(?:ation)?s?\b")
_LOSS = re.compile(r"(?i)loss|v_num|\blr\b|grad_norm")
_STEPS = frozenset("it iter iters iteration batch batches step steps b".split())
LONG = 200  # seconds from which whole seconds are exact to half a per cent
PIECE = 20  # seconds between two points of the curve
MAX_LINES = 400_000


@dataclass(frozen=True, slots=True)
class _Shown:
    """A bar as it stood once."""

    at: int
    name: str
    total: int
    done: int
    elapsed: int
    seconds: float | None
    loss: bool


def read(log: Log, total: float | None, *, trains: bool) -> Part | None:
    """What the bars of training say.

    Args:
        log: the text.
        total: optimizer steps of the run, where the log told it: a bar of that many is the training's.
        trains: whether something else in the log shows that it trains.

    Returns:
        None when there is no bar of a training loop.
    """
    shown = list(_bars(log))
    if not shown:
        return None
    groups: dict[tuple[str, int], list[_Shown]] = {}
    for bar in shown:
        groups.setdefault((re.sub(r"\d+", "#", bar.name), bar.total), []).append(bar)
    chosen = max(groups.values(), key=lambda bars: _likeness(bars, total))
    steps, coarse = _steps(chosen)
    used = window(steps)
    if not used.steps:
        return None
    name = chosen[0].name
    likely = trains or any(b.loss for b in chosen) or bool(_TRAINING.search(name))
    part = Part("progress bar", used, at=used.steps[0].at, trains=likely, coarse=coarse)
    where = log.where(part.at)
    part.rows = list(step_rows(used, where, exact=False, evenly=True))
    part.series = step_series(used)
    done = {b.name: b.elapsed for b in chosen}
    part.seconds = float(sum(done.values()))
    part.notes = [f"the bar{f' “{name[:40]}”' if name else ''} went to {chosen[-1].done:,} of {chosen[-1].total:,}"]
    if not likely:
        part.rows = [r for r in part.rows if r[0] == "ml.step.time"]
    if len(steps) == 1 and steps[0].span > 1:
        part.rows.append(row("ml.step.count", float(steps[0].span), "{step}", where))
    return part


def _bars(log: Log) -> Iterator[_Shown]:
    count = 0
    patterns = [p for p, sign in ((_BAR, "<"), (_RICH, "• ")) if sign in log.text]
    for pattern in patterns:
        for match in pattern.finditer(log.text):
            bar = _shown(log, match)
            if bar is not None:
                yield bar
                count += 1
            if count >= MAX_LINES:
                return


def _shown(log: Log, match: re.Match[str]) -> _Shown | None:
    """The bar that a match belongs to; None when it counts something else than steps."""
    thing, per = match["unit"].lower().split("/")
    inverse = thing in ("s", "sec")
    if not (per in _STEPS if inverse else thing in _STEPS and per in ("s", "sec")):
        return None
    start, line = line_at(log, match.start())
    before = line[: match.start() - start].rstrip()
    place = _PLACE.search(before)
    if place is None or int(place[2]) < 1 or int(place[1]) < 1:
        return None
    name = before[: place.start()]
    name = name[name.rfind("]") + 1 :] if "it/s]" in name or "s/it]" in name else name
    name = re.split(r"\d{1,3}(?:\.\d+)?%|[━╸╺█▏|]{2,}", name)[0][-80:].strip()
    if _NOT_TRAINING.search(name):
        return None
    rate = None if match["rate"] == "?" else float(match["rate"].replace(",", ""))
    seconds = None if not rate else rate if inverse else 1.0 / rate
    parts = [int(part) for part in match["elapsed"].split(":")]
    elapsed = sum(part * 60**i for i, part in enumerate(reversed(parts)))
    loss = bool(_LOSS.search(match["post"][:600]))
    return _Shown(match.start(), name, int(place[2]), int(place[1]), elapsed, seconds, loss)


def _likeness(bars: Sequence[_Shown], total: float | None) -> tuple[bool, bool, bool, int]:
    """How likely bars are those of the training loop, for comparing."""
    return (
        total is not None and bars[0].total == total,
        any(b.loss for b in bars),
        bool(_TRAINING.search(bars[0].name)),
        sum({b.name: b.elapsed for b in bars}.values()),
    )


def _steps(bars: Sequence[_Shown]) -> tuple[list[Step], bool]:
    """Times between bars, of each epoch one drawing; whether they are coarse."""
    epochs: dict[str, list[list[_Shown]]] = {}
    for bar in bars:
        tracks = epochs.setdefault(bar.name, [])
        track = next((t for t in tracks if t[-1].done < bar.done and t[-1].elapsed <= bar.elapsed), None)
        if track is not None:
            track.append(bar)
        elif len(tracks) < 64:  # what does not fit is one more rank's
            tracks.append([bar])
    best = [max(tracks, key=lambda t: (t[-1].done - t[0].done, -t[0].at)) for tracks in epochs.values()]
    steps: list[Step] = []
    for epoch, track in enumerate(best):
        span = track[-1].elapsed - track[0].elapsed
        steps += _pieces(track, epoch) if span >= LONG else _rates(track, epoch)
    return steps, sum(t[-1].elapsed - t[0].elapsed for t in best) < LONG


def _pieces(track: Sequence[_Shown], epoch: int) -> Iterator[Step]:
    """Mean step times of pieces long enough for whole seconds; what lies before the first bar is warm-up."""
    before = track[0]
    for bar in track[1:]:
        if bar.elapsed - before.elapsed >= PIECE or bar is track[-1]:
            done = bar.done - before.done
            seconds = (bar.elapsed - before.elapsed) / done
            yield Step(seconds, bar.at, (epoch + 2, bar.done), done)
            before = bar


def _rates(track: Sequence[_Shown], epoch: int) -> Iterator[Step]:
    """The rates shown, which are smoothed; of one bar alone the steps that it has done."""
    told = [bar for bar in track if bar.seconds is not None]
    usual = statistics.median(bar.seconds or 0.0 for bar in told) if told else 0.0
    for before, bar in zip([None, *told], told, strict=False):
        span = bar.done - before.done if before else (bar.done if len(told) == 1 else 1)
        if bar.seconds and (before is not None or len(told) == 1 or bar.seconds <= 2 * usual):
            yield Step(bar.seconds, bar.at, (epoch + 2, bar.done), max(1, span))
