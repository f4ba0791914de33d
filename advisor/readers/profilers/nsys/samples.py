"""Hardware counters that Nsight Systems sampled (``--gpu-metrics-devices``) -> means over a window."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from advisor.errors import TooLarge
from advisor.readers.profilers.nsys.database import Database
from advisor.readers.profilers.timeline import Ints, ints
from advisor.readers.rows import Row, share

TABLE, NAMES = "GPU_METRICS", "TARGET_INFO_GPU_METRICS"
# Names end with the unit, all of these in per cent of what the hardware can; they differ a little by architecture.
_METRICS = {
    "sm": re.compile(r"^SMs? Active\b", re.IGNORECASE),
    "tensor": re.compile(r"^(Tensor Active|SM Tensor|Tensor Core|.*Tensor.*Active)", re.IGNORECASE),
    "read": re.compile(r"^DRAM Read (Bandwidth|Throughput)", re.IGNORECASE),
    "write": re.compile(r"^DRAM Write (Bandwidth|Throughput)", re.IGNORECASE),
    "receive": re.compile(r"^PCIe (RX|Read) Throughput", re.IGNORECASE),
    "send": re.compile(r"^PCIe (TX|Write) Throughput", re.IGNORECASE),
}


@dataclass(frozen=True)
class Samples:
    """Samples of the metrics of interest: when (ns), which GPU, which metric, and its value in per cent."""

    at: Ints
    gpu: Ints
    metric: Ints
    value: Ints
    names: Mapping[str, tuple[int, ...]]

    def rows(self, gpu: int, low: int, high: int) -> Iterator[Row]:
        """Means over a window of one GPU."""
        inside = (self.gpu == gpu) & (self.at >= low) & (self.at <= high)
        mean = {name: self._mean(inside, ids) for name, ids in self.names.items()}
        yield share("hw.gpu.sm.active", mean.get("sm"))
        yield share("hw.gpu.tensor.active", mean.get("tensor"))
        moved = [mean.get("read"), mean.get("write")]
        yield share("hw.gpu.dram.active", sum(x for x in moved if x is not None) if None not in moved else None)
        link = [x for x in (mean.get("receive"), mean.get("send")) if x is not None]
        yield share("hw.gpu.pcie.utilization", max(link, default=None))

    def _mean(self, inside: np.ndarray, ids: tuple[int, ...]) -> float | None:
        chosen = self.value[inside & np.isin(self.metric, ids)]
        return float(chosen.mean()) / 100 if len(chosen) else None


NONE = Samples(ints(), ints(), ints(), ints(), {})


def samples(db: Database) -> Samples:
    """Samples of a file; none where it holds none."""
    names: dict[str, set[int]] = {}
    for number, name in db.rows(NAMES, ("metricId", "metricName"), limit=5000):
        found = next((key for key, pattern in _METRICS.items() if pattern.search(str(name)) and "%" in str(name)), None)
        if found and isinstance(number, int):
            names.setdefault(found, set()).add(number)
    ids = sorted({number for held in names.values() for number in held})
    if not ids or not db.has(TABLE, "timestamp", "typeId", "metricId", "value"):
        return NONE
    wanted = f"WHERE metricId IN ({', '.join(map(str, ids))})"
    try:
        read = db.numbers(TABLE, ("timestamp", "typeId", "metricId", "value"), wanted)
    except TooLarge:  # a long capture of many GPUs: what they did is told without
        return NONE
    kept = {name: tuple(sorted(held)) for name, held in names.items()}
    # The exporter puts the number of the GPU into the lowest byte of the type.
    return Samples(read["timestamp"], read["typeId"] & 0xFF, read["metricId"], read["value"], kept)
