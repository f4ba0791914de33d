"""Matrix products and convolutions: which could use Tensor Cores and do not, and which shapes are in their way."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from advisor.readers.rows import Row, row, share
from advisor.readers.trace.arrays import Ints, Mask
from advisor.readers.trace.categories import KERNEL
from advisor.readers.trace.kernels import ATTENTION, CONV, GEMM, TENSOR
from advisor.readers.trace.operators import BIAS, HALF, MISALIGNED, SHAPED
from advisor.readers.trace.setting import is_amd, is_gpu
from advisor.readers.trace.work import Work, inside

# Operators that launch the kernels themselves; those around them (linear, conv2d) only call these.
_PRODUCTS = re.compile(r"aten::(mm|addmm|bmm|baddbmm|_scaled_mm|_grouped_mm)$")
_CONVS = re.compile(
    r"aten::(cudnn_convolution\w*|miopen_convolution\w*|_slow_conv2d_\w+|slow_conv\w+|thnn_conv\w*|_convolution"
    r"|convolution_backward|(cudnn|thnn|miopen)_conv\w*)$"
)
_BIASED, _NORM = re.compile(r"aten::conv[123]d$"), re.compile(r"aten::batch_norm$")
_MATH = re.compile(r"aten::_scaled_dot_product_attention_math$")
_SOFTMAX, _CHAIN = re.compile(r"aten::_softmax$"), re.compile(r"aten::(_softmax|bmm|baddbmm)$")


def rows(work: Work) -> Iterator[Row]:
    """What the operators and kernels of matrix products tell."""
    if (work.gpu.kind == KERNEL).any() and is_gpu(work):
        if not is_amd(work):
            yield from _tensor_cores(work)
        yield from _alignment(work)
    yield from _attention(work)
    yield row("trace.conv_bias_bn.count", _bias_then_norm(work), "{pattern}")


def _launched_in(work: Work, pattern: re.Pattern[str]) -> tuple[Ints, Mask]:
    """For each work the place of the operator that launched it, -1 for none; and the operators it may be."""
    ops = work.trace.ops
    mask = work.trace.names.like(pattern)[ops.name]
    threads = work.trace.calls.thread[np.maximum(work.call, 0)] if len(work.trace.calls) else work.call
    found = inside(ops.only(mask), work.launched(), threads)
    places = np.flatnonzero(mask)
    return np.where(found >= 0, places[np.maximum(found, 0)] if places.size else -1, -1), mask


def _tensor_cores(work: Work) -> Iterator[Row]:
    """Time of kernels that could use Tensor Cores and do not, over the time of all kernels, as the plugin counts it."""
    kernels = (work.gpu.kind == KERNEL) & work.window.holds(work.gpu.start)
    time = work.gpu.end - work.gpu.start
    launched = (_launched_in(work, _PRODUCTS)[0] >= 0) | (_launched_in(work, _CONVS)[0] >= 0)
    eligible = kernels & (launched | work.kernels(GEMM | CONV))
    total = float(time[kernels].sum())
    if total:
        unused = eligible & ~work.kernels(TENSOR)
        yield share("trace.tensor_core.eligible_unused.fraction", float(time[unused].sum()) / total)


def _alignment(work: Work) -> Iterator[Row]:
    ops, mask = _launched_in(work, _PRODUCTS)
    shapes = work.trace.shape
    if not (mask & ((shapes & SHAPED) != 0)).any():
        return  # shapes were not recorded
    mine = (ops >= 0) & (work.gpu.kind == KERNEL) & work.window.holds(work.gpu.start)
    time = (work.gpu.end - work.gpu.start)[mine]
    bits = shapes[ops[mine]]
    off = (bits & (HALF | MISALIGNED)) == HALF | MISALIGNED
    every = (work.kernels(GEMM | CONV | ATTENTION) | mine) & work.window.holds(work.gpu.start)
    total = float((work.gpu.end - work.gpu.start)[every].sum())
    if total:
        yield share("trace.matmul.misaligned.fraction", float(time[off].sum()) / total)


def _attention(work: Work) -> Iterator[Row]:
    """Attention as separate products: its fallback operator, or a softmax right between two batched products."""
    trace = work.trace
    soft = trace.names.like(_SOFTMAX)[work.named(trace.ops, _CHAIN).name]
    between = bool((~soft[:-2] & soft[1:-1] & ~soft[2:]).any())
    fused = bool(work.kernels(ATTENTION).any())
    separate = bool(len(work.named(trace.ops, _MATH))) or between
    if separate or fused:
        yield row("trace.attention.unfused", separate and not fused, "{bool}")


def _bias_then_norm(work: Work) -> float | None:
    """Convolutions with a bias whose result goes straight into a batch normalisation, per step."""
    trace = work.trace
    told = (trace.shape & SHAPED) != 0
    if not told.any():
        return None
    biased, norm = trace.names.like(_BIASED)[trace.ops.name], trace.names.like(_NORM)[trace.ops.name]
    either = np.flatnonzero(biased | norm)
    first, second = either[:-1], either[1:]
    found = biased[first] & norm[second] & ((trace.shape[first] & BIAS) != 0)
    found &= trace.ops.thread[first] == trace.ops.thread[second]
    found &= work.window.holds(trace.ops.start[first])
    return work.per_step(float(found.sum()))
