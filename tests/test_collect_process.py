"""The process tree: pure parsing of made-up samples, and real children doing real work."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import pytest

from advisor.collect.process import FIELDS, Process, Tree, cpu_list
from advisor.collect.sampler import Sampler
from advisor.models import Reading

LIMITS = "Limit            Soft Limit    Hard Limit    Units\nMax open files   1024          4096          files\n"


def row(**values: int) -> str:
    return " ".join(str(values.get(field, 0)) for field in FIELDS)


def snapshot(t: float, procs: dict[str, str], **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "root": 10, "threads": None, "limits": LIMITS, "fds": 256, "cpus": "0-1", "uptime": 1000.0 + t, "tick": 100,
        "page": 4096,
    }  # fmt: skip
    return base | {"t": t, "procs": procs} | more


def parsed(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {f.name: f.value for f in Process().parse(samples)[0]}


def test_rates_over_the_tree() -> None:
    before = {"10/500": row(utime=100, threads=3, rss=1000), "11/600": row(utime=50, rss=500, read=1000)}
    after = {"10/500": row(utime=600, stime=100, threads=9, rss=2000), "11/600": row(utime=450, rss=500, read=51000)}
    found = parsed([snapshot(0, before), snapshot(10, after)])
    assert found["process.cpu.utilization"] == pytest.approx(1.0)
    assert found["process.memory.usage"] == 2000 * 4096
    assert found["process.memory.usage.peak"] == 2500 * 4096
    assert found["process.disk.read.rate"] == 5000
    assert found["process.count"] == 2
    assert found["process.thread.count"] == 9
    assert found["process.open_file_descriptor.utilization"] == 0.25
    assert found["process.uptime"] == pytest.approx(1010 - 5)
    assert "process.memory.anon.slope" not in found


def test_a_child_that_was_waited_for_keeps_its_share() -> None:
    """Child 11 had 300 ticks, ran 200 more and ended; the kernel moved 500 to its parent."""
    found = parsed(
        [
            snapshot(0, {"10/500": row(utime=10), "11/600": row(utime=300, read=7000)}),
            snapshot(10, {"10/500": row(utime=10, cutime=500, read=9000)}),
        ]
    )
    assert found["process.cpu.utilization"] == pytest.approx(0.2)
    assert found["process.disk.read.rate"] == pytest.approx(200)


def test_a_child_that_nobody_waited_for_never_makes_a_rate_negative() -> None:
    found = parsed(
        [
            snapshot(0, {"10/500": row(utime=10, minflt=1), "11/600": row(utime=300, minflt=900, read=7000)}),
            snapshot(10, {"10/500": row(utime=110, minflt=11)}),
        ]
    )
    assert found["process.cpu.utilization"] == pytest.approx(0.1)
    assert found["process.paging.minor_faults.rate"] == pytest.approx(1)
    assert found["process.disk.read.rate"] == 0


def test_a_reused_process_id_is_another_process() -> None:
    found = parsed(
        [
            snapshot(0, {"10/500": row(), "11/600": row(utime=900)}),
            snapshot(10, {"10/500": row(cutime=900), "11/99999": row(utime=40)}),
        ]
    )
    assert found["process.cpu.utilization"] == pytest.approx(0.04)


def test_a_leak_has_a_slope_and_start_up_does_not_count() -> None:
    start = [snapshot(t, {"10/500": row(anon=t * 50_000)}) for t in range(4)]
    leak = [snapshot(t, {"10/500": row(anon=150_000 + (t - 4) * 100)}) for t in range(4, 12)]
    assert parsed(start + leak)["process.memory.anon.slope"] == pytest.approx(100 * 4096)
    assert "process.memory.anon.slope" not in parsed((start + leak)[:9])


def test_noise_and_a_single_step_are_no_trend() -> None:
    noise = [(i * 7919) % 101 for i in range(120)]
    steady = [snapshot(t, {"10/500": row(anon=50_000 + noise[t])}) for t in range(120)]
    step = [snapshot(t, {"10/500": row(anon=50_000 + (40_000 if t > 80 else 0) + noise[t])}) for t in range(120)]
    leak = [snapshot(t, {"10/500": row(anon=50_000 + 10 * t + noise[t])}) for t in range(120)]
    assert parsed(steady)["process.memory.anon.slope"] == 0
    assert parsed(step)["process.memory.anon.slope"] == 0
    assert parsed(leak)["process.memory.anon.slope"] == pytest.approx(10 * 4096, rel=0.1)


def test_growth_of_resident_memory_leaves_the_start_out() -> None:
    sizes = [1000] * 10 + [10_000] * 10 + [15_000] * 10
    found = parsed([snapshot(t, {"10/500": row(rss=size)}) for t, size in enumerate(sizes)])
    assert found["process.memory.usage.growth"] == pytest.approx(0.5)


def test_the_main_thread_is_that_of_the_busiest_rank_not_of_a_launcher_or_worker() -> None:
    """Per process: distance from the root, then ticks of the main thread and of all threads at 5 and at 10 s."""
    processes = {"10/5": (0, 2, 3, 4, 8), "11/6": (1, 200, 250, 400, 500), "12/6": (1, 400, 450, 930, 990),
                 "13/7": (2, 500, 500, 1000, 1000)}  # fmt: skip
    samples = []
    for i in (0, 2, 4):
        main = {
            pid: f"{distance} {[0, 0, *ticks][i]} {[0, 0, *ticks][i + 1]}"
            for pid, (distance, *ticks) in processes.items()
        }
        samples.append(snapshot(2.5 * i, {"10/5": row()}, main=main))
    fact = next(f for f in Process().parse(samples)[0] if f.name == "process.cpu.main_thread.utilization")
    assert (fact.value, fact.where) == (pytest.approx(0.93), "process 12")


def test_waiting_for_a_cpu_and_runnable_threads() -> None:
    found = parsed(
        [
            snapshot(0, {"10/500": row()}, threads=[0, 0, 0]),
            snapshot(5, {"10/500": row()}),
            snapshot(10, {"10/500": row()}, threads=[20_000_000_000, 60_000_000_000, 5000]),
        ]
    )
    assert found["process.run_delay.fraction"] == pytest.approx(0.75)
    assert found["process.thread.runnable.per_cpu"] == pytest.approx(4)  # 8 threads wanted 2 CPUs
    assert found["process.context_switches.involuntary.rate"] == 500


def test_a_sleeping_process_has_no_share_of_waiting() -> None:
    asleep = [snapshot(0, {"10/5": row()}, threads=[0, 0, 0]), snapshot(10, {"10/5": row()}, threads=[1000, 9000, 0])]
    assert "process.run_delay.fraction" not in parsed(asleep)


def test_io_that_may_not_be_read_gives_no_rate() -> None:
    hidden = {"10/500": row(read=-1, write=-1)}
    assert "process.disk.read.rate" not in parsed([snapshot(0, hidden), snapshot(10, hidden)])


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-3", 4), ("0-3,8", 5), ("0,2,4-5", 4)])
def test_cpu_list(text: str, count: int) -> None:
    assert cpu_list(text) == count


def watch(program: str, seconds: float) -> tuple[Reading, dict[str, Any]]:
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    sampler = Sampler([Process(child.pid)], interval_s=0.2)
    try:
        sampler.start()
        time.sleep(seconds)
        sampler.stop()
    finally:
        with suppress(ProcessLookupError):  # all of it may have ended by itself
            os.killpg(child.pid, 9)
        child.wait()
    reading = sampler.readings()[0]
    return reading, {f.name: f.value for f in reading.facts}


def test_children_of_a_real_process_are_counted() -> None:
    """A parent that starts short-lived workers one after the other, each busy: their CPU time must not be lost."""
    program = (
        "import subprocess, sys\n"
        "while True: subprocess.run([sys.executable, '-S', '-c', 'x = 0\\nfor i in range(300000): x += i'])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _, found = watch(program, 2.5)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    truth = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 2.5
    assert found["process.cpu.utilization"] == pytest.approx(truth, rel=0.3)
    assert found["process.count"] == 2


def test_memory_of_a_real_process() -> None:
    reading, found = watch("import time; x = bytearray(b'1' * 80_000_000); time.sleep(60)", 1.0)
    assert 80e6 < found["process.memory.usage.peak"] < 250e6
    assert 0 < found["process.uptime"] < 10
    assert len(reading.series["process.memory.usage"].t) >= 4


def test_two_busy_threads_on_one_cpu_wait_for_it() -> None:
    program = (
        "import os, hashlib, threading\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "def f():\n"
        "    d = bytes(1 << 20)\n"
        "    while True: hashlib.sha256(d).digest()\n"  # without the interpreter lock
        "threading.Thread(target=f, daemon=True).start(); f()"
    )
    _, found = watch(program, 2.0)
    assert 0.3 < found["process.run_delay.fraction"] < 1
    assert found["process.thread.runnable.per_cpu"] > 1.3


def test_a_busy_main_thread_behind_a_launcher_is_found() -> None:
    """A shell that sleeps, a rank whose main thread is busy with the machine to itself, threads that sleep."""
    rank = (
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nwhile True: pass"
    )
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {rank!r}])"
    _, found = watch(program, 2.5)
    assert found["process.cpu.main_thread.utilization"] > 0.5 * found["process.cpu.utilization"] > 0


def test_a_busy_second_thread_is_not_the_main_one() -> None:
    program = (
        "import hashlib, threading, time\n"
        "def f():\n"
        "    d = bytes(1 << 20)\n"
        "    while True: hashlib.sha256(d).digest()\n"
        "threading.Thread(target=f, daemon=True).start(); time.sleep(60)"
    )
    _, found = watch(program, 2.5)
    assert found["process.cpu.main_thread.utilization"] < 0.3 * found["process.cpu.utilization"]


def test_an_ended_process_keeps_what_was_seen_and_a_missing_one_is_absent() -> None:
    reading, found = watch("import time; time.sleep(0.6)", 1.5)
    assert reading.source.state == "ok"
    assert found["process.count"] == 1
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    sampler = Sampler([Process(gone.pid), Process(None)], interval_s=0.05)
    sampler.start()
    time.sleep(0.2)
    sampler.stop()
    missing, none = (r.source for r in sampler.readings())
    assert (missing.state, missing.note) == ("absent", f"process {gone.pid} is not running")
    assert (none.state, none.note) == ("absent", "no process was given, so no job was watched")


def test_the_tree_finds_new_children_and_keeps_orphans() -> None:
    program = "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True)"
    tree = Tree(os.getpid())
    tree.refresh()
    child = subprocess.Popen([sys.executable, "-c", program + "; time.sleep(60)"], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    grandchild = int(child.stdout.readline())
    try:
        assert {os.getpid(), child.pid, grandchild} <= tree.refresh()
        child.kill()
        child.wait()
        child.stdout.close()
        assert grandchild in tree.refresh()
        assert child.pid not in tree.refresh()
    finally:
        os.kill(grandchild, 9)
