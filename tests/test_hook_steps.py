"""From step records to facts: which steps count and what they add up to. Pure, no torch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from advisor.collect import training
from advisor.collect.training_facts import place
from advisor.collect.training_steps import SUMS, combine


def step(
    time: float, wait: float = 0.0, loaders: tuple[int, ...] = (0,), at: float = 0.0, **more: float
) -> dict[str, Any]:
    sums = dict.fromkeys(SUMS, 0.0) | {"wait": wait, "exposed": wait, "batches": len(loaders), "samples": 8}
    return {**sums, "time": time, "at": at, "loaders": list(loaders), **more}


def process(head: list[dict[str, Any]], groups: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    loader = {
        "num_workers": 0, "batch_size": 8, "pin_memory": False, "persistent_workers": False, "prefetch_factor": None,
        "dataset": "Images", "length": 64, "iterable": False, "where": "/home/me/train.py:12", "loop": None,
        "batches": 4, "no_grad": 0, "wall": 4.0, "cpu": 1.5, "delay": 0.3, "timed": 3, "first_wall": 1.0,
        "collate": 1.0, "first_collate": 0.4, "held": 0.0, "evaluating": 0, "probed": 0, "recorded": 0,
        "epochs": 1, "epoch_start": 0.0,
    }  # fmt: skip
    return {
        "pid": 7, "command": ["train.py"], "started": 100.0, "cwd": "/home/me", "ends": len(head) + 1, "first_end": 2.0,
        "seconds": 40.0,
        "loaders": [loader, {**loader, "where": "/home/me/train.py:40"}], "head": head, "groups": groups or [],
        "process": None, "memory": [], **more,
    }  # fmt: skip


def capture(*processes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"loaded": True, "processes": list(processes), "workers": [], "failures": [], "unreadable": [], **more}


def facts(reading: Any) -> dict[str, Any]:
    return {fact.name: fact.value for fact in reading.facts}


def test_warm_up_is_the_first_steps_and_all_that_are_slow_after_them() -> None:
    steps = combine(process([step(t) for t in (9.0, 5.0, 3.1, 1.0, 1.0, 4.0, 1.0, 1.0)]))
    assert [t for t, _ in steps.times] == [1.0, 1.0, 4.0, 1.0, 1.0]


def test_the_share_is_sum_over_sum() -> None:
    reading = training.parse(capture(process([step(1.0), step(1.0, 0.9), step(3.0, 0.3)])))
    found = facts(reading)
    assert found["ml.step.data_wait.fraction"] == pytest.approx(1.2 / 4.0)
    assert found["ml.step.time"] == 2.0
    assert found["ml.step.time.cv"] == pytest.approx(0.5)
    assert found["ml.throughput.samples"] == pytest.approx(16 / 4.0)


def test_steps_with_another_loader_are_left_out_wherever_they_are() -> None:
    head = [step(1.0), step(1.0, 0.5), step(8.0, 7.0, (0, 1)), step(1.0, 0.5)]
    tail = {**step(80.0, 70.0, (0, 1)), "steps": 10, "square": 640.0, "histogram": [[105, 10]], "buckets": []}
    steps = combine(process(head, [tail] if len(head) > 99 else []))
    assert (steps.count, steps.excluded, steps.total) == (2, 1, 2.0)
    both = {**step(20.0, 10.0), "steps": 20, "square": 20.0, "histogram": [[0, 20]], "buckets": [[9.0, 20, 20.0, 10.0]]}
    steps = combine(process(head, [tail, both]))
    assert (steps.count, steps.excluded, steps.total) == (22, 11, 22.0)
    assert steps.sums["wait"] == 11.0


def test_without_a_loader_the_wait_is_unknown_and_not_zero() -> None:
    reading = training.parse(capture(process([step(1.0, 0.0, ()) for _ in range(4)])))
    assert facts(reading)["ml.step.time"] == 1.0
    assert not [name for name in facts(reading) if "data_wait" in name]
    assert "wait for data is not known" in reading.source.note


def test_several_optimizer_steps_per_batch_count_all() -> None:
    head = [step(1.0, 0.6 if i % 3 == 0 else 0.0, (0,) if i % 3 == 0 else ()) for i in range(13)]
    assert facts(training.parse(capture(process(head))))["ml.step.data_wait.fraction"] == pytest.approx(0.2)


def test_too_few_steps_give_no_times_and_say_so() -> None:
    reading = training.parse(capture(process([step(1.0)])))
    assert facts(reading)["ml.step.count"] == 0
    assert "ml.step.time" not in facts(reading)
    assert "too few" in reading.source.note


def test_first_batch_is_left_out_of_the_batch_cost_and_lines_are_relative() -> None:
    reading = training.parse(capture(process([step(1.0)] * 3)))
    cost = next(f for f in reading.facts if f.name == "ml.dataloader.batch.time")
    assert (cost.value, cost.where) == (1.0, "train.py:12")
    assert place("/elsewhere/lib.py:3", "/home/me") == "/elsewhere/lib.py:3"
    assert place("/home/mean/lib.py:3", "/home/me") == "/home/mean/lib.py:3"


def test_series_start_with_the_run() -> None:
    head = [step(1.0, at=float(i)) for i in range(4)]
    reading = training.parse(capture(process(head), started=90.0))
    assert reading.series["ml.step.time"].t == (11.0, 12.0, 13.0)


def test_damaged_output_is_told_and_not_raised(tmp_path: Any) -> None:
    (tmp_path / "process-1-0.json").write_text("{")
    reading = training.parse(training.read(tmp_path))
    assert reading.source.state == "unreadable"
    assert "process-1-0.json" in reading.source.note
    assert training.parse(capture({"pid": 1})).source.state == "unreadable"
    assert training.parse_ranks(capture({"pid": 1})) == ()
    assert training.parse(training.read(tmp_path / "gone")).source.state == "absent"


def test_memory_of_the_hook_is_bounded_and_its_sums_exact() -> None:
    program = """
import json
from _advisor_hook.steps import Group, Step
group, step = Group((0,)), Step()
step.batches, step.wait = 1, 0.25
for i in range(100_000):
    group.add(float(i), 0.5 + (i % 100) / 100, step)
print(json.dumps(group.content()))
"""
    out = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(training.HOOK)}, capture_output=True, check=True
    ).stdout
    group = json.loads(out)
    assert len(out) < 30_000
    assert len(group["buckets"]) <= 256
    assert sum(b[1] for b in group["buckets"]) == group["steps"] == 100_000
    assert sum(b[3] for b in group["buckets"]) == pytest.approx(group["wait"]) == pytest.approx(25_000)
    assert [b[0] for b in group["buckets"]] == sorted(b[0] for b in group["buckets"])
    found = facts(training.parse(capture(process([], [group], ends=100_001))))
    assert found["ml.step.time.p95"] == pytest.approx(1.445, rel=0.02)
    assert found["ml.step.time"] == pytest.approx(0.995)
    spread = math.sqrt((100**2 - 1) / 12) / 100
    assert found["ml.step.time.cv"] == pytest.approx(spread / 0.995, rel=1e-3)
