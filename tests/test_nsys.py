"""Nsight Systems exports -> facts, exactly: every schema, steps, several GPUs, and files nobody should trust."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Diagnosis, Value
from advisor.pipeline.diagnoser import Diagnoser
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.profilers.nsys import read
from advisor.readers.profilers.nsys.database import opened
from advisor.readers.profilers.timeline import both, clipped, ints, length, merged
from advisor.readers.recognise import recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "nsys_sqlite"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real profilers here")
KNOWLEDGE = kb.load()
SPECS = KNOWLEDGE.facts
DIAGNOSER = Diagnoser(KNOWLEDGE)
MS = 1_000_000
PID = 0x1000
GID = PID << 24

KERNEL = "CUPTI_ACTIVITY_KIND_KERNEL"
COPY = "CUPTI_ACTIVITY_KIND_MEMCPY"
RUNTIME = "CUPTI_ACTIVITY_KIND_RUNTIME"
GEMM, ADD, NCCL = (
    "sm90_xmma_gemm_bf16bf16_bf16f32",
    "void at::native::vectorized_elementwise_kernel<4>",
    "ncclDevKernel_AllReduce",
)
LAUNCH, SYNC = "cudaLaunchKernel_v7000", "cudaStreamSynchronize_v3020"


class Export:
    """A file as the exporter writes it; tables appear when something is put into them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = sqlite3.connect(path)
        self.db.execute("PRAGMA synchronous = OFF")
        self.names: dict[str, int] = {}
        self.table("StringIds", "id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL")
        self.table("META_DATA_EXPORT", "name TEXT NOT NULL, value TEXT")

    def table(self, name: str, columns: str) -> None:
        self.db.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")

    def name(self, text: str) -> int:
        if text not in self.names:
            self.names[text] = len(self.names) + 1
            self.put("StringIds", id=self.names[text], value=text)
        return self.names[text]

    def put(self, table: str, **values: Any) -> None:
        if not self.db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
            self.table(table, ", ".join(f'"{column}"' for column in values))
        columns, marks = ", ".join(f'"{c}"' for c in values), ", ".join("?" * len(values))
        self.db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(values.values()))

    def kernel(self, start: float, end: float, name: str = GEMM, gpu: int = 0, call: int = 0, **more: Any) -> None:
        values = {
            "streamId": 7,
            "contextId": 1,
            "correlationId": call,
            "globalPid": GID,
            "demangledName": self.name(name),
        }
        values |= {"shortName": self.name(name), "gridX": 264, "gridY": 1, "gridZ": 1}
        self.put(KERNEL, start=int(start * MS), end=int(end * MS), deviceId=gpu, **(values | more))

    def copy(
        self, start: float, end: float, size: int, gpu: int = 0, kind: int = 1, source: int = 1, call: int = 0
    ) -> None:
        values = {"streamId": 8, "contextId": 1, "correlationId": call, "globalPid": GID}
        kinds = {"copyKind": kind, "srcKind": source, "dstKind": 2}
        self.put(COPY, start=int(start * MS), end=int(end * MS), deviceId=gpu, bytes=size, **values, **kinds)

    def call(self, start: float, end: float, call: int = 0, name: str = LAUNCH, process: int = GID) -> None:
        columns = {"eventClass": 1, "globalTid": process | 0x1000, "correlationId": call, "nameId": self.name(name)}
        self.put(RUNTIME, start=int(start * MS), end=int(end * MS), returnValue=0, **columns)

    def range(self, start: float, end: float, text: str, registered: bool = False) -> None:
        values: dict[str, Any] = {
            "text": None if registered else text,
            "textId": self.name(text) if registered else None,
        }
        columns = {"eventType": 59, "globalTid": GID | 0x1000, "domainId": 0}
        self.put("NVTX_EVENTS", start=int(start * MS), end=int(end * MS), **columns, **values)

    def close(self) -> Artefact:
        self.db.commit()
        self.db.close()
        return Artefact(str(self.path), self.path)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    return Export(tmp_path / "report.sqlite")


def known(told: Told) -> dict[str, Value]:
    """Name and value of every fact, all of them in the vocabulary, with its unit and in its range."""
    (reading,) = told.readings
    assert reading.source.kind == "trace"
    for one in (reading, *(r for _, r in told.ranks)):
        for fact in one.facts:
            spec = SPECS[fact.name]
            assert fact.unit == spec.unit, fact.name
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact
                assert spec.high is None or fact.value <= spec.high, fact
    return {fact.name: fact.value for fact in reading.facts}


def facts(export: Export) -> dict[str, Value]:
    (told,) = read([export.close()], no_tick)
    return known(told)


def diagnosis(path: Path) -> Diagnosis:
    (found,) = DIAGNOSER.diagnose_files([path])
    return found


def severe(found: Diagnosis) -> list[str]:
    return [f.rule.id for f in found.findings if f.rule.severity in ("serious", "critical")]


# --- intervals ------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=12)


@given(SPANS, SPANS, st.integers(0, 30), st.integers(1, 20))
def test_unions_agree_with_counting_every_moment(
    a: list[tuple[int, int]], b: list[tuple[int, int]], low: int, n: int
) -> None:
    def seconds(spans: Iterable[tuple[int, int]]) -> set[int]:
        return {t for start, lasts in spans for t in range(start, start + lasts)}

    def columns(spans: Sequence[tuple[int, int]]) -> tuple[Any, Any]:
        return ints([s for s, _ in spans]), ints([s + n for s, n in spans])

    one, other = merged(*columns(a)), merged(*columns(b))
    assert length(one) == len(seconds(a))
    assert both(one, other) == len(seconds(a) & seconds(b))
    assert length(clipped(*columns(a), low, low + n)) == len(seconds(a) & set(range(low, low + n)))


# --- what GPUs did --------------------------------------------------------------------


def test_kernels_copies_and_calls_in_one_window(export: Export) -> None:
    export.call(0.0, 0.01, 1)
    export.kernel(0.5, 4.5, GEMM, call=1)
    export.call(0.1, 0.2, 2)
    export.kernel(4.501, 4.551, ADD, call=2)  # 1 us after the last: a hand-over; shorter than its call
    export.call(4.6, 4.61, 3, "cudaMemcpyAsync_v3020")
    export.copy(5.551, 7.551, 20_000_000, call=3)
    export.call(2.0, 7.0, 0, SYNC)
    export.call(7.6, 7.61, 4)
    export.kernel(8.5, 10.5, NCCL, call=4)

    told = facts(export)

    assert told["trace.gpu.idle.fraction"] == pytest.approx(1 - (4 + 0.05 + 2 + 2) / 10)
    assert told["hw.gpu.utilization"] == pytest.approx(6.05 / 10)
    assert told["trace.matmul.fraction"] == pytest.approx(4 / 4.05)
    assert told["trace.elementwise.fraction"] == pytest.approx(0.05 / 4.05)
    assert told["trace.memcpy.h2d.fraction"] == told["trace.memcpy.h2d.busy.fraction"] == pytest.approx(0.2)
    assert told["trace.memcpy.h2d.bytes"] == 20_000_000
    assert told["trace.memcpy.h2d.bandwidth"] == pytest.approx(10e9)
    assert told["trace.memcpy.h2d.pageable.fraction"] == 0.0
    assert told["trace.comm.exposed.fraction"] == told["trace.comm.fraction"] == pytest.approx(0.2)
    assert told["trace.comm.overlap.fraction"] == 0.0
    idle = 0.001 + 1.0 + 0.949
    assert told["trace.gpu.idle.kernel_wait.fraction"] == pytest.approx(0.001 / idle)
    assert told["trace.gpu.idle.host_wait.fraction"] == pytest.approx((1.0 + 0.949) / idle)
    assert told["trace.gpu.idle.long_gap.fraction"] == 0.0
    assert told["trace.sync.fraction"] == pytest.approx(0.5)
    assert told["trace.launch.fraction"] == pytest.approx(0.01 / 10)  # the window begins at 0.5
    assert told["trace.kernel.short.fraction"] == pytest.approx(1 / 3)
    assert told["trace.launch.delay.median"] == pytest.approx(0.00089)
    assert told["trace.stream.queue_length.max"] == 2
    assert told["run.gpu.used"] is True
    assert told["run.framework"] == "pytorch"


def test_communication_that_kernels_hide_is_not_exposed(export: Export) -> None:
    export.kernel(0, 8, GEMM, streamId=7)
    export.kernel(6, 10, NCCL, streamId=20)

    told = facts(export)

    assert told["trace.comm.fraction"] == pytest.approx(0.4)
    assert told["trace.comm.exposed.fraction"] == pytest.approx(0.2)
    assert told["trace.comm.overlap.fraction"] == pytest.approx(0.5)
    assert "trace.comm.wait_skew" not in told


def test_a_graph_traced_as_a_whole_keeps_the_gpu_busy_and_hides_its_kernels(export: Export) -> None:
    export.kernel(0, 1, GEMM)
    export.put(
        "CUPTI_ACTIVITY_KIND_GRAPH_TRACE", start=1 * MS, end=9 * MS, deviceId=0, streamId=7, globalPid=GID, graphId=1
    )
    export.kernel(9, 10, GEMM)

    told = facts(export)

    assert told["trace.gpu.idle.fraction"] == 0.0
    assert told["hw.gpu.utilization"] == 1.0
    assert not [name for name in told if name.startswith(("trace.matmul", "trace.comm", "trace.elementwise"))]


def test_fp32_products_are_known_by_their_names(export: Export) -> None:
    export.kernel(0, 6, "ampere_sgemm_128x64_nn")
    export.kernel(6, 8, "ampere_fp16_s16816gemm_fp16_128x128_ldg8")
    export.kernel(8, 10, ADD)

    told = facts(export)

    assert told["trace.matmul.fp32.fraction"] == pytest.approx(0.75)
    assert told["trace.tensor_core.eligible_unused.fraction"] == pytest.approx(0.6)


def test_names_that_say_nothing_give_no_shares(export: Export) -> None:
    export.kernel(0, 6, "my_kernel")
    export.kernel(6, 10, GEMM)

    assert "trace.matmul.fraction" not in facts(export)


def test_pageable_memory_is_read_from_the_exports_own_table(export: Export) -> None:
    for number, name in (
        (0, "CUDA_MEMOPR_MEMORY_KIND_UNKNOWN"),
        (5, "CUDA_MEMOPR_MEMORY_KIND_PAGEABLE"),
        (6, "..._PINNED"),
    ):
        export.put("ENUM_CUDA_MEM_KIND", id=number, name=name, label=name.rsplit("_", 1)[-1].title())
    for number, name in ((9, "CUDA_MEMCPY_KIND_HTOD"), (1, "CUDA_MEMCPY_KIND_DTOH")):
        export.put("ENUM_CUDA_MEMCPY_OPER", id=number, name=name, label="")
    export.copy(0, 1, 3 << 20, kind=9, source=5)
    export.copy(1, 2, 1 << 20, kind=9, source=6)
    export.copy(2, 3, 9 << 20, kind=1)

    told = facts(export)

    assert told["trace.memcpy.h2d.pageable.fraction"] == pytest.approx(0.75)
    assert told["trace.memcpy.h2d.bytes"] == 4 << 20
    assert told["trace.memcpy.d2h.fraction"] == pytest.approx(1 / 3)


def test_the_first_exporters_wrote_fewer_columns(tmp_path: Path) -> None:
    old = Export(tmp_path / "2019.sqlite")
    name = old.name(GEMM)
    for start in (0, 4):
        old.put(
            KERNEL,
            start=start * MS,
            end=(start + 3) * MS,
            deviceId=0,
            contextId=1,
            streamId=7,
            correlationId=0,
            shortName=name,
        )
    old.put(COPY, start=3 * MS, end=4 * MS, deviceId=0, contextId=1, streamId=7, correlationId=0, bytes=5, copyKind=1)
    old.put("TARGET_INFO_CUDA_GPU", name="Tesla V100", totalMemory=16 << 30, computeMajor=7, computeMinor=0)

    told = facts(old)

    assert told["trace.gpu.idle.fraction"] == 0.0
    assert told["trace.memcpy.h2d.fraction"] == pytest.approx(1 / 7)
    assert told["hw.gpu.model"] == "Tesla V100"
    assert told["hw.gpu.compute_capability"] == "7.0"
    assert "trace.memcpy.h2d.pageable.fraction" not in told
    assert "trace.launch.fraction" not in told


# --- steps ----------------------------------------------------------------------------


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize(
    "name", ["step {}", "Iteration {}", "iter_{}", "ProfilerStep#{}", "train_step", "global_step={}/900"]
)
def test_steps_are_found_by_their_ranges_and_set_the_window(tmp_path: Path, name: str, registered: bool) -> None:
    export = Export(tmp_path / "steps.sqlite")
    export.kernel(0, 5, GEMM)  # warm-up, before the steps
    for step in range(4):
        at = 100.0 + step * 10
        export.range(at, at + 9, name.format(step), registered)
        export.range(at, at + 2, "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__, op_id = 9", registered)
        export.range(at + 8, at + 8.5, "aten::_local_scalar_dense, op_id = 12", registered)
        export.range(at + 3, at + 3.5, "Optimizer.step#AdamW.step, op_id = 13", registered)
        for part in range(2):
            export.call(at + 2 + part, at + 2.1 + part, step * 10 + part + 1)
            export.kernel(at + 4 + part * 3, at + 6 + part * 3, GEMM, call=step * 10 + part + 1)
        export.call(at + 8, at + 9, 0, SYNC)
        export.copy(at + 9.0, at + 9.1, 8, kind=2)

    told = facts(export)

    assert told["ml.step.count"] == 4
    assert told["ml.step.time"] == pytest.approx(0.00975)  # three times 10 ms, and 9 ms for the last
    assert told["trace.kernel.count.per_step"] == 2
    assert told["trace.item.count.per_step"] == 1
    assert told["trace.sync.count.per_step"] == 1
    assert told["trace.dataloader.fraction"] == pytest.approx(8 / 39)
    assert told["ml.step.data_wait.exposed.fraction"] == pytest.approx(8 / 39)
    assert told["trace.gpu.idle.fraction"] == pytest.approx(1 - (16 + 0.3) / 39)
    assert told["run.phase"] == "training"
    (reading,) = read([Artefact("x", export.path)], no_tick)[0].readings
    assert "the 4 steps marked" in reading.source.note


def test_ranges_of_operators_without_a_loader_say_that_no_time_goes_there(export: Export) -> None:
    export.kernel(0, 10)
    export.range(1, 2, "aten::mul, op_id = 4")

    told = facts(export)

    assert told["trace.dataloader.fraction"] == 0.0
    assert "ml.step.data_wait.exposed.fraction" not in told  # a loader of one's own is not marked


@pytest.mark.parametrize(
    "name", ["optimizer_step {}", "micro batch {}", "load batch {}", "epoch {}", "layer {}", "lr_scheduler.step"]
)
def test_other_ranges_are_no_steps(export: Export, name: str) -> None:
    export.kernel(0, 100)
    for step in range(5):
        export.range(step * 10, step * 10 + 9, name.format(step))

    assert "ml.step.count" not in facts(export)


# --- several GPUs, processes and files -------------------------------------------------


def test_every_gpu_is_a_member_and_the_whole_is_their_mean(export: Export) -> None:
    for gpu, late in ((0, 0.0), (1, 0.06)):
        for step in range(3):
            at = step * 100.0
            export.kernel(at, at + 50, GEMM, gpu=gpu)
            export.kernel(at + 50 + late * 1000, at + 110 - 10, NCCL, gpu=gpu) if late < 0.05 else None
            export.kernel(at + 50 + late * 100, at + 100, NCCL, gpu=gpu) if late >= 0.05 else None
    export.put("META_DATA_CAPTURE", name="PROCESS_0:ARGUMENT_0", value="--nnodes=2")
    export.put("META_DATA_CAPTURE", name="PROCESS_0:ARGUMENT_1", value="--nproc_per_node=2")

    (told,) = read([export.close()], no_tick)
    shown = known(told)

    assert [name for name, _ in told.ranks] == ["GPU 0", "GPU 1"]
    exposed = [next(f.value for f in r.facts if f.name == "trace.comm.exposed.fraction") for _, r in told.ranks]
    assert exposed == [pytest.approx(0.5), pytest.approx(0.44)]
    assert shown["trace.comm.exposed.fraction"] == pytest.approx(0.47)
    assert shown["trace.comm.wait_skew"] == pytest.approx(0.006)
    assert (shown["config.distributed.world_size"], shown["config.distributed.nodes"]) == (4, 2)


def test_processes_that_each_see_one_gpu_as_number_0_are_told_apart(export: Export) -> None:
    other = 0x2000 << 24
    for process, at, gpu in ((GID, 0, 3), (other, 2, 5)):
        export.put("TARGET_INFO_CUDA_DEVICE", gpuId=gpu, cudaId=0, pid=(process >> 24) & 0xFFFFFF, uuid="")
        export.call(at, at + 0.5, 1, process=process)  # both count their calls from 1
        export.kernel(at + 1, at + 11, GEMM, call=1, globalPid=process)

    (told,) = read([export.close()], no_tick)

    assert [name for name, _ in told.ranks] == ["GPU 3", "GPU 5"]
    delays = [next(f.value for f in r.facts if f.name == "trace.launch.delay.median") for _, r in told.ranks]
    assert delays == [pytest.approx(0.0005), pytest.approx(0.0005)]


@pytest.mark.parametrize(("second", "count"), [(3, 1), (700, 2)])
def test_files_of_the_same_time_are_ranks_of_one_run(tmp_path: Path, second: int, count: int) -> None:
    made = []
    for name, start in (("rank0", 0), ("rank1", second)):
        export = Export(tmp_path / f"{name}.sqlite")
        export.kernel(0, 10)
        export.put("TARGET_INFO_SESSION_START_TIME", utcEpochNs=1_700_000_000_000_000_000 + start * 10**9)
        export.put("ANALYSIS_DETAILS", duration=60 * 10**9, startTime=0, stopTime=60 * 10**9)
        made.append(export.close())

    told = read(made, no_tick)

    assert len(told) == count
    assert told[0].started == 1_700_000_000
    assert [name for name, _ in told[0].ranks] == (["rank0.sqlite GPU 0", "rank1.sqlite GPU 0"] if count == 1 else [])


# --- the machine -----------------------------------------------------------------------


def test_the_machine_and_the_settings_of_the_command(export: Export) -> None:
    export.kernel(0, 10, ADD)
    export.put(
        "TARGET_INFO_GPU", id=0, name="NVIDIA A100", totalMemory=80 << 30, smCount=132, computeMajor=8, computeMinor=0
    )
    for name, value in (("CpuCores", "64"), ("NvDriverVersion", "550.54.15"), ("CudaDriverVersion", "12040")):
        export.put("TARGET_INFO_SYSTEM_ENV", name=name, value=value)
    for value in ('CUDA_LAUNCH_BLOCKING="1"', 'NCCL_DEBUG="INFO"', 'OMP_NUM_THREADS="4"', 'WORLD_SIZE="16"', 'X="a"b"'):
        export.put("META_DATA_CAPTURE", name="PROCESS_0:ENVIRONMENT_VARIABLE", value=value)

    told = facts(export)

    assert (told["hw.gpu.model"], told["hw.gpu.count"], told["hw.gpu.memory.limit"]) == ("NVIDIA A100", 1, 80 << 30)
    assert told["trace.kernel.blocks_per_sm.mean"] == pytest.approx(2.0)
    assert (told["system.cpu.logical.count"], told["hw.gpu.driver.version"]) == (64, "550.54.15")
    assert told["hw.gpu.driver.cuda_version"] == "12.4"
    assert told["config.launch_blocking"] is True
    assert (told["config.nccl.env"], told["config.omp_num_threads"]) == ("NCCL_DEBUG=INFO", 4)
    assert told["config.distributed.world_size"] == 16


def test_sampled_counters_are_averaged_over_the_window(export: Export) -> None:
    export.kernel(10, 20)
    names = (
        "SMs Active",
        "Tensor Active",
        "DRAM Read Bandwidth",
        "DRAM Write Bandwidth",
        "PCIe RX Throughput",
        "Clock",
    )
    for number, name in enumerate(f"{name} [Throughput %]" for name in names):
        export.put("TARGET_INFO_GPU_METRICS", typeId=256, metricId=number, metricName=name)
        for at, value in ((5, 99), (12, 40 + number), (18, 60 + number)):
            export.put("GPU_METRICS", timestamp=at * MS, typeId=256, metricId=number, value=value)

    told = facts(export)

    assert (told["hw.gpu.sm.active"], told["hw.gpu.tensor.active"]) == (pytest.approx(0.5), pytest.approx(0.51))
    assert (told["hw.gpu.dram.active"], told["hw.gpu.pcie.utilization"]) == (1.0, pytest.approx(0.54))


# --- end to end -------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "first"), [(1, "h2d-copy-bound"), (0, "blocking-h2d-copy")])
def test_copies_come_first_where_the_copy_engine_is_the_limit(export: Export, source: int, first: str) -> None:
    for gpu in (0, 1):
        for at in range(100):
            export.copy(at * 10, at * 10 + 9.7, 262_000_000, gpu=gpu, source=source)
            export.kernel(at * 10 + 9.7, at * 10 + 9.95, GEMM, gpu=gpu)
    export.close()

    found = diagnosis(export.path)

    assert found.findings[0].rule.id == first
    assert found.profile.facts["trace.memcpy.h2d.busy.fraction"].value == pytest.approx(0.97, rel=1e-3)
    assert found.profile.facts["trace.memcpy.h2d.bandwidth"].value == pytest.approx(27e9, rel=1e-2)
    assert found.profile.facts["trace.memcpy.h2d.bytes"].value == 26_200_000_000
    assert not [f for f in found.findings if "idle" in f.rule.id]


def test_a_busy_gpu_gives_no_severe_finding(export: Export) -> None:
    for at in range(400):
        export.call(at - 2, at - 1.99, at + 1)
        export.kernel(at, at + 0.99, GEMM if at % 2 else ADD, call=at + 1)
    export.close()

    found = diagnosis(export.path)

    assert severe(found) == []
    assert not [f for f in found.findings if f.rule.topic in ("multi_gpu_scaling", "gpu_low_utilization")]


def test_launches_that_cannot_keep_up_are_named_without_any_ranges(export: Export) -> None:
    for at in range(1000):
        export.call(at * 0.02, at * 0.02 + 0.015, at + 1)
        export.kernel(at * 0.02 + 0.016, at * 0.02 + 0.022, ADD, call=at + 1)
    export.close()

    assert diagnosis(export.path).findings[0].rule.id == "launch-bound-small-kernels"


def test_waits_that_empty_the_queue_are_named(export: Export) -> None:
    for step in range(20):
        base = step * 20.0
        for part in range(10):  # launched one by one, while the GPU is faster
            export.call(base + part * 0.5, base + part * 0.5 + 0.01, step * 100 + part + 1)
            export.kernel(base + part * 0.5 + 0.02, base + part * 0.5 + 0.1, ADD, call=step * 100 + part + 1)
        export.call(base + 5, base + 5.01, step * 100 + 50)
        export.kernel(base + 5.02, base + 19.9, GEMM, call=step * 100 + 50)
        export.call(base + 6, base + 19.95, 0, SYNC)
    export.close()

    found = diagnosis(export.path)

    assert found.findings[0].rule.id == "sync-drains-queue"


def test_communication_alone_is_named_where_gradients_are_seen(export: Export) -> None:
    for gpu in (0, 1):
        for step in range(10):
            export.kernel(step * 100, step * 100 + 55, "cudnn_dgrad_kernel", gpu=gpu)
            export.kernel(step * 100 + 55, step * 100 + 100, NCCL, gpu=gpu)
    export.close()

    assert diagnosis(export.path).findings[0].rule.id == "no-comm-overlap"


# --- files that cannot be used ---------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read([Artefact(str(path), path)], no_tick)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (("experiments", "runs", "metrics"), "MLflow"),
        (("rocpd_metadata_x", "rocpd_kernel_dispatch_x"), "rocpd"),
        (("moz_places",), "unknown kind (moz_places)"),
        ((), "unknown kind (without tables)"),
        (("META_DATA_EXPORT", "NVTX_EVENTS"), "without GPU activity"),
    ],
)
def test_other_databases_are_named(tmp_path: Path, tables: Sequence[str], said: str) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
        for table in tables:
            db.execute(f"CREATE TABLE {table} (id INTEGER)")

    assert said in refusal(path)


def test_an_export_without_rows_says_what_to_do(export: Export) -> None:
    export.table(KERNEL, '"start" INT, "end" INT, deviceId INT')
    export.close()

    assert "no GPU did anything" in refusal(export.path)


def test_views_are_not_tables(export: Export) -> None:
    export.table("other", "id INTEGER")
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS start, x AS deviceId FROM c"
    export.db.execute(f"CREATE VIEW {KERNEL} AS {endless}")
    export.close()

    assert "without GPU activity" in refusal(export.path)


def test_columns_that_compute_run_nothing_that_is_not_needed(export: Export) -> None:
    export.table(KERNEL, '"start" INT, "end" INT, deviceId INT AS (length(zeroblob(900000000))) VIRTUAL')
    export.db.execute(f"INSERT INTO {KERNEL} VALUES (1, 2)")
    export.close()

    refusal(export.path)


def test_reading_ends_when_the_time_is_over(export: Export) -> None:
    for at in range(3000):
        export.kernel(at, at + 1)
    export.close()

    def again() -> None:
        with opened(export.path, "x", seconds=0) as db:
            for _ in range(100):
                db.numbers(KERNEL, ("start", "end"))

    with pytest.raises(InputError, match="takes too long"):
        again()


@pytest.mark.parametrize(
    "value", [None, -1, 1 << 62, -(1 << 63), (1 << 63) - 1, 1e300, float("inf"), "text", b"\0\xff", b"x" * 100_000]
)
@pytest.mark.parametrize(
    "column", ["start", "end", "deviceId", "correlationId", "globalPid", "demangledName", "gridX", "streamId"]
)
def test_odd_values_are_no_trouble(export: Export, column: str, value: Any) -> None:
    export.call(0, 1, 1)
    export.kernel(0, 10, call=1)
    export.db.execute(f"INSERT INTO {KERNEL} SELECT * FROM {KERNEL}")
    export.db.execute(f'UPDATE {KERNEL} SET "{column}" = ? WHERE rowid = 2', (value,))

    (told,) = read([export.close()], no_tick)

    known(told)


@pytest.mark.parametrize("column", ["bytes", "copyKind", "srcKind"])
@pytest.mark.parametrize("value", [None, -5, (1 << 63) - 1, "text", 2.5])
def test_odd_copies_are_no_trouble(export: Export, column: str, value: Any) -> None:
    export.copy(0, 10, 1 << 20)
    export.copy(10, 20, 1 << 20)
    export.db.execute(f'UPDATE {COPY} SET "{column}" = ? WHERE rowid = 2', (value,))

    known(read([export.close()], no_tick)[0])


def test_too_many_samples_do_not_hide_the_rest(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.readers.profilers.nsys.database.MAX_ROWS", 3)
    export.kernel(0, 10)
    export.put("TARGET_INFO_GPU_METRICS", typeId=0, metricId=1, metricName="SMs Active [Throughput %]")
    for at in range(9):
        export.put("GPU_METRICS", timestamp=at * MS, typeId=0, metricId=1, value=50)

    told = facts(export)

    assert told["trace.gpu.idle.fraction"] == 0.0
    assert "hw.gpu.sm.active" not in told


def test_too_many_kernels_are_refused(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advisor.readers.profilers.nsys.database.MAX_ROWS", 3)
    for at in range(9):
        export.kernel(at, at + 1)
    export.close()

    assert "profile fewer steps" in refusal(export.path)


def test_more_gpus_than_a_host_has_are_refused(export: Export) -> None:
    for gpu in range(300):
        export.kernel(gpu, gpu + 1, gpu=gpu)
    export.close()

    assert "300 GPUs" in refusal(export.path)


def test_queues_are_counted_per_stream(export: Export) -> None:
    for call in range(12):
        export.call(call * 0.1, call * 0.1 + 0.05, call + 1)
        export.kernel(10 + call, 10.5 + call, call=call + 1, streamId=call % 3)

    assert facts(export)["trace.stream.queue_length.max"] == 4


def test_a_log_of_the_program_stored_as_one_value_does_not_matter(export: Export) -> None:
    export.kernel(0, 10)
    export.put("StringIds", id=9999, value="step iter batch " * 1_000_000)

    assert facts(export)["trace.gpu.idle.fraction"] == 0.0


def test_packed_exports_are_read(export: Export) -> None:
    export.kernel(0, 10)
    data = export.close().path.read_bytes()  # type: ignore[union-attr]
    for name, packed in (("r.sqlite.gz", gzip.compress(data)), ("r.sqlite.zst", zstandard.compress(data))):
        path = export.path.with_name(name)
        path.write_bytes(packed)
        artefact = Artefact(str(path), path)
        kind = recognise(artefact)

        assert kind is not None
        assert known(kind.read([artefact], no_tick)[0])["trace.gpu.idle.fraction"] == 0.0


def small(folder: Path) -> bytes:
    export = Export(folder / "small.sqlite")
    export.call(0, 1, 1)
    for at in range(30):
        export.kernel(at, at + 0.8, call=1)
        export.copy(at, at + 0.1, 1 << 21)
        export.range(at, at + 0.9, f"step {at}")
    return export.close().path.read_bytes()  # type: ignore[union-attr]


def test_a_file_cut_off_anywhere_ends_in_a_sentence(tmp_path: Path) -> None:
    data = small(tmp_path)
    for size in range(16, len(data), 1500):
        path = tmp_path / "cut.sqlite"
        path.write_bytes(data[:size])
        refusal(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations")
    small(folder)
    return folder / "small.sqlite"


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=40))
@example([(0.0, 0)])
def test_changed_bytes_give_facts_or_a_sentence(whole: Path, changes: list[tuple[float, int]]) -> None:
    changed = bytearray(whole.read_bytes())
    for place, value in changes:
        changed[int(place * len(changed))] = value
    path = whole.with_name("changed.sqlite")
    path.write_bytes(changed)

    try:
        told = read([Artefact(str(path), path)], no_tick)
    except InputError:
        refusal(path)
    else:
        known(told[0])


# --- real files --------------------------------------------------------------------------


@needs_samples
def test_a_real_file_of_two_gpus() -> None:
    (told,) = read([Artefact("mfu", SHARED / "mfu_2gpu_after.sqlite")], no_tick)

    shown = known(told)
    ranks = [{f.name: f.value for f in reading.facts} for _, reading in told.ranks]

    assert [r["hw.gpu.utilization"] for r in ranks] == [
        pytest.approx(0.7936, abs=5e-4),
        pytest.approx(0.8399, abs=5e-4),
    ]
    assert [r["trace.gpu.idle.fraction"] for r in ranks] == [
        pytest.approx(0.198, abs=5e-4),
        pytest.approx(0.1516, abs=5e-4),
    ]
    nccl = [float(r["trace.comm.fraction"]) * span for r, span in zip(ranks, (299.251, 299.269), strict=True)]
    assert nccl == [pytest.approx(9.989, rel=5e-3), pytest.approx(23.753, rel=5e-3)]
    assert shown["config.distributed.world_size"] == 2
    assert np.isclose(float(shown["trace.memcpy.h2d.bytes"]), 128)


@needs_samples
def test_real_files_are_judged_as_an_expert_would() -> None:
    assert severe(diagnosis(SHARED / "healthy_1pct.sqlite")) == []
    assert diagnosis(SHARED / "mfu_2gpu_after.sqlite").findings[0].rule.id == "sync-drains-queue"
