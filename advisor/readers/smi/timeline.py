"""Facts that only several moments tell: how the use is spread over time, and what grew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advisor.readers.metrics.gpu_facts import Gpu, extreme
from advisor.readers.rows import Row, row, share
from advisor.readers.smi.choose import IDLE
from advisor.readers.smi.look import Look, Moment, Name, level

SAMPLED = 5  # values from which on percentiles say something
RECORDED = 10  # and from which on a recording shows a pattern


def in_time(used: Sequence[Look]) -> Iterator[Row]:
    """How the utilization of every GPU at every moment is spread."""
    told = sorted(state["util"] for _, state in used[0].states() if "util" in state)
    if len(told) >= SAMPLED and len(used[0].moments) > 1:
        yield row("hw.gpu.utilization.p5", _quantile(told, 0.05), "1")
        yield row("hw.gpu.utilization.p95", _quantile(told, 0.95), "1")
    yield share("hw.gpu.recording.idle.fraction", _idle(used[0]))


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def replays(used: Sequence[Look]) -> Iterator[Row]:
    """PCIe replays per minute, where the moments have times."""
    rates: dict[Gpu, float] = {}
    for look in used:
        counted: dict[Name, list[tuple[float, float]]] = {}
        for moment in look.moments:
            for gpu, state in moment.gpus.items():
                if moment.time is not None and "replays" in state:
                    counted.setdefault(gpu, []).append((moment.time, state["replays"]))
        for gpu, seen in counted.items():
            (start, before), (end, after) = seen[0], seen[-1]
            if end - start >= 1 and after >= before:
                rates["", gpu] = (after - before) / (end - start) * 60
    yield from extreme("hw.gpu.pcie.replay.rate", "{replay}/min", rates)


def _idle(look: Look) -> float | None:
    """Share of the readings of a recording that show an idle GPU, of GPUs that worked at any time in it."""
    seen: dict[Name, list[float]] = {}
    for moment in look.moments:
        for gpu, state in moment.gpus.items():
            if (known := level(Moment({gpu: state}))) is not None:
                seen.setdefault(gpu, []).append(known)
    worked = [levels for levels in seen.values() if max(levels) > IDLE and len(levels) >= RECORDED]
    idle = sum(known <= IDLE for levels in worked for known in levels)
    return idle / sum(map(len, worked)) if worked else None
