"""The facts of a run that waits for its loader."""

from __future__ import annotations

from typing import Any

STARVED: dict[str, Any] = {
    "run.phase": "training",
    "run.gpu.used": False,
    "ml.step.time": 0.788,
    "ml.step.count": 43,
    "ml.step.compute.time": 0.235,
    "ml.step.data_wait.exposed.fraction": 0.7,
    "ml.dataloader.batch.time": 0.55,
    "ml.dataloader.batch.cpu_time": 0.55,
    "config.dataloader.num_workers": {
        "value": 0,
        "unit": "{worker}",
        "origin": "training hook",
        "where": "train.py:31",
    },
    "system.cpu.utilization": 0.6,
    "system.io.stall.fraction": 0.0,
    "container.cpuset.count": 8,
}
