"""What many kernels do, by their names, as bits: for arrays of names what `profilers.kernels` says of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.readers.profilers.kernels import Kind, classify

COMM, GEMM, CONV, ATTENTION, POINTWISE, CAST, TENSOR, FP32 = (1 << bit for bit in range(8))
_KINDS: dict[Kind, int] = {
    "communication": COMM,
    "matmul": GEMM,
    "conv": CONV,
    "attention": ATTENTION,
    "elementwise": POINTWISE,
    "reduce": POINTWISE,
    "copy": POINTWISE,
    "other": 0,
}


def classes(names: Sequence[str], numbers: NDArray[np.int32]) -> NDArray[np.uint8]:
    """For each number of a name the bits of what that name says; none for a kernel that is not known."""
    used, index = np.unique(numbers, return_inverse=True)
    return np.array([_bits(names[number]) for number in used], np.uint8)[index]


def _bits(name: str) -> int:
    kernel = classify(name)
    marks = (TENSOR if kernel.tensor_cores else 0) | (FP32 if kernel.fp32 else 0) | (CAST if kernel.cast else 0)
    return _KINDS[kernel.kind] | marks
