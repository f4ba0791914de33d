"""A leak, a mapped file and copies after a fork: told apart on real processes that do each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from advisor.collect import memory
from advisor.collect.memory import Memory
from advisor.collect.process import Process
from advisor.collect.sampler import Sampler
from advisor.collect.trend import floors, rising, trend

LEAK = """
import time
kept = []
base = bytearray(b"1" * 20_000_000)
while True:
    kept.append(bytearray(b"1" * 1_000_000))
    time.sleep(0.05)
"""
MAPPED = """
import mmap, sys, time
base = bytearray(b"1" * 20_000_000)
with open(sys.argv[1], "rb") as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
at = 0
while True:
    for at in range(at, min(at + 1_000_000, len(m)), 4096):
        m[at]
    time.sleep(0.05)
"""
COPIES = """
import os, time
samples = [str(i) * 4 for i in range(600_000)]
def worker():
    at = 0
    while True:
        for at in range(at, min(at + 8_000, len(samples))):
            kept = samples[at]          # takes a reference, which writes to the page
        time.sleep(0.05)
for _ in range(2):
    if os.fork() == 0:
        worker()
time.sleep(60)
"""
SHARED = COPIES.replace("kept = samples[at]          # takes a reference, which writes to the page", "pass")


def watched(monkeypatch: pytest.MonkeyPatch, program: str, *args: str, seconds: float = 5.0) -> dict[str, Any]:
    """Facts about `program` after `seconds`, with the intervals of minutes shortened to fractions of a second."""
    monkeypatch.setattr(memory, "FIRST_PAUSE_S", 0.2)
    monkeypatch.setattr(memory, "BUDGET", 1.0)
    monkeypatch.setattr("advisor.collect.process.TREND_SECONDS", 2.0)
    child = subprocess.Popen([sys.executable, "-S", "-c", program, *args], start_new_session=True)
    sampler = Sampler([Process(child.pid), Memory(child.pid)], interval_s=0.1)
    try:
        time.sleep(0.5)
        sampler.start()
        time.sleep(seconds)
        sampler.stop()
    finally:
        os.killpg(child.pid, 9)
        child.wait()
    return {f.name: f.value for r in sampler.readings() for f in r.facts}


def test_a_leak_grows_in_every_respect(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, LEAK)
    assert found["process.memory.usage.growth"] > 0.2
    assert found["process.memory.unique.growth"] > 0.2
    assert found["process.memory.anon.slope"] > 2e6
    assert found["process.memory.anon.rising.fraction"] > 0.75


def test_a_mapped_file_grows_only_the_resident_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = tmp_path / "data.bin"
    data.write_bytes(bytes(200_000_000))
    found = watched(monkeypatch, MAPPED, str(data))
    assert found["process.memory.usage.growth"] > 0.2
    assert abs(found["process.memory.unique.growth"]) < 0.02
    assert found["process.memory.proportional.growth"] > 0.2
    assert found["process.memory.anon.slope"] == 0
    assert found["process.memory.unique"] == pytest.approx(25e6, rel=0.3)


def test_copies_after_a_fork_grow_the_workers_and_nothing_that_is_cheap_to_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = watched(monkeypatch, COPIES, seconds=6.0)
    assert found["process.memory.workers_unique.growth"] > 0.1
    assert abs(found["process.memory.usage.growth"]) < 0.05
    assert found["process.memory.anon.slope"] < 1e6


def test_workers_that_only_share_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, SHARED, seconds=6.0)
    assert abs(found["process.memory.workers_unique.growth"]) < 0.05


def rows(*columns: list[str]) -> list[dict[str, Any]]:
    """Samples with one row per process: columns of "parent rss pss private" in KiB."""
    return [
        {"t": 10.0 * i, "procs": {f"{10 + n}/5": column[i] for n, column in enumerate(columns) if column[i]}}
        for i in range(len(columns[0]))
    ]


def parsed(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {f.name: f.value for f in Memory().parse(samples)[0]}


def test_workers_are_the_children_of_the_largest_and_each_counts_over_its_own_life() -> None:
    parent = [f"1 9000 6000 {5000}" for _ in range(30)]
    first = [f"10 900 500 {100 + 10 * i}" if i < 15 else "" for i in range(30)]
    second = [f"10 900 500 {100 + 10 * (i - 15)}" if i >= 15 else "" for i in range(30)]
    stranger = [f"77 900 500 {100 * (i + 1)}" for i in range(30)]
    found = parsed(rows(parent, first, second, stranger))
    assert found["process.memory.unique"] == 5000 * 1024
    assert found["process.memory.unique.growth"] == 0
    assert 0.4 < found["process.memory.workers_unique.growth"] < 0.7
    assert found["process.memory.worker.unique"] == 240 * 1024


def test_few_readings_tell_no_growth() -> None:
    found = parsed(rows(["1 9 9 9"] * 5, ["10 9 9 9"] * 5))
    assert set(found) == {"process.memory.unique", "process.memory.worker.unique"}


def test_memory_that_may_not_be_read_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("advisor.collect.memory.read_text", refuse)
    with pytest.raises(PermissionError):
        Memory(os.getpid()).read()


def test_the_pause_grows_with_the_cost_and_the_time_watched() -> None:
    collector = Memory(os.getpid())
    collector.read()
    assert collector.pause_s == memory.FIRST_PAUSE_S  # at first, whatever it costs
    collector._began = time.monotonic() - 1000
    collector.read()
    assert memory.FIRST_PAUSE_S <= collector.pause_s <= 200


def test_a_sawtooth_is_no_trend_and_a_sawtooth_that_rises_is() -> None:
    t = [float(i) for i in range(200)]
    saw = [float(i % 20) * 100 for i in range(200)]
    assert trend(t, saw) == 0
    assert trend(t, [s + 3 * i for i, s in enumerate(saw)]) == pytest.approx(3, rel=0.2)
    assert rising(saw) == 0
    assert len(floors(t, saw)[0]) == 10
    assert trend([1.0], [5.0]) == 0
