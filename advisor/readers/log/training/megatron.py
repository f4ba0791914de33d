"""Iteration lines and timers of Megatron-LM and what is made of it (Megatron-DeepSpeed, NeMo, LLM forks).

Timers come in three forms, by version: ``time (ms) | name: 1.2 | ...`` on one line (until 2022), a table of one
``name ....: (min, max)`` per line across ranks, and the same with the maximum only (megatron/core/timers.py). The
one-line form is of the last rank, so of the last pipeline stage.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from advisor.readers.log.log import Log
from advisor.readers.log.training.part import NUMBER, Part, Said, number
from advisor.readers.rows import Row, row, share
from advisor.readers.steps import Step, step_rows, step_series, typical, window

_ITERATION = re.compile(r"\biteration\s{1,12}(\d{1,12})\s{0,4}/\s{0,12}(?:\d{1,12}|infinity)\s{0,4}\|")
_FIELD = re.compile(
    rf"([A-Za-z][A-Za-z0-9 _()/.-]{{0,60}}?)\s{{0,3}}[:=]?\s{{1,14}}({NUMBER}|nan|inf)\s{{0,3}}(?=\||$)"
)
_ONE_LINE = re.compile(r"\btime \(ms\)((?: \| [A-Za-z][A-Za-z0-9 /_-]{0,60}: \d{1,12}(?:\.\d{1,6})?)+)")
_TABLE = re.compile(r"(\(min, max\) |max )?times? across ranks \(ms\):")
_TABLE_ROW = re.compile(
    r"\s{1,40}([A-Za-z][A-Za-z0-9/_-]{0,60}) ?\.*:\s{1,4}"
    r"(?:\((\d{1,12}\.\d+), (\d{1,12}\.\d+)\)|(\d{1,12}\.\d+))\s{0,9}$"
)
_RANK_ROW = re.compile(r"\s{1,40}rank +\d{1,6}: (\d{1,12}\.\d+)\s{0,9}$")
_TIMER = re.compile(r"([A-Za-z][A-Za-z0-9 /_-]{0,60}): (\d{1,12}(?:\.\d{1,6})?)")
_MEMORY = re.compile(
    r"\] \(after \d+ iterations\) memory \(MB\) \|[^\n]{0,60}?max allocated: (\d+(?:\.\d+)?)"
    r"(?:[^\n]{0,60}? max reserved: (\d+(?:\.\d+)?))?"
)
_PARAMETERS = re.compile(r"number of parameters on \(tensor, pipeline\) model parallel rank \((\d+), (\d+)\): (\d+)")
MAX_LINES = 400_000

# What the last stage spends without work: receives, and the all-reduce of the embeddings it shares with the first
# stage, which is reached only when the pipeline has drained. Sends and receives in one call are waits for receives.
_RECEIVES = ("forward-recv", "backward-recv", "forward-send-backward-recv", "backward-send-forward-recv",
             "forward-backward-send-forward-backward-recv")  # fmt: skip
_DRAIN = ("backward-embedding-all-reduce", "embedding-grads-all-reduce", "embedding-all-reduce")
_GRADIENTS = ("backward-params-all-reduce", "backward-reduce-model-grads", "grads-all-reduce", "grads-reduce-scatter",
              "all-grads-sync", "params-all-gather", "backward-gather-model-params", "allreduce")  # fmt: skip
_BATCHES = ("batch-generator", "batch generator")


@dataclass
class _Line:
    at: int
    number: int
    fields: dict[str, float] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    slowest: bool = False  # timers are of the slowest rank each, so that two of them need not be of one rank


def read(log: Log) -> Part | None:
    """What iteration lines say; None when there are none."""
    if "iteration" not in log.text:
        return None
    lines = [line for line in _lines(log.text) if "elapsed time per iteration (ms)" in line.fields]
    if not lines:
        return None
    outside = _attach_timers(log.text, lines)
    steps = _steps(lines)
    used = window(steps)
    kept = {step.at for step in used.steps}
    usual = [line for line in lines if line.at in kept]
    where = log.where(usual[0].at)
    part = Part("Megatron", used, at=usual[0].at, series=step_series(used))
    step = typical(used.steps)
    part.rows = [
        *step_rows(used, where),
        *_throughput(usual, step, where),
        *_shares(usual, step, where),
        *_skips(lines, where),
        *_outside(outside, used.seconds, log),
        *_memory(log),
    ]
    part.said = [Said(0, "run.framework", "pytorch", "{string}"), *_batch(usual), *_parameters(log)]
    part.notes = [_first(lines, used.left_out)]
    return part


def _lines(text: str) -> list[_Line]:
    found: list[_Line] = []
    seen = -1
    for match in _ITERATION.finditer(text):
        if match.start() < seen:
            continue
        end = text.find("\n", match.end(), match.end() + 4000)
        line = text[match.end() : end if end >= 0 else match.end() + 4000]
        fields = {_name(m[1]): float(m[2].replace(",", "")) for m in _FIELD.finditer(line)}
        found.append(_Line(match.start(), int(match[1]), fields))
        seen = match.end() + len(line)
        if len(found) >= MAX_LINES:
            break
    return found


def _name(text: str) -> str:
    return " ".join(text.split()).strip(" |:=").lower()


def _attach_timers(text: str, lines: Sequence[_Line]) -> list[tuple[int, dict[str, float]]]:
    """Give each iteration line the timers printed after it; those of saving and evaluating are returned."""
    outside = []
    following = iter([*lines[1:], None])
    line: _Line | None = lines[0]
    upcoming = next(following)
    for at, timers in sorted(_timers(text), key=lambda pair: pair[0]):
        while upcoming is not None and upcoming.at < at:
            line, upcoming = upcoming, next(following, None)
        if any(name.startswith(("save-checkpoint", "evaluate", "eval-time")) for name in timers) or len(timers) < 2:
            outside.append((at, timers))
        elif line is not None and at > line.at and not line.timers:
            line.timers, line.slowest = (
                timers,
                text.startswith(("(min", "max", "time"), at) and "|" not in text[at : at + 12],
            )
    return outside


def _timers(text: str) -> Iterator[tuple[int, dict[str, float]]]:
    for match in _ONE_LINE.finditer(text):
        yield match.start(), {m[1]: float(m[2]) for m in _TIMER.finditer(match[1])}
    for match in _TABLE.finditer(text):
        yield match.start(), dict(_table(text, match.end()))


def _table(text: str, at: int) -> Iterator[tuple[str, float]]:
    """Rows of a table across ranks, the slowest rank's time of each; with all ranks listed, theirs."""
    name, worst = "", 0.0
    for line in text[at : at + 60_000].split("\n")[1:]:
        told = _TABLE_ROW.search(line)
        rank = _RANK_ROW.search(line)
        if "|" in line:
            return
        if told:
            yield told[1], float(told[3] or told[4])
        elif rank and name:
            worst = max(worst, float(rank[1]))
            yield name, worst
        elif line.strip().endswith(":") and len(line) < 80:
            name, worst = line.strip().rstrip(":"), 0.0
        elif line.strip():
            return


def _steps(lines: Sequence[_Line]) -> list[Step]:
    """A line is the mean of the iterations since the line before; the first one's are as many as the second's."""
    gaps = [b.number - a.number for a, b in pairwise(lines) if b.number > a.number]
    usual = min(gaps, default=1)
    steps, before = [], None
    for line in lines:
        gap = line.number - before if before is not None and line.number > before else min(usual, line.number)
        before = line.number
        wait = next((line.timers[name] for name in _BATCHES if name in line.timers), None)
        seconds = line.fields["elapsed time per iteration (ms)"] / 1e3
        steps.append(
            Step(seconds, line.at, (0, line.number), max(1, gap), None if wait is None else min(seconds, wait / 1e3))
        )
    return steps


def _throughput(lines: Sequence[_Line], step: float, where: str) -> Iterator[Row]:
    def median(*names: str) -> float | None:
        values = [line.fields[n] for line in lines for n in names if n in line.fields]
        return statistics.median(values) if values else None

    flops = median("throughput per gpu (tflop/s/gpu)", "tflops", "throughput (tflop/s/gpu)", "tflop/s/gpu")
    yield row("ml.throughput.flops", None if flops is None else flops * 1e12, "{operation}/s", where)
    yield row("ml.throughput.tokens", median("tokens per gpu per second (tgs)", "tokens/s/gpu"), "{token}/s", where)
    batch = median("global batch size")
    samples = median("samples per second") or (batch / step if batch and step > 0 else None)
    yield row("ml.throughput.samples.job", samples, "{sample}/s", where)


def _shares(lines: Sequence[_Line], step: float, where: str) -> Iterator[Row]:
    """Shares of a step by the timers of the lines that have them."""
    timed = [line for line in lines if line.timers]
    if not timed or step <= 0:
        return
    total = sum(line.fields["elapsed time per iteration (ms)"] for line in timed)

    def part(*names: str) -> float | None:
        told = [line.timers[n] for line in timed for n in names if n in line.timers]
        return sum(told) / total if told else None

    yield share("ml.step.forward.fraction", part("forward-compute", "forward"), where)
    yield share("ml.step.backward.fraction", part("backward-compute", "backward"), where)
    yield share("ml.step.optimizer.fraction", part("optimizer"), where)
    yield share("ml.step.gradient_sync.fraction", part(*_GRADIENTS), where)
    yield share("trace.comm.exposed.fraction", part(*_GRADIENTS), where)  # these timers begin where backward ends
    if part(*_RECEIVES) is not None:
        waits = [part(name) for name in (*_RECEIVES, *_DRAIN)]
        told = [wait for wait in waits if wait is not None]
        yield share("ml.pipeline.wait.fraction", max(told) if timed[0].slowest else sum(told), where)


def _skips(lines: Sequence[_Line], where: str) -> Iterator[Row]:
    skipped = [line.fields.get("number of skipped iterations") for line in lines]
    told = [value for value in skipped if value is not None]
    if told:
        yield row("ml.step.skipped.count", sum(told), "{step}", where)
    bad = [v for line in lines if (v := line.fields.get("number of nan iterations")) is not None]
    if bad:
        yield row("ml.step.nan.count", sum(bad), "{step}", where)


def _outside(timers: Sequence[tuple[int, Mapping[str, float]]], stepping: float, log: Log) -> Iterator[Row]:
    """Checkpoints and evaluations, whose times are printed on their own."""
    for prefixes, name in ((("save-checkpoint",), "ml.checkpoint"), (("evaluate", "eval-time"), "ml.evaluation")):
        told = [(at, ms / 1e3) for at, t in timers for n, ms in t.items() if n in prefixes]
        if not told:
            continue
        where = log.where(told[0][0])
        spent = sum(seconds for _, seconds in told)
        yield row(f"{name}.count", float(len(told)), "{checkpoint}" if "check" in name else "{evaluation}", where)
        yield row(f"{name}.time", spent / len(told), "s", where)
        fraction = f"{name}.blocking.fraction" if "check" in name else f"{name}.fraction"
        yield share(fraction, spent / (spent + stepping) if stepping else None, where)


def _memory(log: Log) -> Iterator[Row]:
    told = [(float(m[1]), float(m[2] or 0.0), m.start()) for m in _MEMORY.finditer(log.text)]
    if told:
        most, reserved, at = max(told)
        yield row("torch.cuda.memory.allocated.peak", most, "MiBy", log.where(at))
        if reserved:
            yield row("torch.cuda.memory.reserved.peak", reserved, "MiBy", log.where(at))
            yield share("torch.cuda.memory.reserved_unused.fraction", 1 - most / reserved, log.where(at))


def _batch(lines: Sequence[_Line]) -> Iterator[Said]:
    sizes = [line.fields["global batch size"] for line in lines if "global batch size" in line.fields]
    if sizes:
        yield Said(lines[0].at, "ml.batch.global", statistics.median(sizes), "{sample}")


def _parameters(log: Log) -> Iterator[Said]:
    """Parameters of the model: of all tensor and pipeline ranks together (embeddings of the last stage twice)."""
    told = {(m[1], m[2]): (float(m[3]), m.start()) for m in _PARAMETERS.finditer(log.text)}
    ranks = len({t for t, _ in told}) * len({p for _, p in told})
    if told and len(told) == ranks:
        at = min(at for _, at in told.values())
        yield Said(at, "config.model.parameters", sum(n for n, _ in told.values()), "{parameter}")


def _first(lines: Sequence[_Line], left_out: int) -> str:
    seconds = lines[0].fields["elapsed time per iteration (ms)"] / 1e3
    return f"the first iterations took {number(f'{seconds:.3f}'):g} s each" if left_out else ""
