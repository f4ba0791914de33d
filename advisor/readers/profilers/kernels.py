"""What a GPU kernel does, by its name: the only thing that a trace tells of most kernels.

Names are written by compilers and libraries: C++ templates of PyTorch, cuBLAS and cuDNN kernels that
carry tile and instruction, Tensile's ``Cijk_`` on AMD, XLA fusions, Triton kernels that Inductor
names after what they fuse (``triton_poi_``, ``triton_red_``, ``triton_per_``, ``triton_tem_``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

Kind = Literal["matmul", "conv", "attention", "communication", "elementwise", "reduce", "copy", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST = 2048  # what decides stands in front; templates may be megabytes


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kind of kernel.

    Args:
        kind: what it does.
        tensor_cores: whether it computes on Tensor Cores (AMD: Matrix Cores); None where the name does not tell,
            and for all that is neither a matrix product, a convolution nor attention.
        fp32: a matrix product or convolution in FP32 on the ordinary cores.
        cast: a copy of PyTorch that changes the type or the layout.
        backward: it exists in training only (gradients, optimizers).
    """

    kind: Kind
    tensor_cores: bool | None = None
    fp32: bool = False
    cast: bool = False
    backward: bool = False


def _words(*words: str) -> re.Pattern[str]:
    return re.compile("|".join(words))


# Names of Inductor say which template they were made from, whatever operators are listed after it.
_TRITON: dict[str, Kind] = {"triton_poi": "elementwise", "triton_red": "reduce", "triton_per": "reduce"}
_COMMUNICATION = _words(
    "nccl", "rccl", "nvshmem", "mscclpp", "deep_ep", "userbuffers", "all[_-]?reduce", "all[_-]?gather",
    "reduce[_-]?scatter", "all[_-]?to[_-]?all", "collective", "cross_device_reduce", "sendrecv", "multimem_",
)  # fmt: skip
_ATTENTION = _words(
    r"\bflash::", r"flash_?(fwd|bwd|attn|attention|mla|decod)", "fmha", "attention", r"attn", "sdpa", r"\bmha_",
    "batch_?prefill", "batch_?decode", "single_?prefill", "single_?decode", r"\bflash_?splitkv", r"^bwd_kernel",
)  # fmt: skip
_CONV = _words(
    "conv(?!er)",
    r"[hs]\d*cudnn_",
    "implicit_gemm",
    "dgrad",
    "wgrad",
    "fprop",
    "winograd",
    "im2col",
    "col2im",
    "igemm_(fwd|bwd|wrw)",
)
_MATMUL = _words(
    "gemm", "gemv", "matmul", "nvjet", "cublas", "cijk_", "splitk", r"\bcutlass", "wgmma", r"_(add)?b?mm(_|\b)",
    "marlin", "machete", "dot_kernel", r"\bdot\b", "triton_tem", "s16816", "s1688", "s884", "h884", "gemmk1", "_dot_",
)  # fmt: skip
_REDUCE = _words(
    "reduce", "softmax", "_?norm", r"norm\b", "welford", r"\bbn_(fw|bw)", "batch_?norm", "gradgammabeta", "nll_loss",
    "cross_?entropy", "arg(max|min)", "cumsum", r"\bscan", "_scan", "loss", "mean", "logsumexp", "pool",
)  # fmt: skip
_COPY = _words(
    "copy", "memset", "memcpy", "fillbuffer", "fillfunctor", "fill_kernel", "catarray", "transpose", "permute",
    "gather", "scatter", "index", "cast", "convert", "nchwto", "nhwcto", "pad_", "concat", "slice",
)  # fmt: skip
_ELEMENTWISE = _words(
    "elementwise", "pointwise", "unrolled", "vectorized", "gelu", "relu", "silu", "swiglu", "sigmoid", "tanh",
    "dropout", "multi_tensor_apply", "foreach", "adam", "sgd", "lamb", "activation", "rotary", "rope", "embedding",
    "fusion", "masked", "functor", r"\badd", r"\bmul", "bias", "quant", "distribution",
)  # fmt: skip
# cuBLAS, cuDNN and CUTLASS put the instruction into the name; the list of Kineto's plug-in, and what came after Ampere.
_TENSOR = _words(
    "[hs]884", "[hs]1688", "[a-z]?16816", "i8816", "i16832", "hmma", "wgmma", "gmma", "tensorop", "nvjet", "tf32",
    "bf16", "f16(?!_?f32_f32)", "fp16", "fp8", "e4m3", "umma", "tcgen05", "hgemm", r"mfma", r"_mi\d+x\d+", "marlin",
    r"\bflash::", "flash_?(fwd|bwd|attn|attention)", "fmha", "machete", "tensor16x", "bfloat16", "half",
)  # fmt: skip
_FP32 = _words("sgemm", "ffma", "simt_s", "scudnn", "simt_f32")
_CAST = re.compile(r"(direct|float16|bfloat16|bfloat16tofloat32|float8\w*)_copy_kernel")
_BACKWARD = _words(
    "backward", r"(_|\b)bwd(_|\b|[a-z])", "dgrad", "wgrad", "adam(?!in)", r"sgd", "grad_?input", "gradgammabeta"
)


@lru_cache(maxsize=1 << 15)
def classify(name: str) -> Kernel:
    """What the kernel of that name does.

    >>> classify("ampere_sgemm_128x64_nn")
    Kernel(kind='matmul', tensor_cores=False, fp32=True, cast=False, backward=False)
    >>> classify("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)").kind
    'communication'
    """
    low = name[:LONGEST].lower().replace("fbgemm_gpu", "")  # a library of many kernels, not only products
    kind = _kind(low)
    tensor, fp32 = _instruction(low) if kind in ("matmul", "conv", "attention") else (None, False)
    return Kernel(kind, tensor, fp32, bool(_CAST.search(low)), bool(_BACKWARD.search(low)))


def _kind(low: str) -> Kind:
    start = low.removeprefix("void ")
    triton = next((kind for prefix, kind in _TRITON.items() if start.startswith(prefix)), None)
    if triton is not None:
        return triton
    if "at::native" in low:
        return _native(low)
    tests: tuple[tuple[re.Pattern[str], Kind], ...] = (
        (_COMMUNICATION, "communication"),
        (_ATTENTION, "attention"),
        (_CONV, "conv"),
        (_MATMUL, "matmul"),
        (_REDUCE, "reduce"),
        (_COPY, "copy"),
        (_ELEMENTWISE, "elementwise"),
    )
    return next((kind for pattern, kind in tests if pattern.search(low)), "other")


def _native(low: str) -> Kind:
    """Kernels of PyTorch itself: their outer template says what they are, the inner ones what they apply."""
    if "elementwise_kernel" in low:
        return "copy" if "copy_kernel" in low or "fillfunctor" in low else "elementwise"
    if "multi_tensor_apply" in low:
        return "elementwise"
    for pattern, kind in _NATIVE:
        if pattern.search(low):
            return kind
    return "other"


_NATIVE: tuple[tuple[re.Pattern[str], Kind], ...] = (
    (_CONV, "conv"),
    (_words("gemm", "gemv", r"_?bmm"), "matmul"),
    (_REDUCE, "reduce"),
    (_COPY, "copy"),
    (_ELEMENTWISE, "elementwise"),
)


def _instruction(low: str) -> tuple[bool | None, bool]:
    """Whether it computes on Tensor Cores, and whether it is plain FP32."""
    if _FP32.search(low) and not re.search("tensorop|tf32|hmma|1688|fp16_s|16816", low):
        return False, True
    if "simt_" in low:
        return False, False
    if "gemv" in low:  # nothing for Tensor Cores: one vector
        return None, False
    return (True, False) if _TENSOR.search(low) else (None, False)
