"""A small valid artefact of every kind that the readers know, from the tests of each: what fuzzing starts from."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import test_comm_readers as comm
import test_failure_readers as failures
import test_gpu_profilers as profilers
import test_history as history
import test_host_readers as host
import test_log_kernel as kernel
import test_log_serving as serving
import test_nsys as nsys
import test_smi_readers as smi
import test_stack_readers as stacks
import test_trace_reader as traces
import test_training_files as files
import test_training_logs as logs

PAGE = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m"} 4
vllm:num_requests_waiting{model_name="m"} 0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{model_name="m"} 1000
"""
ROCM = {"card0": {"GPU use (%)": "93", "VRAM Total Memory (B)": "1000", "VRAM Total Used Memory (B)": "250"}}
STACK = [{"pid": 7, "thread_id": 1, "thread_name": "MainThread", "active": True, "owns_gil": True,
          "frames": [{"name": "f", "filename": "/w/train.py", "line": 4}]}]  # fmt: skip


def _nsys() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return nsys.small(Path(folder))


SEEDS: dict[str, bytes] = {
    "metrics page": PAGE.encode(),
    "profile": json.dumps({"subject": "a", "facts": {"ml.step.time": 0.31, "run.phase": "training"}}).encode(),
    "saved samples": history.answer(history.server()).encode(),
    "export of VictoriaMetrics": history.export(history.server()).encode(),
    "trace as Kineto prints it": traces.FORMS["kineto"](traces.document(traces.small())),
    "trace in one line": traces.FORMS["compact"](traces.document(traces.small())),
    "trace of 2021": traces.FORMS["2021"](traces.document(traces.small())),
    "Nsight Systems export": _nsys(),
    "rocprofiler JSON": json.dumps(profilers.result()).encode(),
    "XPlane": profilers.plane("/host:CPU", {"python": [("x", 0, 5)]}) + profilers.plane("/device:GPU:0", profilers.GPU),
    "nvidia-smi XML": smi.XML.encode(),
    "nvidia-smi table": smi.TABLE.encode(),
    "nvidia-smi -q": smi.QUERY.encode(),
    "nvidia-smi CSV": smi.CSV.encode(),
    "nvidia-smi dmon": smi.dmon(1, 50, 99).encode(),
    "rocm-smi JSON": json.dumps(ROCM).encode(),
    "memory snapshot": pickle.dumps(stacks.snapshot()),
    "py-spy dump": stacks.WAITS.encode(),
    "py-spy raw": stacks.FOLDED.encode(),
    "py-spy JSON": json.dumps(STACK, indent=2).encode(),
    "TensorBoard events": files.HEADER + files.events(*files.LOSSES),
    "trainer state": files.state(200, *files.HISTORY),
    "SageMaker system": files.SYSTEM.encode(),
    "SageMaker timeline": files.timeline(*["Step:ModeKeys.TRAIN"] * 5).encode(),
    "NCCL log": comm.job(comm.line("NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB eth0:10.0.0.1<0>")).encode(),
    "nccl-tests": comm.TABLE.encode(),
    "out of memory": failures.NEW.encode(),
    "traceback": failures.TRACEBACK.encode(),
    "collect_env": failures.ENVIRONMENT.encode(),
    "kernel log": (kernel.BOOT + f"[ 12.000001] {kernel.XID}\n").encode(),
    "host tools": host.EVERYTHING.encode(),
    "serving logs": serving.EVERYTHING.encode(),
    "training logs": logs.EVERYTHING.encode(),
}
