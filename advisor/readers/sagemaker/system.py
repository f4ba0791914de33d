"""Utilisation samples of SageMaker Debugger, one JSON object per line -> readings.

A line that is damaged or cut off is left out, and the note says so.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick, decode
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

KIND = "host"
MAX_BYTES = 256 << 20
FEW = 20  # samples from which a percentile is a number


@dataclass(frozen=True, slots=True)
class _Sample:
    device: str  # cpu, gpu, ...
    name: str
    dimension: str
    value: float
    node: str
    at: float


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What files of samples say together, of all nodes of a job.

    Raises:
        InputError: when no line of them can be read.
    """
    samples: list[_Sample] = []
    lost = 0
    for artefact in artefacts:
        for line in decode(artefact.read(MAX_BYTES, tick)).split("\n"):
            if line.strip():
                sample = _sample(line)
                samples += [sample] if sample else []
                lost += sample is None
    origin = ", ".join(a.origin for a in artefacts)
    if not samples:
        raise InputError(f"{origin}: no line of these system metrics of SageMaker can be read; copy the files again")
    moments = [s.at for s in samples]
    nodes = len({s.node for s in samples})
    note = f"system metrics of SageMaker Debugger: {len(samples):,} events of {nodes} node{'s' * (nodes > 1)}" + (
        f", {lost:,} damaged left out" if lost else ""
    )
    reading = Reading(Source(KIND, origin, "ok", note), facts(_rows(samples), origin))
    return [Told((reading,), (), min(moments), max(moments) - min(moments))]


def _sample(line: str) -> _Sample | None:
    try:
        raw = json.loads(line)
        value, at = float(raw["Value"]), float(raw["Timestamp"])
        known = _Sample(str(raw["Type"]), str(raw["Name"]), str(raw["Dimension"]), value, str(raw["NodeId"]), at)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return known if math.isfinite(value) and 0 < at < 1e11 else None


def _rows(samples: Sequence[_Sample]) -> Iterator[Row]:
    cpus = _means(samples, "cpu", "CPUUtilization")
    if cpus:
        yield share("system.cpu.utilization", statistics.fmean(cpus.values()) / 100)
        yield share("system.cpu.core.utilization.max", max(cpus.values()) / 100)
        yield row("system.cpu.logical.count", float(_most_of_a_node(cpus)), "{cpu}")
    waits = [s.value for s in samples if s.dimension.replace("/", "").lower() in ("iowait", "iowaitpercentage")]
    yield share("system.cpu.iowait.utilization", statistics.fmean(waits) / 100 if waits else None)
    gpus = _means(samples, "gpu", "GPUUtilization")
    if gpus:
        yield row("hw.gpu.count", float(_most_of_a_node(gpus)), "{gpu}")
        yield share("hw.gpu.utilization", statistics.fmean(gpus.values()) / 100)
        yield from _percentiles([s.value / 100 for s in samples if s.dimension == "GPUUtilization"])
        if len(gpus) > 1:
            yield share("hw.gpu.utilization.spread", (max(gpus.values()) - min(gpus.values())) / 100)
    memory = _means(samples, "gpu", "GPUMemoryUtilization")
    yield share("hw.gpu.memory.utilization", max(memory.values()) / 100 if memory else None)


def _means(samples: Sequence[_Sample], device: str, dimension: str) -> dict[tuple[str, str], float]:
    """Mean of a dimension for each device of each node, in per cent."""
    told: dict[tuple[str, str], list[float]] = defaultdict(list)
    for sample in samples:
        if sample.device == device and sample.dimension == dimension:
            told[sample.node, sample.name].append(sample.value)
    return {key: statistics.fmean(values) for key, values in told.items()}


def _most_of_a_node(means: dict[tuple[str, str], float]) -> int:
    return max(sum(other == node for other, _ in means) for node, _ in means)


def _percentiles(values: Sequence[float]) -> Iterator[Row]:
    if len(values) >= FEW:
        ordered = sorted(values)
        yield share("hw.gpu.utilization.p5", ordered[math.ceil(0.05 * len(ordered)) - 1])
        yield share("hw.gpu.utilization.p95", ordered[math.ceil(0.95 * len(ordered)) - 1])
