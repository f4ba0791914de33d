"""What a kernel does, by its name: libraries keep their habits of naming over many versions.

Known are cuBLAS, cuDNN, CUTLASS, FlashAttention, Triton and Inductor, rocBLAS and Tensile, MIOpen, Composable
Kernel, NCCL and RCCL, and the kernels of ATen, vLLM, SGLang and TensorRT-LLM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

COMM, GEMM, CONV, ATTENTION, POINTWISE, CAST, TENSOR, FP32 = (1 << bit for bit in range(8))

_COMM = re.compile(
    r"nccl|rccl|msccl|oneccl|nvshmem|multimem_|cross_device_reduce|(all_?reduce|all_?gather|reduce_?scatter|all_?to_?all)"
)
_FUSED = re.compile(r"triton_(poi|red|per|for)_")  # Inductor's names list what was fused, products before them too
_ATTENTION = re.compile(r"flash|fmha|attention|attn|(^|[_:])mha_|unified_attn|mla_")
_NO_ATTENTION = re.compile(r"reshape_and_cache|rotary|rope|metadata|layernorm|rmsnorm")
_CONV = re.compile(
    r"conv(?!ert)|scudnn|winograd|wgrad|dgrad|fprop|implicit_gemm|igemm_(fwd|bwd|wrw)|xdlops_(fwd|bwd)|bwd_weight|bwd_data"
    r"|subtensorop|batched_transpose_\d|^miopen(?!.*norm)"
)
_GEMM = re.compile(
    r"gemm|gemv|nvjet|cijk_|splitk|cublas|(^|[_:])b?mm_|_b?mm(_|$)|matmul|hgemm|wvsplit|marlin|machete|fused_moe|moe_stage"
    r"|triton_tem|triton_mm|dot_kernel|wmma|wgmma|ck::kernel_(gemm|batched_gemm)|grouped_mm"
)
_POINTWISE = re.compile(
    r"elementwise|reduce|softmax|norm|copy|catarray|cat_|fill|pointwise|cast|index|gather"
    r"|scatter|dropout|transpose|multi_tensor|foreach|bn_(fw|bw)|bias|activation|act_and_mul|relu|gelu|silu|nchwtonhwc"
    r"|nhwctonchw|clamp|rotary|quant"
)
_CAST = re.compile(
    r"direct_copy_kernel|(bfloat16|float16|float8\w*|half)_copy_kernel|loadwithcast|storewithcast|cast_kernel|casttensor"
    r"|nchwtonhwc|nhwctonchw"
)
# Instruction shapes (h884, s1688, 16816) and mma spellings are in the names of kernels that use Tensor Cores.
_TENSOR = re.compile(
    r"[his]8816|[a-z]?884(?!\d)|1688|16816|hmma|imma|wmma|wgmma|gmma|tensorop|tensor_core|nvjet|flash|fmha|xmma_|tf32"
    r"|sm(90|100|103|120)_|bmm_\w*(e4m3|e2m1|bfloat16)|marlin|machete|deep_gemm|first_layer_wgrad|conv2d_c1_k1|mma_"
)
_FP32 = re.compile(r"sgemm|ffma|simt|scudnn|sgemv|gem(v|m)\w*(<|<[^<>]*, ?)float|dgrad_engine|wgrad_alg\d_engine<float")


def classes(names: Sequence[str], numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    """For each number of a name the bits of what that name says; none for a kernel that is not known."""
    used, index = np.unique(numbers, return_inverse=True)
    return np.array([_bits(_short(names[number])) for number in used], np.uint8)[index]


def _short(name: str) -> str:
    """The name without what says nothing of the kernel: the types of its parameters, namespaces of libraries."""
    plain = name.lower().replace("(anonymous namespace)::", "").replace("fbgemm_gpu", "")
    return plain.partition(">(")[0]


def _bits(name: str) -> int:
    if _COMM.search(name):
        return COMM
    if _FUSED.match(name):
        return POINTWISE
    bits = (TENSOR if _TENSOR.search(name) else 0) | (CAST if _CAST.search(name) else 0)
    if not bits & TENSOR and _FP32.search(name):
        bits |= FP32
    if _ATTENTION.search(name) and not _NO_ATTENTION.search(name):
        return bits | ATTENTION
    if _CONV.search(name):
        return bits | CONV
    if _GEMM.search(name):
        return bits | GEMM
    return bits | POINTWISE if bits & CAST or _POINTWISE.search(name) else bits
