"""Step lines of training loops: ``name value`` pairs with a step number, in whatever way a loop prints them.

timm, torchvision, the ImageNet example, mmengine, detectron2, fairseq, nanoGPT, torchtitan, MaxText, NeMo, Composer,
PaddlePaddle, Keras, ms-swift, LLaMA-Factory and most loops of one's own print a counter, a loss, and times or rates
under names that `metric_names` knows. Where a line has no time, its clock (a time stamp, or the time since the start)
gives the time between lines.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from advisor.readers.log.log import Log
from advisor.readers.log.training.part import NUMBER, Part, hinted, number
from advisor.readers.metric_names import (
    FLOPS,
    HFU,
    JOB_SAMPLES,
    JOB_TOKENS,
    MEMORY,
    MEMORY_SHARE,
    MFU,
    RATE,
    SAMPLES,
    STEP,
    TOKENS,
    WAIT,
    WAITING,
    Quantity,
    quantity,
)
from advisor.readers.rows import Row, row, share
from advisor.readers.steps import Step, step_rows, step_series, waiting, window

MAX_LINES = 200_000
FEW = 3
NEAR = 1000  # characters of a line within which its step is told
VAIN = 4 << 20  # characters of lines that are none, for each that is one, after which it is another kind of text
_HINTS = tuple("step Step STEP iter Iter itr batch Batch update Epoch epoch Train: train:".split())
_COUNTER = re.compile(
    r"""(?ix)
    (?<![A-Za-z_])(?:
      (?P<key>(?:global|completed|training|train|current|optimizer)?[_\s]?(?:steps?|iter(?:ation)?s?|itr|num_updates
        |updates?|batch(?:es)?)(?:_num|_idx|/max_steps)?)["']?\s{0,4}[:=\#]?\s{0,4}["']?\[?\s{0,6}
        (?P<n>\d{1,3}(?:,\d{3})+|\d{1,12})(?![\d.]*(?:e[-+]?\d|\s?(?:ms|s|sec|it|m)\b))
        (?:\s{0,6}(?:/|of)\s{0,6}(?P<total>\d{1,12}))?
    )
    | \[\s{0,8}(?P<n2>\d{1,12})\s{0,4}/\s{0,4}(?P<total2>\d{1,12})\s{0,4}(?=[\](])
    | (?:^|:|\|)\s{0,8}(?P<n3>\d{1,12})\s?/\s{0,8}(?P<total3>\d{1,12})\s{1,3}(?=[\[━=a-z|])
    """,
    re.MULTILINE,
)
_EPOCH = re.compile(
    r"(?i)(?:\bepoch|\btrain)\w{0,12}(?:\(train\))?[\"']?\s{0,3}[:=]?\s{0,3}\[?\s{0,4}(\d{1,6})(?![\d.]*e-)"
)
_NUMBER = re.compile(rf"(?<![A-Za-z0-9_.])({NUMBER})(?![\d:])")
_KEY = re.compile(
    r"([A-Za-z][A-Za-z0-9_./%()-]{0,40}(?:[ ][A-Za-z(][A-Za-z()/_.]{0,24}){0,5})"
    r"""["']?\s{0,3}[:=]?\s{0,12}["']?$"""
)
_AFTER = re.compile(
    rf"\s?(?:(ms|us|sec(?:onds?)?|s|%|[GMK]i?B?|it/s|step/s)(?![A-Za-z]))?([\d.,/s\t ]{{0,24}}\(\s{{0,6}}{NUMBER}s?)?"
)
_MEAN = re.compile(rf"\(\s{{0,6}}({NUMBER})s?$")
_LEADING = re.compile(
    rf"(?P<value>{NUMBER})\s{{0,2}}(?P<unit>ms|us|s|sec|seconds?)?\s?"
    r"(?P<thing>it|iter|iters|iteration|iterations|steps?|batch|batches|updates?|tok|toks|tokens?|words?|samples?|imgs?"
    r"|images?|examples?|seqs?|sequences?|s|sec|second|ms)\s?/\s?"
    r"(?P<per>s|sec|second|it|iter|iteration|step|batch|update)(?P<each>/(?:gpu|device|chip))?(?![A-Za-z/]|\s{0,2}[:=])",
    re.IGNORECASE,
)
_STAMP = re.compile(r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?")
_SHORT_STAMP = re.compile(r"(?:\[(\d\d)/(\d\d) |\b[IWE](\d\d)(\d\d) )(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")
_ELAPSED = re.compile(r"""(?i)\belapsed(?:[_ ]time)?["']?\s?[:=]?\s?["']?(?:(\d+) days?, )?(\d{1,4}):(\d\d):(\d\d)""")
_WALL = re.compile(rf"""\bwall["']?\s?[:=]\s?["']?({NUMBER})\b""")
_ESTIMATOR = re.compile(rf"\bstep = (\d{{1,12}}) \(({NUMBER}) sec\)")
_BLOCK = re.compile(r"\[batch=\d+(?:/\d+)?\]:\s{0,3}$")
_LOSS = re.compile(r"(?i)loss|ppl|perplexity|accuracy|\bacc\b|\blr\b|grad_?norm")
_EVALUATION = re.compile(r"(?i)\b(?:val|valid|validation|eval|evaluate|evaluator|test|testing|inference)\b(?![_ ]loss)")
_BAR = re.compile(r"\[[\d:]{4,9}<")  # a progress bar, which has a reader of its own
_SIZES = {"G": 2.0**30, "M": 2.0**20, "K": 2.0**10}
_SECONDS = {"ms": 1e-3, "us": 1e-6}


@dataclass
class _Line:
    """One step line: its number, and the quantities in it with the mean that stands beside them."""

    at: int
    number: tuple[int, int]
    values: dict[str, float] = field(default_factory=dict)
    means: dict[str, float] = field(default_factory=dict)
    clock: float | None = None
    interval: float | None = None
    trains: bool = False


def read(log: Log) -> Part | None:
    """What step lines say; None when there are none with a time, a rate or a clock."""
    lines = _once(_lines(log))
    if not lines:
        return None
    steps = _timed(lines)
    used = window(steps)
    if len(lines) < FEW and not any(line.trains for line in lines):
        return None  # a sentence with a number of steps and a time in it is no log
    kept = {s.at for s in used.steps}
    shown = [line for line in lines if line.at in kept] or lines[min(1, len(lines) - 1) :]
    where = log.where(shown[0].at)
    part = Part("step lines", used, at=shown[0].at, series=step_series(used))
    exact = any(STEP in line.values or RATE in line.values for line in lines)
    part.coarse = not exact
    part.trains = any(line.trains for line in shown)
    measured = list(_throughput(shown, where))
    part.rows = [*_by_means(shown, where), *step_rows(used, where), *measured]
    clocks = [line.clock for line in lines if line.clock is not None]
    if len(clocks) > 1 and max(clocks) > min(clocks):
        part.seconds = max(clocks) - min(clocks)
    return None if part.empty else part


def _lines(log: Log) -> Iterator[_Line]:
    count = vain = 0
    for start, text in hinted(log.text, _HINTS):
        told = text
        if _BLOCK.search(text):  # Composer prints the metrics of a batch on lines of their own
            seen = start + len(text)
            told += "; ".join(log.text[seen : seen + 4000].split("\n[")[0].split("\n")[:60])
        line = _line(start, told)
        if line is not None:
            yield line
            count += 1
        else:
            vain += len(text)
        if count >= MAX_LINES or vain >= VAIN * (1 + count):
            return


def _line(start: int, text: str) -> _Line | None:
    """The step line in a line of text; None when it is none, or one of an evaluation."""
    if _EVALUATION.search(text[:160]) or _BAR.search(text):
        return None
    counted = _counted(text)
    if counted is None:
        return None
    line = _Line(start, counted)
    _pairs(text, line)
    _leading(text, line)
    line.clock = _clock(text)
    interval = _ESTIMATOR.search(text)
    line.interval = number(interval[2]) if interval else None
    line.trains = bool(_LOSS.search(text))
    timed = line.values.keys() - {MEMORY, MEMORY_SHARE}
    if not timed and line.interval is None and (line.clock is None or not line.trains):
        return None
    return line


def _counted(text: str) -> tuple[int, int] | None:
    """Epoch and step: a named counter before a mere ``[n/total]``, the global step before the one of the epoch."""
    found = list(_COUNTER.finditer(text, 0, NEAR))
    named = [m for m in found if m["key"] and m["n"]]
    overall = next((m for m in named if m["key"].lower().startswith(("global", "completed", "num_"))), None)
    chosen = overall or next(iter(named), None) or (found[-1] if found else None)
    if chosen is None:
        return None
    n = int((chosen["n"] or chosen["n2"] or chosen["n3"]).replace(",", ""))
    epoch = None if overall else _EPOCH.search(text[: chosen.end()])
    if epoch is not None and epoch.end() > chosen.start() >= epoch.start():
        epoch = None
    return (int(epoch[1]) if epoch else 0, n)


def _pairs(text: str, line: _Line) -> None:
    """Values after their name: ``time: 0.35``, ``"dt": 0.35``, ``Data 0.010 (0.012)``."""
    end = 0
    for match in _NUMBER.finditer(text):
        key = _KEY.search(text[max(end, match.start() - 80) : match.start()])
        end = match.end()
        known = quantity(key[1]) if key else None
        if known is not None and known.what not in line.values:
            after = _AFTER.match(text, end)
            unit, mean = (after[1] or "", after[2]) if after else ("", None)
            _take(line, known, number(match[1]), unit, _MEAN.search(mean or ""))


def _take(line: _Line, known: Quantity, value: float, unit: str, mean: re.Match[str] | None) -> None:
    """Add a quantity in its unit, and the running mean in parentheses behind it."""
    what, scale = known.what, known.scale
    if what in (STEP, WAIT) and unit in ("it/s", "step/s"):
        what = RATE
    elif what in (STEP, WAIT) and unit in _SECONDS:
        scale = _SECONDS[unit]
    elif what in (WAIT, MFU, HFU) and unit == "%":
        what, scale = (WAITING if what == WAIT else what), 0.01
    elif what == MEMORY:
        scale = _SIZES.get(unit[:1], scale)
        if not unit and value < 200 and scale < 2.0**30:
            return  # megabytes or gigabytes: it does not say
        if mean is not None:  # ``30.5GiB(38.5%)``: what the allocator reserved, and its share of the device
            line.values[MEMORY_SHARE] = number(mean[1]) / 100
            mean = None
    line.values[what] = value * scale
    if mean is not None:
        line.means[what] = number(mean[1]) * scale


def _leading(text: str, line: _Line) -> None:
    """Values before their unit: ``350 ms/step``, ``1.9 it/s``, ``5,000 tokens/s``, ``366 img/sec``."""
    for match in _LEADING.finditer(text):
        value, thing, per = number(match["value"]), match["thing"].lower(), match["per"].lower()
        unit = (match["unit"] or "").lower()
        if thing in ("s", "sec", "second", "ms") and per not in ("s", "sec", "second"):
            line.values.setdefault(STEP, value * (1e-3 if thing == "ms" else 1.0))
        elif unit or per not in ("s", "sec", "second"):
            continue
        elif thing[:2] in ("it", "st", "ba", "up"):
            line.values.setdefault(RATE, value)
        elif thing[:3] in ("tok", "wor"):
            line.values.setdefault(TOKENS if match["each"] else JOB_TOKENS, value)
        elif thing[0] in "ise" and len(thing) > 2:
            line.values.setdefault(SAMPLES if match["each"] else JOB_SAMPLES, value)


def _clock(text: str) -> float | None:
    """Seconds on a clock: since the start of the run, else of a time stamp; where no year is told, of some year."""
    elapsed = _ELAPSED.search(text)
    if elapsed:
        days, hours, minutes, seconds = (int(part or 0) for part in elapsed.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    wall = _WALL.search(text)
    if wall:
        return number(wall[1])
    stamp = _STAMP.search(text[:160])
    short = None if stamp else _SHORT_STAMP.search(text[:160])
    told = [int(group) for group in stamp.groups()[:6]] if stamp else []
    if short:
        told = [2024, *(int(group) for group in short.groups()[:7] if group)]
    part = (stamp[7] if stamp else short[8] if short else None) or "0"
    return _moment(told) + float(f"0.{part}") if told else None


def _moment(told: Sequence[int]) -> float:
    """Seconds from year, month, day, hour, minute and second; what is no date counts as the beginning."""
    year, month, day, hour, minute, second = told
    try:
        return (datetime(year, month, day, hour, minute, min(59, second)) - datetime(1970, 1, 1)).total_seconds()
    except ValueError:
        return 0.0


def _once(lines: Iterator[_Line]) -> list[_Line]:
    """Lines that have what most have; a step that several ranks print counts once."""
    all_lines = list(lines)
    timed = [line for line in all_lines if STEP in line.values or RATE in line.values or line.interval]
    if len(timed) >= max(1, len(all_lines) // 10):
        return timed
    rated = [line for line in all_lines if line.values.keys() - {MEMORY, MEMORY_SHARE}]
    return rated if len(rated) >= max(1, len(all_lines) // 2) else all_lines


def _timed(lines: Sequence[_Line]) -> list[Step]:
    """Step times as printed; those that only grow are the time since the start; without any, by the clock."""
    told = [(line, _printed(line)) for line in lines]
    printed = [(line, seconds) for line, seconds in told if seconds is not None]
    if any(line.interval for line in lines):
        return _intervals([line for line in lines if line.interval])
    by_clock = _between(lines, lambda line: line.clock)
    if not printed or (by_clock and all(STEP not in line.values and seconds > 2 for line, seconds in printed)):
        return by_clock  # rates of less than one step in two seconds are printed with one digit or two
    if _grows([seconds for _, seconds in printed]):
        return _between([line for line, _ in printed], _printed)
    steps = []
    before: _Line | None = None
    for line, seconds in printed:
        gap = _gap(before, line)
        before = line
        seconds = seconds / gap if _of_interval(lines, gap, seconds) else seconds  # noqa: PLW2901
        wait = line.values.get(WAIT)
        if wait is None and WAITING in line.values:
            wait = line.values[WAITING] * seconds
        steps.append(Step(seconds, line.at, line.number, 1, None if wait is None else min(wait, seconds)))
    return steps


def _intervals(lines: Sequence[_Line]) -> list[Step]:
    """Step times of an estimator, which prints the seconds since the line before."""
    gaps = [_gap(before, line) for before, line in pairwise(lines)]
    return [
        Step((line.interval or 0.0) / gap, line.at, line.number, gap)
        for line, gap in zip(lines, [min(gaps, default=1), *gaps], strict=True)
    ]


def _printed(line: _Line) -> float | None:
    if STEP in line.values:
        return line.values[STEP]
    rate = line.values.get(RATE)
    return 1.0 / rate if rate else None


def _gap(before: _Line | None, line: _Line) -> int:
    if before is None or before.number[0] != line.number[0]:
        return 1
    return max(1, line.number[1] - before.number[1])


def _grows(seconds: Sequence[float]) -> bool:
    """Whether these are times since the start: they only rise, and evenly so."""
    if len(seconds) < 4 or any(b <= a for a, b in pairwise(seconds)):
        return False
    return seconds[-1] > 3 * seconds[0] or seconds[-1] - seconds[0] > seconds[0]


def _between(lines: Sequence[_Line], clock: Callable[[_Line], float | None]) -> list[Step]:
    """Mean step time between lines by a clock; one of whole seconds needs many of them."""
    at: dict[tuple[int, int], tuple[float, int]] = {}
    for line in lines:
        moment = clock(line)
        if moment is not None:
            at.setdefault(line.number, (moment, line.at))
    ordered = sorted((number_, moment, place) for number_, (moment, place) in at.items())
    whole = all(moment == int(moment) for _, moment, _ in ordered)
    steps: list[Step] = []
    before = ordered[0] if ordered else None
    for one in ordered[1:]:
        if before is None or one[0][0] != before[0][0]:
            before = one
            continue
        gone, done = one[1] - before[1], one[0][1] - before[0][1]
        if whole and gone < 20 and one is not ordered[-1]:
            continue
        if gone > 0 and done > 0:
            steps.append(Step(gone / done, one[2], (one[0][0] + 2, one[0][1]), done))
        before = one
    return steps if not whole or sum(s.seconds * s.span for s in steps) >= 20 else []


def _of_interval(lines: Sequence[_Line], gap: int, seconds: float) -> bool:
    """Whether a printed time is that of all steps since the line before, by the clock of the lines."""
    clocks = [line.clock for line in lines if line.clock is not None]
    if gap < 2 or len(clocks) < 3:
        return False
    typical = statistics.median(b - a for a, b in pairwise(clocks))
    return typical > 0 and abs(typical - seconds) <= 0.2 * typical


def _by_means(lines: Sequence[_Line], where: str) -> Iterator[Row]:
    """Step time and wait from the running means of meters, which cover every step and not only those shown.

    A mean is over all steps of an epoch so far: from the first line of an epoch, warm-up, to its last.
    """
    epochs: dict[int, list[_Line]] = {}
    for line in lines:
        if STEP in line.means:
            epochs.setdefault(line.number[0], []).append(line)
    count = time = wait = 0.0
    waits = all(WAIT in line.means for told in epochs.values() for line in told)
    for told in epochs.values():
        first, last = told[0], told[-1]
        if last.number[1] > first.number[1]:
            count += last.number[1] - first.number[1]
            time += last.means[STEP] * (last.number[1] + 1) - first.means[STEP] * (first.number[1] + 1)
            if waits:
                wait += last.means[WAIT] * (last.number[1] + 1) - first.means[WAIT] * (first.number[1] + 1)
    if count < 2 or time <= 0:
        return
    yield row("ml.step.time", time / count, "s", where)
    yield row("ml.step.count", count, "{step}", where)
    if waits and 0 <= wait <= time:
        yield from waiting(wait / time, where)
        yield row("ml.step.data_wait.time", wait / count, "s", where)
        yield row("ml.step.compute.time", (time - wait) / count, "s", where)


def _throughput(lines: Sequence[_Line], where: str) -> Iterator[Row]:
    def middle(what: str) -> float | None:
        values = [line.values[what] for line in lines if what in line.values]
        return statistics.median(values) if values else None

    yield row("ml.throughput.tokens", middle(TOKENS), "{token}/s", where)
    yield row("ml.throughput.tokens.job", middle(JOB_TOKENS), "{token}/s", where)
    yield row("ml.throughput.samples", middle(SAMPLES), "{sample}/s", where)
    yield row("ml.throughput.samples.job", middle(JOB_SAMPLES), "{sample}/s", where)
    yield row("ml.throughput.flops", middle(FLOPS), "{operation}/s", where)
    for what, name in ((MFU, "ml.mfu"), (HFU, "ml.hfu")):
        value = middle(what)
        yield share(name, value if value is not None and 0 < value <= 1 else None, where)
    # beside a share of the device stands what the allocator reserved, not what tensors take
    peaks = [line.values[MEMORY] for line in lines if MEMORY in line.values and MEMORY_SHARE not in line.values]
    yield row("torch.cuda.memory.allocated.peak", max(peaks, default=None), "By", where)
    shares = [line.values[MEMORY_SHARE] for line in lines if MEMORY_SHARE in line.values]
    if shares and max(shares) <= 1:
        yield share("hw.gpu.memory.peak_utilization", max(shares), where)
