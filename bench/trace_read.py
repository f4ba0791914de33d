"""How fast a profiler trace is read, and in how much memory, against Holistic Trace Analysis on the same quantities.

The trace is a real one of some training steps on the CPU, to which a GPU's launches and kernels are added, repeated
in time to the size that is asked for. Both read it in fresh processes, in turns, so that ratios hold on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import peers
import torch
from torch.profiler import ProfilerActivity, profile, schedule

PANDAS, HTA = "pandas==2.3.3", "HolisticTraceAnalysis==0.5.0"  # with pandas 3 it fails on many traces
ROUNDS = 3
OURS = """
import sys
from pathlib import Path
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.trace import read
(told,) = read([Artefact("trace", Path(sys.argv[1]))], no_tick)
print({f.name: f.value for f in told.readings[0].facts if "idle" in f.name or "overlap" in f.name or "short" in f.name})
"""
# The peak that the kernel counts for a child begins with that of its parent, so the child reads its own.
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
THEIRS = """
import sys, logging
logging.disable(logging.CRITICAL)
from hta.trace_analysis import TraceAnalysis
t = TraceAnalysis(trace_files={0: sys.argv[1]}, trace_dir="")
t.get_temporal_breakdown(visualize=False)
t.get_comm_comp_overlap(visualize=False)
t.get_idle_time_breakdown(ranks=[0], visualize=False)
t.get_gpu_kernel_breakdown(visualize=False)
t.get_cuda_kernel_launch_stats(ranks=[0], visualize=False)
t.get_queue_length_summary(ranks=[0])
"""


@dataclass(frozen=True)
class Run:
    """What one process took: seconds of wall and CPU time, and megabytes at the peak."""

    wall: float
    cpu: float
    memory: float


def recorded() -> list[dict[str, Any]]:
    """Events of two training steps on the CPU."""
    model = torch.nn.Sequential(*(torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()) for _ in range(40)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        plan = schedule(wait=0, warmup=1, active=2, repeat=1)
        with profile(
            activities=[ProfilerActivity.CPU],
            schedule=plan,
            on_trace_ready=lambda p: p.export_chrome_trace(str(path)),
            record_shapes=True,
        ) as p:
            for _ in range(3):
                model(torch.randn(16, 64)).sum().backward()
                optimizer.step()
                optimizer.zero_grad()
                p.step()
        events = json.loads(path.read_text())["traceEvents"]
    return [e for e in events if e.get("ph") == "X" and e.get("cat") in ("cpu_op", "user_annotation")]


def with_gpu(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same, and for each third operator a launch and a kernel, as Kineto writes them."""
    made, free = [], 0.0
    for number, event in enumerate(events, 1):
        made.append(event)
        if event["cat"] != "cpu_op" or number % 3:
            continue
        start = max(free, event["ts"] + 8)
        free = start + 3 + number % 7
        name = (
            "ncclDevKernel_AllReduce_Sum_f32_RING_LL"
            if number % 60 == 0
            else f"ampere_sgemm_{32 * (number % 4 + 1)}x64_nn"
        )
        where = {"device": 0, "context": 1, "stream": 20 if "nccl" in name else 7, "correlation": number}
        shape = {"grid": [32, 1, 1], "block": [128, 1, 1], "est. achieved occupancy %": 31}
        call = {"External id": number, "cbid": 211, "correlation": number}
        span = {"ph": "X", "ts": event["ts"] + 0.5, "dur": 4.0}
        made.append(
            {
                **span,
                "cat": "cuda_runtime",
                "name": "cudaLaunchKernel",
                "pid": event["pid"],
                "tid": event["tid"],
                "args": call,
            }
        )
        args = {"External id": number, "queued": 0, **where, "registers per thread": 57, "blocks per SM": 0.4, **shape}
        made.append(
            {
                "ph": "X",
                "cat": "kernel",
                "name": name,
                "pid": 0,
                "tid": where["stream"],
                "ts": start,
                "dur": free - start,
                "args": args,
            }
        )
        flow = {"id": number, "cat": "ac2g", "name": "ac2g"}
        made.append({"ph": "s", **flow, "pid": event["pid"], "tid": event["tid"], "ts": event["ts"] + 0.5})
        made.append({"ph": "f", **flow, "pid": 0, "tid": where["stream"], "ts": start, "bp": "e"})
    return made


def repeated(events: list[dict[str, Any]], path: Path, size: int) -> None:
    """A trace of `size` bytes: the events again and again, later each time, with numbers of their own."""
    first, last = min(e["ts"] for e in events), max(e["ts"] + e.get("dur", 0) for e in events)
    gpu = {"id": 0, "name": "NVIDIA A100", "totalGlobalMem": 1 << 36, "computeMajor": 8, "computeMinor": 0}
    head = {
        "schemaVersion": 1,
        "deviceProperties": [gpu],
        "distributedInfo": {"backend": "nccl", "rank": 0, "world_size": 2},
    }
    with path.open("w") as file:
        file.write(f'{json.dumps(head)[:-1]},\n  "traceEvents": [\n')
        for turn in count():
            lines = [f"  {{\n    {_later(e, turn, (last - first + 100) * turn, len(events))}\n  }}" for e in events]
            file.write(",\n" * bool(turn) + ",\n".join(lines))
            if file.tell() >= size:
                break
        file.write('\n  ],\n  "traceName": "bench"\n}\n')


def _later(event: dict[str, Any], turn: int, shift: float, numbers: int) -> str:
    moved = {**event, "ts": round(event["ts"] + shift, 3)}
    if "args" in event:
        own = {k: v + turn * numbers for k, v in event["args"].items() if k in ("correlation", "External id")}
        moved["args"] = {**event["args"], **own}
    if "id" in event:
        moved["id"] = event["id"] + turn * numbers
    if event["name"].startswith("ProfilerStep#"):
        moved["name"] = f"ProfilerStep#{int(event['name'][13:]) + 2 * turn}"
    return json.dumps(moved)[1:-1].replace(', "args"', ',\n    "args"')


def run(program: Path | str, code: str, path: Path) -> Run:
    """One fresh process (raises CalledProcessError when it fails)."""
    began = time.perf_counter()
    env = {**os.environ, "PYTHONPATH": str(peers.ROOT)}
    before = os.times()
    done = subprocess.run([str(program), "-c", code + PEAK, str(path)], capture_output=True, env=env, check=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(time.perf_counter() - began, used, int(done.stdout.split()[-1]) / 1024)


def peer() -> Path:
    """Python with Holistic Trace Analysis (raises `Missing`)."""
    peers.python(PANDAS)
    return peers.python(HTA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=60, help="size of the trace in megabytes")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    try:
        other: Path | None = peer()
    except peers.Missing as missing:
        other = None
        print(f"Holistic Trace Analysis cannot be measured: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        repeated(with_gpu(recorded()), path, asked.mb * 1_000_000)
        size = path.stat().st_size / 1e6
        ours, theirs = [], []
        for _ in range(asked.rounds):
            ours.append(run(sys.executable, OURS, path))
            if other:
                theirs.append(run(other, THEIRS, path))
    report(size, ours, theirs)


def report(size: float, ours: list[Run], theirs: list[Run]) -> None:
    """One line per tool, and the ratios of the medians."""
    middle = {}
    for name, runs in {"advisor": ours, HTA: theirs}.items():
        if runs:
            wall, cpu, memory = (statistics.median(getattr(r, f) for r in runs) for f in ("wall", "cpu", "memory"))
            rate = f"{size / cpu:.0f} MB per CPU s"
            print(f"{name}: {size:.0f} MB in {wall:.2f} s, {cpu:.2f} CPU s ({rate}), {memory:.0f} MB at the peak")
            middle[name] = (wall, cpu, memory)
    if len(middle) == 2:
        factors = [b / a for a, b in zip(*middle.values(), strict=True)]
        print("the peer takes {:.1f} times as long, {:.1f} times the CPU, {:.1f} times the memory".format(*factors))


if __name__ == "__main__":
    main()
