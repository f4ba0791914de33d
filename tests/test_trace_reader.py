"""Traces of the PyTorch profiler -> facts, exactly: every format, every version's names, steps, ranks, damage."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.readers import trace
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.paste import read_paste
from advisor.readers.recognise import recognise
from advisor.readers.told import Told
from advisor.readers.trace import pieces, read
from advisor.readers.trace.intervals import Intervals, union
from advisor.readers.trace.kernels import ATTENTION, CAST, COMM, CONV, FP32, GEMM, POINTWISE, TENSOR, classes

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real traces here")
SPECS = kb.load().facts
MAIN, AUTOGRAD = 100, 101
Event = dict[str, Any]


def span(name: str, start: float, end: float, cat: str = "cpu_op", tid: Any = MAIN, **args: Any) -> Event:
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, "ts": start, "dur": end - start, "args": args}


def step(number: int, start: float, end: float) -> Event:
    return span(f"ProfilerStep#{number}", start, end, "user_annotation")


def launched(
    name: str, called: float, start: float, end: float, cat: str = "kernel", call: str = "cudaLaunchKernel", **args: Any
) -> list[Event]:
    """A call that takes 5 us, and the work on stream 7 of device 0 that it launches."""
    link = int(called * 1000) + int(start)
    tid = args.pop("tid", MAIN)
    where = {"device": 0, "stream": 7, "correlation": link, **args}
    return [
        span(call, called, called + 5, "cuda_runtime", tid, correlation=link),
        {**span(name, start, end, cat), "pid": 0, "tid": where["stream"], "args": where},
    ]


def document(events: Sequence[Event], **header: Any) -> dict[str, Any]:
    return {"schemaVersion": 1, **header, "traceEvents": list(events), "traceName": "x.json"}


def told(data: bytes | str | dict[str, Any] | list[Any]) -> Told:
    raw = data if isinstance(data, bytes) else (data if isinstance(data, str) else json.dumps(data)).encode()
    artefact = Artefact("x.pt.trace.json", data=raw)
    kind = recognise(artefact)
    assert kind is not None
    assert kind.name == "a PyTorch trace"
    (one,) = read([artefact], no_tick)
    return one


def known(reading: Reading) -> dict[str, Value]:
    """Facts by name, each in the vocabulary, in its unit and its range."""
    for fact in reading.facts:
        spec = SPECS[fact.name]
        assert fact.unit == spec.unit, fact.name
        if isinstance(fact.value, float):
            assert np.isfinite(fact.value), fact.name
            assert spec.low is None or fact.value >= spec.low, fact.name
            assert spec.high is None or fact.value <= spec.high, fact.name
    return {fact.name: fact.value for fact in reading.facts}


def facts(data: bytes | str | dict[str, Any] | list[Any]) -> dict[str, Value]:
    return known(told(data).readings[0])


def small() -> list[Event]:
    """Two steps of 1000 us, each with a wait for data of 200 us and two kernels."""
    events: list[Event] = []
    for number in (0, 1):
        t = 1000.0 * number
        events += [
            step(number, t, t + 1000),
            span("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", t, t + 200, "user_annotation"),
            span(
                "aten::mm", t + 200, t + 260, **{"Input Dims": [[64, 64], [64, 64]], "Input type": ["float", "float"]}
            ),
            *launched("volta_sgemm_128x64_nn", t + 210, t + 220, t + 520),
            *launched("void at::native::vectorized_elementwise_kernel<4, Add>(int)", t + 300, t + 520, t + 620),
            span("autograd::engine::evaluate_function: MmBackward0", t + 700, t + 750, tid=AUTOGRAD),
        ]
    return events


# --- times ----------------------------------------------------------------------------


def test_a_step_is_broken_down_like_the_tensorboard_plugin_does() -> None:
    found = facts(document(small()))

    assert found["ml.step.time"] == pytest.approx(1e-3)
    assert found["ml.step.count"] == 2
    assert found["trace.step.kernel.fraction"] == pytest.approx(0.4)
    assert found["trace.dataloader.fraction"] == pytest.approx(0.2)
    assert found["trace.step.runtime.fraction"] == pytest.approx(0.005)
    assert found["trace.step.cpu.fraction"] == pytest.approx(0.065)  # 200 to 210, 215 to 220, 700 to 750
    assert found["trace.step.other.fraction"] == pytest.approx(0.33)
    assert found["ml.step.data_wait.fraction"] == pytest.approx(0.2)
    assert found["ml.step.data_wait.time"] == pytest.approx(2e-4)
    assert found["config.dataloader.num_workers"] == 0
    assert (found["run.phase"], found["run.gpu.used"], found["run.framework"]) == ("training", True, "pytorch")


def test_the_device_is_idle_for_what_no_work_covers_and_the_reason_is_the_launch() -> None:
    found = facts(document(small()))

    assert found["trace.gpu.idle.fraction"] == pytest.approx(0.6)
    assert found["hw.gpu.utilization"] == pytest.approx(0.4)
    assert found["trace.gpu.idle.host_wait.fraction"] == pytest.approx(1.0)
    assert found["trace.kernel.count.per_step"] == 2
    assert found["trace.launch.fraction"] == pytest.approx(0.01)
    assert found["trace.kernel.short.fraction"] == 0
    assert found["trace.launch.delay.median"] == pytest.approx(110e-6)  # 5 and 215 us
    assert found["trace.stream.queue_length.max"] == 1


def test_gaps_between_queued_kernels_are_the_hand_over_and_not_the_host() -> None:
    events = [step(1, 0, 200), *launched("a", 0, 10, 50), *launched("b", 6, 54, 100), *launched("c", 12, 140, 200)]
    found = facts(document(events))

    assert found["trace.gpu.idle.fraction"] == pytest.approx(54 / 200)
    assert found["trace.gpu.idle.kernel_wait.fraction"] == pytest.approx(4 / 54)
    assert found["trace.gpu.idle.host_wait.fraction"] == pytest.approx(10 / 54)


def test_a_graph_is_one_launch_however_many_kernels_it_holds() -> None:
    where = {"device": 0, "stream": 7, "correlation": 9}
    kernels = [{**span("k", t, t + 1, "kernel"), "pid": 0, "args": where} for t in range(100, 200, 2)]
    found = facts(document([step(1, 0, 300), span("cudaGraphLaunch", 0, 40, "cuda_runtime", correlation=9), *kernels]))

    assert found["trace.kernel.count.per_step"] == 50
    assert found["trace.graph_launch.count"] == 1
    assert found["trace.kernel.short.fraction"] == 0
    assert found["trace.stream.queue_length.max"] == 1
    assert found["trace.launch.delay.median"] == pytest.approx(60e-6)


def test_a_step_ends_with_the_last_work_launched_in_it_and_the_next_begins_there() -> None:
    events = [
        step(5, 0, 100), *launched("k", 90, 95, 150),
        step(6, 100, 200), *launched("k", 190, 195, 260),
        step(7, 200, 201),  # the profiler's own end: nothing is launched in it
    ]  # fmt: skip
    one = told(document(events))

    assert facts(document(events))["ml.step.time"] == pytest.approx(130e-6)
    assert one.seconds == pytest.approx(260e-6)
    assert "2 steps" in one.readings[0].source.note
    assert "ProfilerStep" in one.readings[0].source.note


def test_work_outside_of_the_steps_is_left_out_and_said() -> None:
    events = [*launched("k", 0, 10, 60), step(1, 100, 200), *launched("k", 100, 110, 150)]
    one = told(document(events))

    assert known(one.readings[0])["trace.gpu.idle.fraction"] == pytest.approx(0.6)
    assert "1 pieces of GPU work outside of the steps are left out" in one.readings[0].source.note


def test_without_steps_the_window_is_the_span_of_the_device_and_without_device_that_of_operators() -> None:
    gpu = told(document([span("aten::mm", 0, 900), *launched("k", 100, 200, 300), *launched("k", 300, 350, 400)]))
    cpu = told(document([span("aten::mm", 50, 900)], deviceProperties=[]))

    assert (gpu.seconds, cpu.seconds) == (pytest.approx(200e-6), pytest.approx(850e-6))
    assert known(gpu.readings[0])["trace.gpu.idle.fraction"] == pytest.approx(0.25)
    assert "ml.step.time" not in known(gpu.readings[0])
    assert known(cpu.readings[0])["run.gpu.used"] is False
    assert not any(name.startswith("trace.gpu") for name in known(cpu.readings[0]))


def test_without_profiler_steps_those_of_the_optimizer_tell_how_many_there_were() -> None:
    events = [e for t in (0.0, 400.0, 900.0) for e in launched("k", t, t + 10, t + 100)]
    events += [span("Optimizer.step#AdamW.step", t + 50, t + 90, "user_annotation") for t in (0.0, 400.0, 900.0)]
    found = facts(document(events))

    assert found["ml.step.time"] == pytest.approx(450e-6)
    assert found["config.optimizer"] == "AdamW"
    assert found["trace.kernel.count.per_step"] == 1


def test_the_span_of_the_device_leaves_out_what_was_launched_before_the_trace() -> None:
    stray = {**span("old", 0, 500, "kernel"), "pid": 0, "args": {"device": 0, "stream": 7, "correlation": 3}}
    copy = launched("Memcpy HtoD (Pageable -> Device)", 790, 800, 900, "gpu_memcpy", bytes=100)
    found = facts(document([stray, *launched("k", 590, 600, 700), *copy]))

    assert found["trace.gpu.span.time"] == pytest.approx(300e-6)
    assert found["trace.gpu.span.busy.fraction"] == pytest.approx(2 / 3)
    assert found["trace.gpu.span.compute.fraction"] == pytest.approx(1 / 3)
    assert found["trace.gpu.span.memcpy.exposed.fraction"] == pytest.approx(1 / 3)


# --- what the work is -----------------------------------------------------------------


def test_copies_count_where_no_kernel_hides_them_and_by_the_memory_they_come_from() -> None:
    up = "Memcpy HtoD (Pageable -> Device)"
    events = [
        step(1, 0, 1000),
        *launched("k", 0, 100, 300),
        *launched(up, 10, 200, 400, "gpu_memcpy", "cudaMemcpyAsync", bytes=2 << 20, stream=9),
        *launched("Memcpy HtoD (Pinned -> Device)", 20, 500, 600, "gpu_memcpy", "cudaMemcpyAsync", bytes=1 << 20),
        *launched("Memcpy DtoH (Device -> Pageable)", 700, 710, 711, "gpu_memcpy", "cudaMemcpyAsync", bytes=4),
    ]
    found = facts(document(events))

    assert found["trace.memcpy.h2d.fraction"] == pytest.approx(0.2)
    assert found["trace.memcpy.h2d.pageable.fraction"] == pytest.approx(2 / 3)
    assert found["trace.memcpy.h2d.bandwidth"] == pytest.approx((3 << 20) / 300e-6)
    assert found["trace.memcpy.d2h.count.per_step"] == 1


def test_communication_is_exposed_where_nothing_computes() -> None:
    sizes = {"Collective name": "allreduce", "In msg nelems": 1000, "Out msg nelems": 1000, "dtype": "BFloat16"}
    events = [
        step(1, 0, 1000),
        span("record_param_comms", 5, 9, **sizes),
        *launched(
            "ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", 10, 100, 500, stream=20
        ),
        *launched("volta_sgemm_64x64_nt", 20, 200, 300),
    ]
    found = facts(document(events, distributedInfo={"backend": "nccl", "rank": 3, "world_size": 16}))

    assert found["trace.comm.fraction"] == pytest.approx(0.4)
    assert found["trace.comm.exposed.fraction"] == pytest.approx(0.3)
    assert found["trace.comm.overlap.fraction"] == pytest.approx(0.25)
    assert found["trace.comm.count.per_step"] == 1
    assert found["trace.comm.message_size.median"] == 2000
    assert (found["comm.backend"], found["run.rank"], found["config.distributed.world_size"]) == ("nccl", 3, 16)


def test_gloo_on_the_cpu_is_communication_too() -> None:
    tensor = {"Input Dims": [[250]], "Input type": ["float"]}
    events = [step(1, 0, 100), span("aten::mm", 0, 20), span("gloo:all_reduce", 10, 60, "user_annotation", 3, **tensor)]
    found = facts(document(events, deviceProperties=[]))

    assert found["trace.comm.fraction"] == pytest.approx(0.5)
    assert found["trace.comm.exposed.fraction"] == pytest.approx(0.4)
    assert found["trace.comm.message_size.median"] == 1000


def test_waits_of_the_host_and_reads_that_cause_them() -> None:
    read_ = launched("Memcpy DtoH (Device -> Pageable)", 510, 512, 514, "gpu_memcpy", "cudaMemcpyAsync", bytes=4)
    frames = [
        span("train.py(12): step", 400, 900, "python_function"),
        span("torch/x.py(3): f", 490, 800, "python_function"),
    ]
    events = [
        step(1, 0, 1000), *launched("k", 0, 10, 600), *frames,
        span("aten::item", 500, 720), span("aten::_local_scalar_dense", 505, 715), *read_,
        span("cudaStreamSynchronize", 520, 700, "cuda_runtime", correlation=77),
        span("aten::_local_scalar_dense", 800, 801),  # of a tensor on the CPU
    ]  # fmt: skip
    one = told(document(events))
    found = known(one.readings[0])

    assert found["trace.sync.count.per_step"] == 1
    assert found["trace.sync.fraction"] == pytest.approx(0.18)
    assert found["trace.item.count.per_step"] == 1
    places = {fact.name: fact.where for fact in one.readings[0].facts if fact.where}
    assert places["trace.item.count.per_step"] == "train.py:12"


def test_the_wait_of_the_profiler_when_it_stops_is_not_the_programs() -> None:
    last = span("cudaDeviceSynchronize", 102, 190, "cuda_runtime", correlation=77)
    work = launched("k", 90, 95, 200)

    assert facts(document([step(1, 0, 100), *work, last]))["trace.sync.fraction"] == 0
    assert facts(document([*work, last]))["trace.sync.fraction"] == 0
    assert facts(document([step(1, 0, 110), *work, last]))["trace.sync.fraction"] == pytest.approx(88 / 200)


def test_tensor_cores_are_missed_by_the_kernels_of_products_not_by_their_neighbours() -> None:
    half = {"Input Dims": [[64, 63], [63, 64]], "Input type": ["c10::Half", "c10::Half"]}
    events = [
        step(1, 0, 1000),
        span("aten::mm", 0, 20), *launched("my_own_product", 5, 100, 400),
        span("aten::mm", 30, 50, **half), *launched("ampere_fp16_s16816gemm_fp16_128x64_ldg8_nn", 35, 400, 600),
        *launched("void at::native::vectorized_elementwise_kernel<4, Add>(int)", 70, 600, 700),
    ]  # fmt: skip
    gpu = {
        "id": 0,
        "name": "NVIDIA A100",
        "totalGlobalMem": 8 << 30,
        "computeMajor": 8,
        "computeMinor": 0,
        "warpSize": 32,
    }
    found = facts(document(events, deviceProperties=[gpu] * 4, cuda_runtime_version=12040))

    assert found["trace.tensor_core.eligible_unused.fraction"] == pytest.approx(0.5)
    assert found["trace.matmul.misaligned.fraction"] == pytest.approx(0.4)
    assert found["trace.elementwise.fraction"] == pytest.approx(1 / 6)
    assert (found["hw.gpu.model"], found["hw.gpu.count"], found["hw.gpu.memory.limit"]) == ("NVIDIA A100", 4, 8 << 30)
    assert (found["hw.gpu.compute_capability"], found["config.torch.cuda_build"]) == ("8.0", "12.4")


def test_amd_has_no_compute_capability() -> None:
    gpu = {
        "id": 0,
        "name": "AMD Instinct MI300X",
        "totalGlobalMem": 1,
        "computeMajor": 9,
        "computeMinor": 4,
        "warpSize": 64,
    }
    found = facts(
        document(
            launched("Cijk_Ailk_Bljk_BBS_BH_MT128", 0, 1, 50, call="hipExtModuleLaunchKernel"), deviceProperties=[gpu]
        )
    )

    assert "hw.gpu.compute_capability" not in found
    assert "trace.tensor_core.eligible_unused.fraction" not in found
    assert found["trace.matmul.fraction"] == 1


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", COMM),
        ("void vllm::cross_device_reduce_1stage<__hip_bfloat16, 8>(vllm::RankData*)", COMM),
        ("ampere_sgemm_128x64_nn", GEMM | FP32),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64", GEMM | TENSOR),
        ("nvjet_tst_64x16_64x16_2x4_2cta_h_bz_bias_TNT", GEMM | TENSOR),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_128x128_8x4_nn_align1>(Params)", GEMM | FP32),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_128x128_16x4_nt_align4>(Params)", GEMM | TENSOR),
        ("Cijk_Alik_Bljk_HHS_BH_MT64x64x32", GEMM),
        ("void flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128>>(Flash_fwd_params)", ATTENTION | TENSOR),
        ("volta_scudnn_128x64_relu_interior_nn_v1", CONV | FP32),
        ("triton_poi_fused_convolution_relu_3", POINTWISE),
        ("void fbgemm_gpu::permute_2D_data_kernel<false>(int)", POINTWISE),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>>(int)", POINTWISE),
        ("void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda>(int)", POINTWISE | CAST),
    ],
)
def test_kernels_are_known_by_their_names(name: str, bits: int) -> None:
    assert classes([name], np.zeros(1, np.int32))[0] == bits


def test_habits_of_the_program() -> None:
    loop = [
        e
        for i in range(12)
        for e in (span("aten::select", i * 10, i * 10 + 2), span("aten::add", i * 10 + 4, i * 10 + 6))
    ]
    copy = launched("Memcpy HtoD (Pageable -> Device)", 312, 320, 330, "gpu_memcpy", "cudaMemcpyAsync", bytes=8)
    events = [
        step(1, 0, 1000), *loop,
        span("aten::zeros", 300, 305), span("aten::to", 310, 325), *copy,
        *(span("torch::autograd::AccumulateGrad", t, t + 1, tid=AUTOGRAD) for t in (400, 410)),
        span("Optimizer.zero_grad#SGD.zero_grad", 450, 470, "user_annotation"), *launched("fill", 455, 460, 500),
        span("Optimizer.step#SGD.step", 500, 600, "user_annotation"), span("aten::add_", 510, 520),
        *(e for t in (510, 520, 530, 540) for e in launched("add", t, t + 100, t + 105)),
    ]  # fmt: skip
    found = facts(document(events))

    assert found["trace.python.forloop_indexing.count"] == 1
    assert found["trace.cpu_init_copy.count"] == 1
    assert found["trace.optimizer.kernels_per_param"] == 2
    assert found["trace.optimizer.fraction"] == pytest.approx(0.02)
    assert found["config.optimizer.implementation"] == "for-loop"
    assert found["trace.zero_grad.memset.fraction"] == pytest.approx(40 / 70)


def test_a_bias_before_batch_norm_and_attention_in_pieces() -> None:
    bias = {"Input Dims": [[1, 3, 8, 8], [4, 3, 3, 3], [4]], "Input type": ["float", "float", "float"]}
    events = [step(1, 0, 100), span("aten::conv2d", 0, 10, **bias), span("aten::batch_norm", 12, 20)]
    events += [span(f"aten::{name}", t, t + 4) for t, name in ((30, "bmm"), (40, "_softmax"), (50, "bmm"))]
    found = facts(document([*events, *launched("k", 60, 70, 80)]))

    assert found["trace.conv_bias_bn.count"] == 1
    assert found["trace.attention.unfused"] is True


def test_the_allocator_shows_its_peak_and_its_growth() -> None:
    events = [step(i, 100.0 * i, 100.0 * i + 100) for i in range(6)]
    for i in range(6):
        for t, live in ((10, 500), (90, 100 + 10 * i)):
            args = {"Device Type": 1, "Device Id": 0, "Bytes": 1, "Total Allocated": live, "Total Reserved": 1000}
            events.append({"ph": "i", "cat": "cpu_instant_event", "name": "[memory]", "ts": 100 * i + t, "args": args})
    events.append({**events[-1], "args": {"Device Type": 0, "Total Allocated": 10**12}})
    found = facts(document(events))

    assert found["torch.cuda.memory.allocated.peak"] == 500
    assert found["torch.cuda.memory.reserved_unused.fraction"] == pytest.approx(0.5)
    assert found["torch.cuda.memory.allocated.slope"] == pytest.approx(10)


def test_the_moment_is_that_of_the_base_or_of_the_times_themselves() -> None:
    later = [{**e, "ts": e["ts"] + 1_700_000_000e6} for e in small()]

    assert told(document(small(), baseTimeNanoseconds=1_700_000_000_000_000_000)).started == pytest.approx(1.7e9)
    assert told(document(later)).started == pytest.approx(1.7e9)
    assert told(document(small())).started is None


def test_the_picture_shows_when_the_device_was_busy() -> None:
    series = told(document(small())).readings[0].series["hw.gpu.utilization"]

    assert series.t[0] == 0
    assert series.v == (0.56, 0.24, 0.56, 0.24)  # 220 to 520, 520 to 620


# --- formats --------------------------------------------------------------------------

OLD = {
    "cpu_op": "Operator", "user_annotation": "Operator", "kernel": "Kernel", "cuda_runtime": "Runtime",
    "gpu_memcpy": "Memcpy", "gpu_memset": "Memset",
}  # fmt: skip


def old(events: Iterable[Event]) -> list[Event]:
    """The same with the names of 2021."""
    return [
        {
            **e,
            "cat": OLD.get(e["cat"], e["cat"]),
            "tid": f"stream {e['tid']}" if e["cat"] == "kernel" else str(e["tid"]),
        }
        for e in events
    ]


def kineto(doc: dict[str, Any]) -> str:
    """As Kineto prints it: two lines and arguments for an event."""
    lines = [json.dumps(e)[1:-1].replace(', "args"', ',\n    "args"') for e in doc["traceEvents"]]
    head = {k: v for k, v in doc.items() if k not in ("traceEvents", "traceName")}
    inner = ",\n".join(f"  {{\n    {line}\n  }}" for line in lines)
    events = f'"traceEvents": [\n{inner}\n  ],\n  "traceName": "x",\n  "displayTimeUnit": "ms"\n}}\n'
    return f"\n{json.dumps(head)[:-1]},\n  {events}"


FORMS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "kineto": lambda d: kineto(d).encode(),
    "kineto with CRLF": lambda d: kineto(d).replace("\n", "\r\n").encode(),
    "spaces": lambda d: json.dumps(d).encode(),
    "compact": lambda d: json.dumps(d, separators=(",", ":")).encode(),
    "indented": lambda d: json.dumps(d, indent=4).encode(),
    "tabs": lambda d: json.dumps(d, indent="\t").encode(),
    "sorted": lambda d: json.dumps(d, sort_keys=True).encode(),
    "events first": lambda d: json.dumps({"traceEvents": d["traceEvents"], **d}).encode(),
    "bare list": lambda d: json.dumps(d["traceEvents"]).encode(),
    "bare sorted list": lambda d: json.dumps(d["traceEvents"], sort_keys=True).encode(),
    "mark of UTF-8": lambda d: b"\xef\xbb\xbf" + json.dumps(d).encode(),
    "gzip": lambda d: gzip.compress(json.dumps(d).encode()),
    "2021": lambda d: json.dumps({**d, "traceEvents": old(d["traceEvents"])}).encode(),
}


@pytest.mark.parametrize("chunk", [40, 257, 1 << 18])
@pytest.mark.parametrize("form", FORMS)
def test_any_formatting_and_version_gives_the_same_facts(
    form: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "CHUNK", chunk)
    assert facts(FORMS[form](document(small()))) == facts(document(small()))


@pytest.mark.parametrize("chunk", [64, 100, 1 << 18])
def test_braces_and_quotes_in_strings_and_lists_of_objects_do_not_end_an_event(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "CHUNK", chunk)
    odd = ['}, {"ph": "X"', 'a \\" }, {', "\\", 'x\\\\" ]}', "{lambda()#1}, {lambda()#2}", "naïve 😀", "\x01"]
    strange = [span(name, 10.0 * i, 10.0 * i + 5, a=[{"b": 1}, {"c": [[]]}], s=name) for i, name in enumerate(odd)]
    found = facts(json.dumps(document([*strange, *small()])))

    more = ("trace.step.cpu.fraction", "trace.step.other.fraction")  # the odd ones take time as well
    assert found == facts(document(small())) | {name: found[name] for name in more}


def test_what_breaks_the_standard_is_read_all_the_same() -> None:
    text = json.dumps(document(small()))
    words = text.replace(
        '"correlation": ', '"est. achieved occupancy %": NaN, "blocks per SM": inf, "bytes": N/A, "correlation": '
    )
    paths = text.replace('"aten::mm"', r'"aten::mm", "file": "C:\Users\x"')
    times = re.sub(r'"(ts|dur)": ([\d.]+)', r'"\1": "\2"', text)

    for broken in (words, paths, times):
        assert facts(broken) == facts(text)


def test_events_without_a_sensible_time_are_left_out_and_counted() -> None:
    bad = [
        {**span("aten::add", 0, 1), "dur": -5}, {**span("aten::add", 0, 1), "dur": None},
        {**span("aten::add", 0, 1), "ts": None},
        {"ph": "X", "cat": "cpu_op", "name": "aten::add"},
    ]  # fmt: skip
    one = told(document([*small(), *bad, {"ph": "M", "name": "process_name", "args": {"name": "python"}}]))

    assert known(one.readings[0]) == facts(document(small()))
    assert "4 events without a sensible time" in one.readings[0].source.note


def test_steps_that_were_recorded_twice_count_once() -> None:
    twice = [*small(), *(e for e in small() if e["name"].startswith("ProfilerStep"))]
    shadow = [{**e, "cat": "gpu_user_annotation", "pid": 0} for e in small() if e["name"].startswith("ProfilerStep")]

    assert facts(document([*twice, *shadow]))["ml.step.count"] == 2


def test_work_is_linked_by_the_external_id_where_there_is_no_correlation() -> None:
    call = span("cudaLaunchKernel", 10, 15, "cuda_runtime", **{"External id": 100})
    kernel = {**span("aiter_fused_moe_kernel", 50, 90, "kernel"), "pid": 0, "args": {"device": 0, "External id": 100}}

    assert facts(document([call, kernel]))["trace.launch.delay.median"] == pytest.approx(35e-6)


def test_the_busiest_of_several_devices_is_looked_at() -> None:
    events = [*launched("k", 0, 10, 20, device=1), *launched("k", 30, 40, 90), *launched("k", 60, 190, 200)]
    one = told(document(events))

    assert one.seconds == pytest.approx(190e-6)
    assert known(one.readings[0])["trace.gpu.span.time"] == pytest.approx(160e-6)
    assert "of 2 devices" in one.readings[0].source.note


# --- damage ---------------------------------------------------------------------------


def test_a_trace_that_breaks_off_says_how_far_it_is_whole() -> None:
    text = FORMS["kineto"](document(small()))
    end = text.rindex(b"]")
    for cut in range(text.index(b"[") + 1, end, 13):
        with pytest.raises(
            InputError, match=r"breaks off: of [\d,]+ bytes that are there, [\d,]+ hold whole events"
        ) as e:
            told(text[:cut])
        assert str(e.value).count("\n") == 0


@pytest.mark.parametrize("form", ["kineto", "compact"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_is_done_to_a_trace_there_is_an_answer_or_one_sentence(form: str, data: st.DataObject) -> None:
    text = bytearray(FORMS[form](document(small())))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=8) | st.sampled_from(HOSTILE))
    found: list[Told] = []
    sentence = ""
    try:
        found = read([Artefact("x.json", data=bytes(text))], no_tick)
    except InputError as error:
        sentence = str(error)
    assert all(known(one.readings[0]).keys() <= SPECS.keys() for one in found)
    assert "\n" not in sentence


@pytest.mark.parametrize("number", ["1e300", "-1e300", "9" * 400, "1e999", "-0.0", "null", '"x"', "[]", "{}", "true"])
def test_no_number_is_too_odd(number: str) -> None:
    gpu = {"id": 0, "name": "N", "totalGlobalMem": -77, "computeMajor": -77, "computeMinor": 0}
    sizes = {"In msg nelems": -77, "dtype": "float", "Input Dims": [[-77, -77]], "Input type": ["float"], "bytes": -77}
    rank = {"rank": -77, "world_size": -77}
    for at in ("ts", "dur", "pid", "tid", "args"):
        odd = [{**span("nccl:all_reduce", 5, 9, "user_annotation", **sizes), at: -77}]
        odd += [{**e, at: -77} for e in launched("Memcpy HtoD (Pageable -> Device)", 20, 30, 40, "gpu_memcpy", **sizes)]
        whole = document([*small(), *odd], deviceProperties=[gpu], distributedInfo=rank, baseTimeNanoseconds=-77)
        with suppress(InputError):
            one = told(json.dumps(whole).replace("-77", number))
            known(one.readings[0])
            assert one.started is None or 0 < one.started < 1e10


HOSTILE = [
    b"[" * 3000,
    b'{"a":' * 3000,
    b"1e999",
    b"-1e308",
    b'"',
    b"\\",
    b"]",
    b"null",
    b"NaN",
    b"9" * 5000,
    b"\x00",
    b"\xff",
]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"traceEvents": []}', "without a single event"),
        ('[{"ph": "X", "cat": "GC", "name": "x", "ts": 1, "dur": 2}]', "Chrome trace.*categories: GC"),
        ('{"deviceProperties": []}', "no list of events"),
        ('{"schemaVersion": 1, "traceEvents": [{"ph": "M", "cat": "cpu_op"}]}', "nothing takes time"),
        ('{"traceEvents": [1, 2, "x", null, [], {"ph": "X", "cat": "kernel"}]}', "nothing takes time"),
        ('{"traceEvents": [' + "[" * 100_000, "breaks off"),
        ('{"traceEvents": [{"ph": ' + "[" * 50_000 + "]" * 50_000 + "}]}", "damaged"),
    ],
)
def test_what_holds_nothing_useful_is_said_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        read([Artefact("x.json", data=text.encode())], no_tick)
    assert "\n" not in str(error.value)
    assert "x.json" in str(error.value)


def test_an_event_that_never_ends_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MAX_EVENT", 1 << 20)
    with pytest.raises(InputError, match="an event of more than"):
        read([Artefact("x.json", data=b'{"traceEvents": [{"name": "' + b"x" * (3 << 20) + b'"}]}')], no_tick)


def test_other_json_is_not_taken_for_a_trace() -> None:
    for text in ('{"schema": 1}', '[{"a": 1}]', '{"facts": {}}', "[1, 2]"):
        kind = recognise(Artefact("x.json", data=text.encode()))
        assert kind is None or kind.name != "a PyTorch trace"
    assert read_paste("my traceEvents: [] are slow") is None


# --- ranks ----------------------------------------------------------------------------


def of_rank(rank: int | None, late: float = 0.0, at: float = 1.7e15, world: int = 2) -> bytes:
    """A step of 1000 us in which the rank computes 100 us and `late`, then all reduce and leave together."""
    events = [
        step(1, at, at + 1000), *launched("volta_sgemm_64x64_nn", at, at + 10, at + 110 + late),
        *launched("ncclKernel_AllReduce_RING_LL_Sum_float", at + 50, at + 110 + late, at + 900, stream=20),
        *([] if rank is None else [span("autograd::engine::evaluate_function: X", at + 100, at + 110)]),
    ]  # fmt: skip
    return json.dumps(
        document(events, distributedInfo={} if rank is None else {"rank": rank, "world_size": world})
    ).encode()


def test_ranks_are_one_run_and_the_slow_one_waits_least() -> None:
    ranks = [Artefact(f"r{r}.json", data=of_rank(r, late, world=4)) for r, late in ((2, 0), (0, 300), (1, 0), (3, 0))]
    (one,) = read(ranks, no_tick)
    own = {name: known(reading)["ml.step.local.time"] for name, reading in one.ranks}
    shared = known(one.readings[0])

    assert list(own) == ["rank 0", "rank 1", "rank 2", "rank 3"]
    assert own["rank 0"] == pytest.approx(510e-6)
    assert own["rank 1"] == pytest.approx(210e-6)
    assert shared["trace.comm.wait_skew"] == pytest.approx(300e-6)
    assert shared["trace.comm.exposed.fraction"] == pytest.approx(0.79)
    assert "run.rank" not in shared
    assert "4 ranks" in one.readings[0].source.note


def test_two_traces_of_one_rank_or_of_different_runs_are_apart() -> None:
    for pair in (
        (of_rank(0), of_rank(0)),
        (of_rank(0), of_rank(1, world=8)),
        (of_rank(0), of_rank(1, at=1.8e15)),
        (json.dumps(document(small())).encode(), json.dumps(document(small())).encode()),
    ):
        assert len(read([Artefact(f"{i}.json", data=data) for i, data in enumerate(pair)], no_tick)) == 2


def test_processes_that_communicate_at_once_are_ranks_also_when_nothing_numbers_them() -> None:
    second = of_rank(None).replace(b'"pid": 7', b'"pid": 8')
    (one,) = read([Artefact("a.json", data=of_rank(None)), Artefact("b.json", data=second)], no_tick)

    assert [name for name, _ in one.ranks] == ["rank 0", "rank 1"]


def test_large_files_are_read_by_processes_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{rank}.json" for rank in (0, 1)]
    for rank, path in enumerate(paths):
        path.write_bytes(of_rank(rank))
    artefacts = [Artefact(str(path), path) for path in paths]
    alone = read(artefacts, no_tick)
    done: list[int] = []
    monkeypatch.setattr(trace, "WORTH_PROCESSES", 1)
    monkeypatch.setattr(trace.os, "cpu_count", lambda: 2)

    assert read(artefacts, done.append) == alone
    assert sum(done) == sum(path.stat().st_size for path in paths)


def test_a_broken_file_is_said_also_from_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, broken = tmp_path / "a.json", tmp_path / "b.json"
    whole.write_bytes(of_rank(0))
    broken.write_bytes(of_rank(1)[:-300])
    monkeypatch.setattr(trace, "WORTH_PROCESSES", 1)
    monkeypatch.setattr(trace.os, "cpu_count", lambda: 2)

    with pytest.raises(InputError, match=r"b\.json breaks off"):
        read([Artefact(path.name, path) for path in (whole, broken)], no_tick)


# --- intervals ------------------------------------------------------------------------

spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=12)


@given(spans, spans)
def test_intervals_measure_what_counting_moments_gives(a: list[tuple[int, int]], b: list[tuple[int, int]]) -> None:
    def moments(parts: list[tuple[int, int]]) -> set[int]:
        return {m for start, length in parts for m in range(start, start + length)}

    def made(parts: list[tuple[int, int]]) -> Intervals:
        return union(np.array([s for s, _ in parts], float), np.array([s + n for s, n in parts], float))

    one, two = made(a), made(b)
    assert one.length == len(moments(a))
    assert one.within(two) == len(moments(a) & moments(b))
    assert one.shared(two).length == len(moments(a) & moments(b))
    assert one.gaps(two).length == len(moments(b) - moments(a))
    assert one.each(two).sum() == one.within(two)


# --- real traces ----------------------------------------------------------------------

KINETO = SHARED / "kineto_trace"


def sample(path: str) -> dict[str, Value]:
    (one,) = read([Artefact(path, SHARED / path)], no_tick)
    return known(one.readings[0])


@needs_samples
@pytest.mark.parametrize(
    ("path", "wait"), [("dl_starved_w0", 0.9681), ("dl_starved_w2", 0.9146), ("dl_healthy", 0.6114)]
)
def test_waits_for_data_agree_with_what_was_timed_in_the_loop(path: str, wait: float) -> None:
    # The loop was timed around the loader's call, the profiler inside of it.
    assert sample(f"generated/{path}.json")["ml.step.data_wait.fraction"] == pytest.approx(wait, rel=0.02)


@needs_samples
@pytest.mark.parametrize(
    ("path", "total", "busy", "compute", "copies"),
    [
        ("h100__gaunernst_bert-small-uncased__1016001", 3.908, 7.918, 7.861, 0.057),
        ("h100__Qwen_Qwen1.5-0.5B-Chat__1016005", 34.892, 91.440, 91.433, 0.007),
        ("mi300__Qwen_Qwen1.5-0.5B-Chat__1016005", 33.131, 89.776, 89.774, 0.002),
        ("mi300__gaunernst_bert-small-uncased__1016001", 3.496, 11.177, 11.108, 0.069),
        ("inference__vllm_prefilldecode_piecewise__graph_execution", 156.466, 99.757, 99.707, 0.049),
        ("torch_compile_triton__trace", 12.549, 100.0, 100.0, 0.0),
    ],
)
def test_the_span_of_the_device_agrees_with_tracelens(
    path: str, total: float, busy: float, compute: float, copies: float
) -> None:
    found = sample(f"kineto_trace/tracelens/{path}.json.gz")

    assert found["trace.gpu.span.time"] == pytest.approx(total * 1e-3, rel=0.005)
    assert found["trace.gpu.span.busy.fraction"] == pytest.approx(busy / 100, rel=0.005)
    assert found["trace.gpu.span.compute.fraction"] == pytest.approx(compute / 100, rel=0.005)
    assert found["trace.gpu.span.memcpy.exposed.fraction"] == pytest.approx(copies / 100, abs=1e-5)


@needs_samples
def test_the_breakdown_agrees_with_the_tensorboard_plugin() -> None:
    folder = KINETO / "kineto_tb" / "resnet50_num_workers_4"
    found = sample(str(next(folder.iterdir()).relative_to(SHARED)))

    assert found["ml.step.time"] == pytest.approx(0.141068, rel=0.001)
    for name, percent in (
        ("kernel", 70.28),
        ("memcpy", 2.24),
        ("memset", 0.07),
        ("runtime", 7.49),
        ("cpu", 16.07),
        ("other", 3.01),
    ):
        assert found[f"trace.step.{name}.fraction"] == pytest.approx(percent / 100, abs=5e-5), name
    assert found["trace.dataloader.fraction"] == pytest.approx(0.0084, abs=5e-5)
    assert found["trace.tensor_core.eligible_unused.fraction"] == pytest.approx(0.68, abs=0.005)
    assert found["trace.kernel.occupancy.mean"] == pytest.approx(0.4891, rel=0.005)


@needs_samples
def test_eight_ranks_agree_with_holistic_trace_analysis() -> None:
    ranks = [Artefact(path.name, path) for path in sorted((KINETO / "param_dlrm8").iterdir())]
    (one,) = read(ranks, no_tick)
    overlaps = {name: known(reading)["trace.comm.overlap.fraction"] for name, reading in one.ranks}

    assert len(one.ranks) == 8
    assert overlaps["rank 2"] == pytest.approx(0.0788, abs=5e-5)


@needs_samples
@pytest.mark.parametrize(
    ("path", "overlap"), [("timeline_analysis__sampled_rank-0", 0.1495), ("trace_diff__test__test", 0.6907)]
)
def test_overlap_in_the_span_of_the_device_agrees_with_holistic_trace_analysis(path: str, overlap: float) -> None:
    found = sample(f"kineto_trace/hta/{path}.json.gz")

    assert found["trace.gpu.span.comm.overlap.fraction"] == pytest.approx(overlap, abs=5e-5)
