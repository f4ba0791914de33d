"""Kineto traces: one thread that launches work, one that runs backward, a stream that computes, one for collectives.

Times follow from what each operator costs on the CPU and each kernel on the GPU: a kernel starts when it was launched
and the stream is free, a launch blocks while the queue is full, and a synchronising call waits for the stream.
"""

# ruff: noqa: E501 - lines of tools are as long as they are

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from bench.accuracy.captures.machine import Machine

# Times in microseconds; kernels of one transformer layer of a medium model in 16 bits.
DEFAULTS: dict[str, Any] = {
    "steps": 5, "layers": 24, "op": 6.0, "launch": 5.0, "gemm": 190.0, "pointwise": 38.0, "attention": 150.0,
    "extra_ops": 0, "extra": 4.0, "syncs": 0, "copy_mb": 4.0, "pinned": True, "pcie_gb_s": 24.0, "loader": 40.0,
    "workers": 8, "metric": 0.0, "comm_mb": 0.0, "busbw": 150.0, "overlap": True, "world": 1, "tensor": True, "fused": True,
    "params": 290, "readback_mb": 0.0, "grid": 528,
}  # fmt: skip
MAIN, AUTOGRAD, STREAM, COMM, COPY = 4101, 4188, 7, 20, 7
QUEUE = 1000  # launches that the driver takes before a further one waits


class Trace:
    """The events so far, and where the threads and the streams are, in microseconds."""

    def __init__(self, told: Mapping[str, Any], jitter: Any) -> None:
        self.told, self.jitter = {**DEFAULTS, **told}, jitter
        self.events: list[dict[str, Any]] = []
        self.cpu = 1000.0
        self.free = {STREAM: 0.0, COMM: 0.0}
        self.started: deque[float] = deque()
        self.link = 0

    def span(self, name: str, cat: str, start: float, end: float, tid: int, **args: Any) -> None:
        """One event of the CPU."""
        event = {"ph": "X", "cat": cat, "name": name, "pid": 4101, "tid": tid, "ts": round(start, 3)}
        self.events.append({**event, "dur": round(end - start, 3), "args": args})

    def launch(
        self, kernel: str, takes: float, tid: int, stream: int = STREAM, after: float = 0.0, **args: Any
    ) -> float:
        """Launch work; its end on the GPU."""
        call = self.cpu
        if len(self.started) >= QUEUE:
            call = max(call, self.started.popleft())
        self.link += 1
        end = call + self.told["launch"]
        start = max(end + 2.0, self.free[stream] + 1.0, after)
        takes *= self.jitter.uniform(0.98, 1.02)
        cat = "gpu_memcpy" if kernel.startswith("Memcpy") else "gpu_memset" if kernel.startswith("Memset") else "kernel"
        runtime = {"kernel": "cudaLaunchKernel", "gpu_memcpy": "cudaMemcpyAsync", "gpu_memset": "cudaMemsetAsync"}[cat]
        self.span(runtime, "cuda_runtime", self.cpu, end, tid, cbid=211, correlation=self.link)
        where = {"device": 0, "context": 1, "stream": stream, "correlation": self.link, "External id": self.link}
        if cat == "kernel":
            where |= {"grid": [args.pop("grid", self.told["grid"]), 1, 1], "block": [128, 1, 1], "registers per thread": 168,
                      "shared memory": 49152, "est. achieved occupancy %": 31, "queued": 0}  # fmt: skip
        self.events.append({"ph": "X", "cat": cat, "name": kernel, "pid": 0, "tid": stream, "ts": round(start, 3),
                            "dur": round(takes, 3), "args": {**where, **args}})  # fmt: skip
        self.cpu, self.free[stream] = end, start + takes
        self.started.append(start)
        return start + takes

    def op(self, name: str, kernel: str, takes: float, tid: int = MAIN, **args: Any) -> float:
        """An operator that launches one kernel."""
        begin = self.cpu
        self.cpu += self.told["op"] * 0.6
        done = self.launch(kernel, takes, tid, **args)
        self.cpu += self.told["op"] * 0.4
        self.span(name, "cpu_op", begin, self.cpu, tid)
        return done

    def wait(self, call: str, until: float, tid: int = MAIN) -> None:
        """A call that blocks until the GPU has got somewhere."""
        end = max(self.cpu + 3.0, until + 5.0)
        self.link += 1
        self.span(call, "cuda_runtime", self.cpu, end, tid, cbid=131, correlation=self.link)
        self.cpu = end


def trace(machine: Machine) -> dict[str, str]:
    """``torch.profiler`` over some steps, exported as JSON."""
    told = machine.section("trace")
    made = Trace(told, machine.noise("trace"))
    for n in range(made.told["steps"]):
        _step(made, n)
    made.wait("cudaDeviceSynchronize", max(made.free.values()))
    t = made.told
    model = machine.model
    properties = {"id": 0, "name": model.name, "totalGlobalMem": model.memory * 2**20, "computeMajor": 9 if model.gen == 5 else 8,
                  "computeMinor": 0, "maxThreadsPerBlock": 1024, "numSms": 132 if model.gen == 5 else 108, "warpSize": 32}  # fmt: skip
    header: dict[str, Any] = {"schemaVersion": 1, "deviceProperties": [properties], "record_shapes": 0, "with_stack": 0}
    if t["world"] > 1:
        header["distributedInfo"] = {"backend": "nccl", "rank": 0, "world_size": t["world"], "pg_count": 1}
    return {
        "rank0.pt.trace.json": json.dumps({**header, "traceEvents": made.events, "traceName": "rank0.pt.trace.json"})
    }


def _step(t: Trace, n: int) -> None:
    told, begin = t.told, t.cpu
    _load(t)
    for _ in range(told["layers"]):
        _forward(t)
        for _ in range(told["syncs"]):
            _item(t)
    _loss(t)
    reduced = _backward(t)
    _optimizer(t, reduced)
    t.cpu += 30.0
    t.span(f"ProfilerStep#{n + 1}", "user_annotation", begin, t.cpu, MAIN)


def _load(t: Trace) -> None:
    """The next batch, and its copy to the GPU; memory that is not pinned is staged by a call that blocks."""
    told, begin = t.told, t.cpu
    kind = "_MultiProcessingDataLoaderIter" if told["workers"] else "_SingleProcessDataLoaderIter"
    t.cpu += told["loader"]
    t.span(f"enumerate(DataLoader)#{kind}.__next__", "user_annotation", begin, t.cpu, MAIN)
    begin = t.cpu
    rate = told["pcie_gb_s"] if told["pinned"] else 0.24 * told["pcie_gb_s"]
    source = "Pinned" if told["pinned"] else "Pageable"
    size = told["copy_mb"] * 1e6
    done = t.launch(f"Memcpy HtoD ({source} -> Device)", size / rate / 1e3, MAIN, bytes=round(size),
                    **{"memory bandwidth (GB/s)": rate})  # fmt: skip
    if not told["pinned"]:
        t.wait("cudaStreamSynchronize", done)
    t.span("aten::copy_", "cpu_op", begin, t.cpu, MAIN)


def _gemm(told: Mapping[str, Any]) -> str:
    return "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1x1x1_execute_segment_k_off_kernel__5x_cublas" \
        if told["tensor"] else "ampere_sgemm_128x64_tn"  # fmt: skip


_POINTWISE = (
    "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl(at::TensorIteratorBase&)>"
)
_SMALL = "void at::native::unrolled_elementwise_kernel<at::native::CUDAFunctor_add<float>>"
_NORM = "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<c10::BFloat16, float>"
_FLASH = "void pytorch_flash::flash_fwd_kernel<pytorch_flash::Flash_fwd_kernel_traits<64, 128, 128, 4>>"


def _forward(t: Trace) -> None:
    told = t.told
    t.op("aten::layer_norm", _NORM, told["pointwise"])
    t.op("aten::addmm", _gemm(told), told["gemm"])
    t.op("aten::scaled_dot_product_attention", _FLASH, told["attention"])
    t.op("aten::addmm", _gemm(told), told["gemm"] * 0.4)
    t.op("aten::layer_norm", _NORM, told["pointwise"])
    t.op("aten::addmm", _gemm(told), told["gemm"])
    t.op("aten::gelu", _POINTWISE, told["pointwise"])
    t.op("aten::addmm", _gemm(told), told["gemm"])
    for _ in range(told["extra_ops"]):
        t.op("aten::add", _SMALL, told["extra"], grid=8)


def _loss(t: Trace) -> None:
    t.op(
        "aten::nll_loss_forward", "void at::native::(anonymous namespace)::nll_loss_forward_reduce_cuda_kernel_2d", 24.0
    )
    if t.told["readback_mb"]:
        begin, size = t.cpu, t.told["readback_mb"] * 1e6
        done = t.launch("Memcpy DtoH (Device -> Pageable)", size / (0.24 * t.told["pcie_gb_s"]) / 1e3, MAIN,
                        bytes=round(size))  # fmt: skip
        t.wait("cudaStreamSynchronize", done)
        t.span("aten::_to_copy", "cpu_op", begin, t.cpu, MAIN)
        begin, t.cpu = t.cpu, t.cpu + t.told["metric"]
        t.span("aten::argmax", "cpu_op", begin, t.cpu, MAIN)


def _backward(t: Trace) -> float:
    """Twice the products of forward, on the thread of autograd; gradients are reduced per layer or after all."""
    told, reduced, begin = t.told, 0.0, t.cpu
    per_layer = told["comm_mb"] / told["layers"]
    for _ in range(told["layers"]):
        start = t.cpu
        for share in (1.0, 1.0, 0.4, 1.0):
            t.op("aten::mm", _gemm(told), told["gemm"] * share, AUTOGRAD)
            t.op("aten::mm", _gemm(told), told["gemm"] * share, AUTOGRAD)
        t.op("aten::_flash_attention_backward", _FLASH.replace("fwd", "bwd"), told["attention"] * 2.2, AUTOGRAD)
        done = t.op("aten::gelu_backward", _POINTWISE, told["pointwise"] * 1.5, AUTOGRAD)
        for _ in range(told["extra_ops"]):
            done = t.op("aten::mul", _SMALL, told["extra"], AUTOGRAD, grid=8)
        for _ in range(told["params"] // told["layers"]):
            t.span(
                "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad",
                "cpu_op",
                t.cpu,
                t.cpu + 1.8,
                AUTOGRAD,
            )
            t.span("torch::autograd::AccumulateGrad", "cpu_op", t.cpu + 0.3, t.cpu + 1.5, AUTOGRAD)
            t.cpu += 2.0
        t.span("autograd::engine::evaluate_function: AddmmBackward0", "cpu_op", start, t.cpu, AUTOGRAD)
        if per_layer and told["overlap"]:
            reduced = _reduce(t, per_layer, done)
    if told["comm_mb"] and not told["overlap"]:
        reduced = _reduce(t, told["comm_mb"], t.free[STREAM])
    t.span("Torch-Backward", "user_annotation", begin, t.cpu, MAIN)
    return reduced


def _reduce(t: Trace, megabytes: float, ready: float) -> float:
    world = t.told["world"]
    takes = 25 + 2 * (world - 1) / world * megabytes * 1e6 / t.told["busbw"] / 1e3
    begin = t.cpu
    done = t.launch("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", takes, AUTOGRAD, COMM, ready,
                    grid=16, **{"Collective name": "allreduce", "In msg nelems": round(megabytes * 5e5),
                                "dtype": "BFloat16", "Group size": world})  # fmt: skip
    t.span("nccl:all_reduce", "user_annotation", begin, t.cpu, AUTOGRAD)
    return done


def _optimizer(t: Trace, reduced: float) -> None:
    """AdamW over all parameters at once, or one by one; it waits for the reduced gradients on the GPU."""
    told, begin = t.told, t.cpu
    t.free[STREAM] = max(t.free[STREAM], reduced)
    if told["fused"]:
        for _ in range(8):
            t.op(
                "aten::_fused_adamw_",
                "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor>",
                210.0,
            )
    else:
        for _ in range(told["params"]):
            for name in (
                "aten::mul_",
                "aten::lerp_",
                "aten::addcmul_",
                "aten::sqrt",
                "aten::div",
                "aten::add_",
                "aten::addcdiv_",
            ):
                t.op(name, _SMALL, 6.0, grid=24)
    t.span("Optimizer.step#AdamW.step", "user_annotation", begin, t.cpu, MAIN)


def _item(t: Trace) -> None:
    """``loss.item()``: a copy of four bytes that waits for everything before it."""
    begin = t.cpu
    done = t.launch("Memcpy DtoH (Device -> Pageable)", 2.0, MAIN, bytes=4)
    t.wait("cudaStreamSynchronize", done)
    for name in ("aten::_local_scalar_dense", "aten::item"):
        t.span(name, "cpu_op", begin, t.cpu, MAIN)
