"""Kernels by their names; rocprofiler, XPlane and nsys-jax -> facts; reports that only their own tools can open."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Value
from advisor.pipeline.diagnoser import Diagnoser
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.intake import Intake, Tree
from advisor.readers.profilers import nsys_jax
from advisor.readers.profilers.kernels import KINDS, classify
from advisor.readers.profilers.protobuf import Damaged, fields
from advisor.readers.recognise import recognise, recognise_tree
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
needs_samples = pytest.mark.skipif(not (SHARED / "rocprof").is_dir(), reason="no samples of real profilers here")
SPECS = kb.load().facts


def known(told: Told) -> dict[str, Value]:
    """Name and value of every fact, all of them in the vocabulary, with its unit and in its range."""
    (reading,) = told.readings
    for one in (reading, *(r for _, r in told.ranks)):
        for fact in one.facts:
            spec = SPECS[fact.name]
            assert fact.unit == spec.unit, fact.name
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact
                assert spec.high is None or fact.value <= spec.high, fact
    return {fact.name: fact.value for fact in reading.facts}


def artefact(path: Path, data: bytes | str) -> Artefact:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return Artefact(str(path), path)


def read(*artefacts: Artefact) -> list[Told]:
    kind = recognise(artefacts[0])
    assert kind is not None
    return kind.read(artefacts, no_tick)


def refusal(*artefacts: Artefact) -> str:
    with pytest.raises(InputError) as caught:
        read(*artefacts)
    assert "\n" not in str(caught.value)
    assert artefacts[0].origin in str(caught.value)
    return str(caught.value)


# --- kernels by their names ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "tensor"),
    [
        ("ampere_bf16_s16816gemm_bf16_128x64_ldg8_f2f_stages_64x3_tn", "matmul", True),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_256x64_16x4_nn_align4>(Params)", "matmul", True),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize32x32x8_stage3_warpsize1x2x1_ffma_aligna4", "matmul", False),
        ("void cutlass::Kernel2<cutlass_80_simt_sgemm_256x128_8x4_nn_align1>(Params)", "matmul", False),
        ("volta_sgemm_64x64_tn", "matmul", False),
        ("void gemv2T_kernel_val<int, int, float, float, float, float, 128, 16>(int)", "matmul", None),
        ("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NTN", "matmul", True),
        ("Cijk_Ailk_Bljk_HHS_BH_MT128x128x32_MI32x32x8x1_SN_1LDSB0", "matmul", True),
        ("void marlin::Marlin<256, 1, 8, 8, 4>(int4 const*)", "matmul", True),
        ("triton_tem_fused_mm_3", "matmul", None),
        ("sm80_xmma_fprop_implicit_gemm_f16f16_f16f32_f32_nhwckrsc_nhwc", "conv", True),
        ("implicit_convolve_sgemm<float, float, 128, 5, 5, 3, 3, 3, 1>", "conv", False),
        ("void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>", "conv", None),
        ("igemm_fwd_gtcx3_nhwc_fp16_bx0_ex1", "conv", True),
        ("void flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<Flash_bwd_kernel_traits>", "attention", True),
        ("fmha_cutlassF_bf16_aligned_64x128_rf_sm80(PyTorchMemEffAttention)", "attention", True),
        ("void vllm::paged_attention_v2_kernel<unsigned short, 128, 16>", "attention", None),
        ("ncclKernel_AllReduce_RING_LL_Sum_half(ncclWorkElem)", "communication", None),
        ("ncclDevKernel_ReduceScatter_Sum_bf16_RING_LL", "communication", None),
        ("void vllm::cross_device_reduce_1stage<__nv_bfloat16, 8>", "communication", None),
        ("all-gather-start.2", "communication", None),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>", "reduce", None),
        ("void (anonymous namespace)::softmax_warp_forward<float, float, float, 10, false>", "reduce", None),
        ("void at::native::batch_norm_collect_statistics_kernel<at::native::InvStd>", "reduce", None),
        ("triton_per_fused__softmax_mm_7", "reduce", None),
        ("triton_red_fused_native_layer_norm_0", "reduce", None),
        ("triton_poi_fused_convolution_relu_2", "elementwise", None),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", "elementwise", None),
        ("loop_add_fusion.12", "elementwise", None),
        ("void at::native::(anonymous namespace)::CatArrayBatchedCopy<float, unsigned int, 3, 64, 64>", "copy", None),
        ("void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda>", "copy", None),
        ("__amd_rocclr_fillBufferAligned", "copy", None),
        ("my_fancy_thing", "other", None),
        ("", "other", None),
    ],
)
def test_what_kernels_do(name: str, kind: str, tensor: bool | None) -> None:
    assert (classify(name).kind, classify(name).tensor_cores) == (kind, tensor)


def test_marks_of_kernels() -> None:
    assert classify("void at::native::unrolled_elementwise_kernel<at::native::bfloat16_copy_kernel_cuda>").cast
    assert not classify("void at::native::CatArrayBatchedCopy<float>").cast
    assert classify("cudnn::ops::dgrad_kernel").backward
    assert classify("multi_tensor_adam_kernel").backward
    assert not classify("flash_fwd_kernel").backward
    assert classify("ampere_scudnn_128x64_relu_interior_nn_v1").fp32


@given(st.text(st.characters(codec="ascii"), max_size=300))
def test_any_name_has_a_kind(name: str) -> None:
    assert classify(name).kind in KINDS


def test_endless_names_take_no_time() -> None:
    assert classify("void at::native::" + "a<" * 1_000_000).kind == "other"


# --- rocprofiler: JSON ----------------------------------------------------------------------


def record(start: int, end: int, **more: Any) -> dict[str, Any]:
    return {"size": 184, "start_timestamp": start, "end_timestamp": end, "thread_id": 9, **more}


def result(**changes: Any) -> dict[str, Any]:
    def dispatch(start: int, end: int, kernel: int, call: int, agent: int = 50) -> dict[str, Any]:
        sizes = {"workgroup_size": {"x": 256, "y": 1, "z": 1}, "grid_size": {"x": 256 * 608, "y": 1, "z": 1}}
        info = {"agent_id": {"handle": agent}, "queue_id": {"handle": 1}, "kernel_id": kernel, **sizes}
        return record(start, end, kind=11, operation=2, correlation_id={"internal": call}, dispatch_info=info)

    buffers = {
        "kernel_dispatch": [dispatch(1000, 5000, 3, 1), dispatch(7000, 8000, 4, 2), dispatch(8000, 11_000, 5, 3)],
        "memory_copy": [record(5000, 6000, kind=10, operation=1, correlation_id={"internal": 4}, bytes=3_000_000,
                               src_agent_id={"handle": 10}, dst_agent_id={"handle": 50})],
        "hip_api": [record(500, 600, kind=5, operation=0, correlation_id={"internal": 1}),
                    record(6100, 6500, kind=5, operation=0, correlation_id={"internal": 2}),
                    record(6550, 6600, kind=5, operation=0, correlation_id={"internal": 3}),
                    record(4800, 4900, kind=5, operation=2, correlation_id={"internal": 4}),
                    record(8000, 11_000, kind=5, operation=1, correlation_id={"internal": 5})],
    }  # fmt: skip
    kinds = [{"kind": "NONE", "operations": []}] * 5
    kinds += [{"kind": "HIP_RUNTIME_API", "operations": ["hipLaunchKernel", "hipDeviceSynchronize", "hipMemcpyAsync"]}]
    kinds += [{"kind": "X", "operations": []}] * 4
    copies = ["MEMORY_COPY_NONE", "MEMORY_COPY_HOST_TO_DEVICE", "MEMORY_COPY_DEVICE_TO_HOST"]
    kinds += [{"kind": "MEMORY_COPY", "operations": copies}, {"kind": "KERNEL_DISPATCH", "operations": []}]
    tool = {
        "metadata": {"pid": 1, "init_time": 0, "fini_time": 20_000},
        "agents": [
            {"id": {"handle": 10}, "type": 1, "product_name": "AMD EPYC", "cu_count": 64},
            {"id": {"handle": 50}, "type": 2, "product_name": "AMD Instinct MI300X", "cu_count": 304},
        ],
        "strings": {"buffer_records": kinds},
        "kernel_symbols": [
            {"kernel_id": 3, "formatted_kernel_name": "Cijk_Ailk_Bljk_HHS_BH_MT128x128x32_MI32x32x8"},
            {"kernel_id": 4, "formatted_kernel_name": "void at::native::vectorized_elementwise_kernel<4>"},
            {"kernel_id": 5, "formatted_kernel_name": "ncclDevKernel_Generic_1(ncclDevKernelArgsStorage<4096ul>)"},
        ],
        "buffer_records": buffers | changes,
    }
    return {"rocprofiler-sdk-tool": [tool]}


def test_a_rocprofiler_result(tmp_path: Path) -> None:
    (told,) = read(artefact(tmp_path / "1_results.json", json.dumps(result())))

    shown = known(told)

    assert shown["trace.gpu.idle.fraction"] == pytest.approx(0.1)
    assert shown["hw.gpu.utilization"] == pytest.approx(0.8)
    assert shown["trace.memcpy.h2d.fraction"] == pytest.approx(0.1)
    assert shown["trace.memcpy.h2d.bandwidth"] == pytest.approx(3e12)
    assert shown["trace.comm.exposed.fraction"] == pytest.approx(0.3)
    assert shown["trace.matmul.fraction"] == pytest.approx(0.8)
    assert shown["trace.gpu.idle.host_wait.fraction"] == 1.0
    assert shown["trace.sync.fraction"] == pytest.approx(0.3)
    assert shown["trace.launch.fraction"] == pytest.approx(0.045)
    assert shown["trace.kernel.blocks_per_sm.mean"] == pytest.approx(2.0)
    assert (shown["hw.gpu.count"], shown["hw.gpu.model"]) == (1, "AMD Instinct MI300X")
    assert shown["run.framework"] == "pytorch"


def test_copies_that_were_not_traced_are_not_zero(tmp_path: Path) -> None:
    (told,) = read(artefact(tmp_path / "r.json", json.dumps(result(memory_copy=[], hip_api=[]))))

    assert not [name for name in known(told) if "memcpy" in name or "launch" in name or "host_wait" in name]


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"kernel_dispatch": [], "memory_copy": []}, "no GPU did anything"), ({"hip_api": 5}, "damaged")],
)
def test_results_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(artefact(tmp_path / "r.json", json.dumps(result(**changes))))


def test_a_result_cut_off_anywhere_ends_in_a_sentence(tmp_path: Path) -> None:
    text = json.dumps(result())
    for size in range(30, len(text), 311):
        refusal(artefact(tmp_path / "r.json", text[:size]))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(40, 4000), st.sampled_from('0123456789-eE{}[],."')), min_size=1, max_size=8))
def test_changed_results_give_facts_or_a_sentence(tmp_path: Path, changes: list[tuple[int, str]]) -> None:
    text = list(json.dumps(result()))
    for place, letter in changes:
        text[min(place, len(text) - 1)] = letter
    made = artefact(tmp_path / "r.json", "".join(text))
    try:
        told = read(made)
    except InputError:
        refusal(made)
    else:
        known(told[0])


# --- rocprofiler: CSV -----------------------------------------------------------------------

KERNELS = (
    '"Kind","Agent_Id","Queue_Id","Thread_Id","Dispatch_Id","Kernel_Id","Kernel_Name","Correlation_Id",'
    '"Start_Timestamp","End_Timestamp"\n'
    '"KERNEL_DISPATCH","Agent 2",1,7,1,3,"void at::native::elementwise_kernel<4, f<int, float>>",1,1000,5000\n'
    '"KERNEL_DISPATCH","Agent 2",1,7,2,4,"Cijk_Ailk_Bljk_HHS_BH_MI32x32x8",2,7000,11000\n'
)
COPIES = (
    '"Kind","Direction","Source_Agent_Id","Destination_Agent_Id","Correlation_Id","Start_Timestamp","End_Timestamp"\n'
    '"MEMORY_COPY","MEMORY_COPY_HOST_TO_DEVICE","Agent 0","Agent 2",3,5000,6000\n'
)
CALLS = '''"Domain","Function","Process_Id","Thread_Id","Correlation_Id","Start_Timestamp","End_Timestamp"
"HIP_RUNTIME_API","hipLaunchKernel",7,7,1,100,200
"HIP_RUNTIME_API","hipLaunchKernel",7,7,2,6500,6600
"HIP_RUNTIME_API","hipStreamSynchronize",7,7,4,7000,9000
'''  # fmt: skip


def test_tables_of_one_process_belong_together(tmp_path: Path) -> None:
    tables = {"7_kernel_trace.csv": KERNELS, "7_memory_copy_trace.csv": COPIES, "7_hip_api_trace.csv": CALLS}
    (told,) = read(*(artefact(tmp_path / name, text) for name, text in tables.items()))

    shown = known(told)

    assert shown["trace.gpu.idle.fraction"] == pytest.approx(0.1)
    assert shown["trace.memcpy.h2d.busy.fraction"] == pytest.approx(0.1)
    assert shown["trace.gpu.idle.host_wait.fraction"] == 1.0
    assert shown["trace.sync.fraction"] == pytest.approx(0.2)
    assert shown["trace.matmul.fraction"] == pytest.approx(0.5)


def test_a_table_of_the_older_rocprof(tmp_path: Path) -> None:
    text = "Index,KernelName,gpu-id,queue-id,BeginNs,EndNs\n0,Cijk_A.kd,1,0,1000,2000\n1,fill,1,0,4000,5000\n"
    (told,) = read(artefact(tmp_path / "results.csv", text))

    assert known(told)["trace.gpu.idle.fraction"] == pytest.approx(0.5)


@pytest.mark.parametrize("text", [KERNELS.split("\n", maxsplit=1)[0] + "\n", KERNELS.replace("000", "x"), CALLS])
def test_tables_without_gpu_work(tmp_path: Path, text: str) -> None:
    refusal(artefact(tmp_path / "7_kernel_trace.csv", text))


# --- XPlane -----------------------------------------------------------------------------------


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def message(*parts: tuple[int, int | bytes | str]) -> bytes:
    out = b""
    for number, value in parts:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def plane(
    name: str, lines: Mapping[str, Sequence[tuple[str, int, int]]], details: str = "", start: int = 10**18
) -> bytes:
    """A plane with lines of events: name, start and length in us."""
    names = sorted({event for events in lines.values() for event, _, _ in events})
    parts: list[tuple[int, int | bytes | str]] = [(1, 1), (2, name)]
    for line, events in lines.items():
        held: list[tuple[int, int | bytes | str]] = [(1, 5), (2, line), (3, start)]
        for event, at, lasts in events:
            told = [(1, names.index(event) + 1), (2, at * 10**6), (3, lasts * 10**6)]
            stats = [(4, message((1, 8), (5, details)))] if details and event.startswith("Memcpy") else []
            held.append((4, message(*told, *stats)))
        parts.append((3, message(*held)))
    for at, event in enumerate(names, 1):
        parts.append((4, message((1, at), (2, message((1, at), (2, event))))))
    parts.append((5, message((1, 8), (2, message((1, 8), (2, "memcpy_details"))))))
    return message((1, message(*parts)))


GPU = {
    "Stream #13(Compute)": [
        ("gemm_fusion_dot_12", 0, 40),
        ("loop_add_fusion", 40, 10),
        ("ncclDevKernel_AllReduce", 50, 20),
    ],
    "Stream #14(MemcpyH2D)": [("MemcpyH2D", 80, 20)],
    "XLA Ops": [("dot.5", 0, 100)],
    "XLA Modules": [("jit_train_step(123)", 0, 100)],
}


def test_gpus_of_an_xplane_profile(tmp_path: Path) -> None:
    details = "kind_src:pageable kind_dst:device size:2000000 dest:0 async:1"
    data = plane("/host:CPU", {"python": [("x", 0, 5)]}) + plane("/device:GPU:0", GPU, details)
    (told,) = read(artefact(tmp_path / "vm.xplane.pb", data))

    shown = known(told)

    assert shown["trace.gpu.idle.fraction"] == pytest.approx(0.1)
    assert shown["trace.comm.exposed.fraction"] == pytest.approx(0.2)
    assert shown["trace.memcpy.h2d.fraction"] == pytest.approx(0.2)
    assert shown["trace.memcpy.h2d.bandwidth"] == pytest.approx(1e11)
    assert shown["trace.memcpy.h2d.pageable.fraction"] == 1.0
    assert shown["trace.matmul.fraction"] == pytest.approx(0.8)
    assert (shown["hw.gpu.count"], shown["run.framework"], shown["run.gpu.used"]) == (1, "jax", True)


def test_steps_and_cores_of_tpus(tmp_path: Path) -> None:
    lines = {
        "Steps": [(str(at), at * 100, 90) for at in range(3)],
        "XLA Ops": [("fusion.1", at * 100, 60) for at in range(3)]
        + [("all-reduce.2", at * 100 + 60, 20) for at in range(3)],
    }
    data = b"".join(plane(f"/device:TPU:{core}", lines) for core in (0, 1))
    (told,) = read(artefact(tmp_path / "vm.xplane.pb", data))

    shown = known(told)

    assert [name for name, _ in told.ranks] == ["TPU 0", "TPU 1"]
    assert shown["ml.step.count"] == 3
    assert shown["ml.step.time"] == pytest.approx((100 + 100 + 90) / 3 * 1e-6)
    assert shown["trace.gpu.idle.fraction"] == pytest.approx(1 - 240 / 290)
    assert shown["trace.comm.exposed.fraction"] == pytest.approx(60 / 290)
    assert shown["trace.comm.wait_skew"] == 0.0
    assert "run.gpu.used" not in shown


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (plane("/host:CPU", {"python": [("x", 0, 5)]}), "the host only"),
        (plane("/device:GPU:0", {"XLA Ops": [("dot.5", 0, 100)]}), "the host only"),
        (plane("/device:GPU:0", GPU)[:-40], "damaged or cut off"),
    ],
)
def test_profiles_that_cannot_be_used(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in refusal(artefact(tmp_path / "vm.xplane.pb", data))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=10))
def test_changed_profiles_give_facts_or_a_sentence(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    from advisor.readers.profilers import xplane

    data = bytearray(plane("/device:GPU:0", GPU, "kind_src:pinned size:99"))
    for place, value in changes:
        data[place % len(data)] = value
    made = artefact(tmp_path / "x.pb", bytes(data))
    try:
        told = xplane.read([made], no_tick)
    except InputError as error:
        said = str(error)
    else:
        said = ""
        known(told[0])
    assert "\n" not in said


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_damaged(data: bytes) -> None:
    try:
        for number, value in fields(memoryview(data)):
            assert number >= 0
            assert isinstance(value, int) or len(value) <= len(data)
    except Damaged:
        pass


# --- nsys-jax -----------------------------------------------------------------------------------


def jax_rows(late: int) -> dict[str, list[Any]]:
    """Ranges of one process: a module that is compiled and waits in its first run, and four runs of 100 ms."""
    rows: list[tuple[str | None, int, int]] = [
        (None, 0, 5),
        ("TSL:XlaModule:#hlo_module=jit_init,program_id=1#", 0, 10),
    ]
    for step in range(5):
        at = 10**9 + step * 110_000_000
        module = "TSL:XlaModule:#hlo_module=jit_step,program_id=7#"
        rows.append((module, at - (10**9 if step == 0 else 0), 100_000_000 + (10**9 if step == 0 else 0)))
        rows.append(("TSL:Thunk:#name=jit(step)/dot_general,hlo_op=custom-call.4#", at, 50_000_000 + late))
        rows.append(("TSL:Thunk:#hlo_op=loop_add_fusion#", at + 50_000_000 + late, 20_000_000))
        rows.append(("TSL:Thunk:#hlo_op=all-reduce-start.1#", at + 70_000_000 + late, 30_000_000 - late))
        rows.append(("NCCL:ncclGroupEnd", at + 70_000_000, 5))
    return dict(zip(("Name", "Projected Start", "Projected Duration"), map(list, zip(*rows, strict=True)), strict=True))


def jax_tree(folder: Path, processes: int) -> Tree:
    for at in range(processes):
        (folder / f"proc{at}").mkdir()
        for name in ("trace", "files"):
            (folder / f"proc{at}" / f"{name}.parquet").write_bytes(b"PAR1")
    with Intake() as intake:
        tree = intake.take(folder)
    assert isinstance(tree, Tree)
    return tree


def test_processes_of_an_nsys_jax_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nsys_jax, "_arrow", lambda *told: jax_rows(10_000_000 * ("proc1" in told[2])))
    found = recognise_tree(jax_tree(tmp_path, 2))
    assert found is not None
    kind, tree = found

    (told,) = kind.read_tree(tree, no_tick)
    shown = known(told)

    assert [name for name, _ in told.ranks] == ["proc0", "proc1"]
    assert shown["ml.step.count"] == 4
    assert shown["ml.step.time"] == pytest.approx((3 * 110 + 100) / 4 * 1e-3)
    assert shown["trace.gpu.idle.fraction"] == pytest.approx(30 / 430)
    assert shown["trace.comm.exposed.fraction"] == pytest.approx((120 + 80) / 2 / 430)
    assert shown["trace.matmul.fraction"] == pytest.approx((5 / 7 + 6 / 8) / 2)
    assert "jit_step" in told.readings[0].source.note


def test_tables_of_nsys_jax_need_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'pyarrow'")

    monkeypatch.setattr(nsys_jax, "_arrow", missing)

    with pytest.raises(InputError, match="pip install pyarrow"):
        nsys_jax.read_tree(jax_tree(tmp_path, 1), no_tick)


def test_damaged_tables_of_nsys_jax_end_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        nsys_jax.read_tree(jax_tree(tmp_path, 1), no_tick)


def test_other_folders_with_tables_are_not_of_nsys_jax(tmp_path: Path) -> None:
    (tmp_path / "trace.parquet").write_bytes(b"PAR1")
    with Intake() as intake:
        tree = intake.take(tmp_path)

    assert isinstance(tree, Tree)
    assert recognise_tree(tree) is None


# --- reports that only their own tools can open ---------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("run.nsys-rep", b"\x00\x01\x02binary" * 20, "nsys export --type sqlite run.nsys-rep"),
        ("old.QDREP", b"\x00\x01\x02binary" * 20, "nsys export"),
        ("raw.qdstrm", b"\x00\x01\x02binary" * 20, "nsys-ui"),
        ("kernel.ncu-rep", b"NVR\0\x10\0\0\0", "Nsight Compute"),
        ("renamed.bin", b"NVR\0\x10\0\0\0", "Nsight Compute"),
    ],
)
def test_closed_reports_say_how_to_open_them(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    assert said in refusal(artefact(tmp_path / name, data))


# --- real files -------------------------------------------------------------------------------------


@needs_samples
def test_a_real_rocprofiler_result() -> None:
    (found,) = Diagnoser().diagnose_files([SHARED / "rocprof" / "908_results.json.gz"])
    shown = {name: fact.value for name, fact in found.profile.facts.items()}

    assert found.profile.duration_s == pytest.approx(15.122, abs=1e-3)
    assert float(shown["trace.comm.fraction"]) * 15.122 == pytest.approx(4.15876, rel=5e-3)
    assert shown["hw.gpu.model"] == "AMD Instinct MI350X"
    assert (shown["run.phase"], shown["run.framework"]) == ("training", "pytorch")
    assert found.findings[0].rule.id == "gpu-idle-in-trace"


@needs_samples
def test_a_real_nsys_jax_folder() -> None:
    (found,) = Diagnoser().diagnose_files([SHARED / "nsys_jax"])

    assert len(found.profile.members) == 4
    assert not [f for f in found.findings if f.rule.severity in ("serious", "critical")]
