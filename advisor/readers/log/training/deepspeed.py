"""Lines of DeepSpeed's engine: wall_clock_breakdown timers, samples per second, overflows, the flops profiler."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence

from advisor.readers.log.log import Log
from advisor.readers.log.training.part import NUMBER, Part, Said, number
from advisor.readers.rows import Row, row, share
from advisor.readers.steps import Step, step_rows, step_series, typical, window

_TIMERS = re.compile(r"\btime \(ms\) \|((?: ?\|? [a-z_]{2,40}: \d{1,12}(?:\.\d{1,6})?)+)")
_TIMER = re.compile(r"([a-z_]{2,40}): (\d{1,12}(?:\.\d{1,6})?)")
_SPEED = re.compile(
    rf"(?:global_step=(\d+), RunningAvgSamplesPerSec=({NUMBER}), CurrSamplesPerSec=({NUMBER})|"
    rf"\b(\d+)/(\d+), SamplesPerSec=({NUMBER}))"
    rf"(?:, MemAllocated=[\d.]{{1,12}}GB, MaxMemAllocated=([\d.]{{1,12}})GB)?"
)
_PIPELINE = re.compile(
    rf"\bsteps: (\d+) loss: \S{{1,30}} iter time \(s\): ({NUMBER}) samples/sec: ({NUMBER})", re.MULTILINE
)
_STATUS = re.compile(r"\[Rank \d+\] step=(\d+), skipped=(\d+), lr=")
_OVERFLOW = re.compile(r"OVERFLOW! Rank 0 Skipping step|\[Rank 0\] Overflow detected\. Skipping step")
_OVERFLOWS = re.compile(r"Grad overflow on iteration:? (\d{1,12})")
_PEAK = re.compile(r"\bMA [\d.]{1,12} GB {1,20}Max_MA ([\d.]{1,12}) GB")
_FLOPS = re.compile(r"^.{0,200}?fwd\+bwd FLOPS per GPU[^:\n]{0,80}: {1,60}([\d.]{1,20}) ([TGP])FLOPS", re.MULTILINE)
_LATENCY = re.compile(r"^.{0,200}?\biter latency: {1,90}([\d.]{1,20}) (ms|us|s)\b", re.MULTILINE)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "G": 1e9, "T": 1e12, "P": 1e15}
_SIGNS = ("time (ms) |", "SamplesPerSec=", "iter time (s)", "OVERFLOW", "verflow", "FLOPS per GPU", "skipped=")
_GLOBAL = {"forward": "fwd", "backward": "bwd", "backward_inner": "bwd_inner", "backward_allreduce": "bwd_allreduce"}


def read(log: Log, batch: Callable[[], float | None]) -> Part | None:
    """What the engine's lines say.

    Args:
        log: the text.
        batch: gives the samples of one step of the whole job, where a dump told them.

    Returns:
        None when there are no lines of the engine.
    """
    if not any(sign in log.text for sign in _SIGNS):
        return None
    part = Part("DeepSpeed", coarse=True)
    _speeds(log, batch(), part)
    part.rows += [*_breakdown(log), *_skipped(log), *_flops(log)]
    peak = max(((float(m[1]), m.start()) for m in _PEAK.finditer(log.text)), default=None)
    if peak is not None and peak[0] > 0:
        part.rows.append(row("torch.cuda.memory.allocated.peak", peak[0], "GiBy", log.where(peak[1])))
    if part.empty:
        return None
    part.said = [Said(0, "run.framework", "pytorch", "{string}")]
    return part


def _speeds(log: Log, batch: float | None, part: Part) -> None:
    """Steps from the pipeline engine's own times, else from samples per second and the samples of a step."""
    timed = [(int(m[1]), number(m[2]), number(m[3]), m.start()) for m in _PIPELINE.finditer(log.text)]
    steps = [Step(seconds, at, (0, n)) for n, seconds, _, at in timed]
    speeds = [(speed, at) for _, _, speed, at in timed]
    peaks = []
    for m in [] if timed else _SPEED.finditer(log.text):
        speed = number(m[3] or m[6])
        if speed <= 0:
            continue
        speeds.append((speed, m.start()))
        if batch:
            steps.append(Step(batch / speed, m.start(), (0, int(m[1] or m[4]))))
        if m[7]:
            peaks.append((float(m[7]), m.start()))
    if not speeds:
        return
    part.at = speeds[0][1]
    where = log.where(part.at)
    part.window = window(steps)
    part.coarse = not timed
    part.series = step_series(part.window)
    used = {s.at for s in part.window.steps} or {at for _, at in speeds[min(1, len(speeds) - 1) :]}
    part.rows += step_rows(part.window, where)
    usual = statistics.median(speed for speed, at in speeds if at in used)
    part.rows.append(row("ml.throughput.samples.job", usual, "{sample}/s", where))
    if peaks and max(peaks)[0] > 0:
        part.rows.append(row("torch.cuda.memory.allocated.peak", max(peaks)[0], "GiBy", log.where(max(peaks)[1])))


def _breakdown(log: Log) -> Iterator[Row]:
    """Shares of the time inside the engine, which is a step without loading data.

    The engine's own timers of a whole step come after those of its micro-steps; both are printed, the first is used.
    """
    whole: list[tuple[int, dict[str, float]]] = []
    micro: list[tuple[int, dict[str, float]]] = []
    for match in _TIMERS.finditer(log.text):
        told = {_GLOBAL.get(m[1], m[1]): float(m[2]) for m in _TIMER.finditer(match[1])}
        if {"fwd", "bwd", "step"} <= told.keys():
            whole.append((match.start(), told))
        elif any(name.endswith("_microstep") for name in told):
            short = {n.removesuffix("_microstep"): v for n, v in told.items()}
            micro.append((match.start(), {_GLOBAL.get(n, n): v for n, v in short.items()}))
    blocks = whole or [b for b in micro if {"fwd", "bwd", "step"} <= b[1].keys()]
    steps = [Step((t["fwd"] + t["bwd"] + t["step"]) / 1e3, at, (0, n)) for n, (at, t) in enumerate(blocks, 1)]
    used = window(steps)
    if not used.steps:
        return
    kept = {step.at for step in used.steps}
    blocks = [(at, t) for at, t in blocks if at in kept]
    where = log.where(blocks[0][0])
    total = sum(t["fwd"] + t["bwd"] + t["step"] for _, t in blocks)

    def part(name: str) -> float | None:
        told = [t[name] for _, t in blocks if name in t]
        return sum(told) / total if told and total > 0 else None

    if whole:
        yield row("ml.step.compute.time", typical(used.steps), "s", where)
    yield share("ml.step.forward.fraction", part("fwd"), where)
    yield share("ml.step.backward.fraction", part("bwd"), where)
    yield share("ml.step.optimizer.fraction", part("step"), where)
    yield share("ml.step.gradient_sync.fraction", part("bwd_allreduce"), where)
    yield share("trace.comm.exposed.fraction", part("bwd_allreduce"), where)  # timed while nothing else runs


def _skipped(log: Log) -> Iterator[Row]:
    status: Sequence[re.Match[str]] = list(_STATUS.finditer(log.text))
    if status and int(status[-1][1]) > 0:
        yield row("ml.step.skipped.count", float(status[-1][2]), "{step}", log.where(status[-1].start()))
        return
    each = {m[1]: m.start() for m in _OVERFLOWS.finditer(log.text)}  # every rank prints it
    overflows = [m.start() for m in _OVERFLOW.finditer(log.text)] or sorted(each.values())
    if overflows:
        yield row("ml.step.skipped.count", float(len(overflows)), "{step}", log.where(overflows[0]))


def _flops(log: Log) -> Iterator[Row]:
    if "FLOPS per GPU" not in log.text:
        return
    for match in _FLOPS.finditer(log.text):
        value = float(match[1]) * _UNITS[match[2]]
        yield row("ml.throughput.flops", value, "{operation}/s", log.where(match.start()))
    for match in _LATENCY.finditer(log.text):
        yield row("ml.step.time", float(match[1]) * _UNITS[match[2]], "s", log.where(match.start()))
