"""What the shapes in an operator's arguments tell: aligned or not, 16 bits or not, a bias, the size of a message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from advisor.readers.trace.decode import Event, Number

HALF, MISALIGNED, BIAS, SINGLE, SHAPED = 1, 2, 4, 8, 16  # bits of the column `shape`
_PRODUCTS = re.compile(r"aten::(mm|addmm|bmm|baddbmm|_scaled_mm|_grouped_mm)$")
_BIASED = re.compile(r"aten::(conv[123]d|conv_transpose[123]d)$")
_COLLECTIVES = re.compile(r"(nccl|gloo|mpi|ucc|xccl|hccl):|record_param_comms$")
# Names of element types as the profiler and as collectives write them -> bytes.
_SIZES = {
    **dict.fromkeys(("double", "long", "long int", "int64_t", "float64", "int64"), 8),
    **dict.fromkeys(("float", "int", "int32", "float32", "unsigned int"), 4),
    **dict.fromkeys(("c10::half", "c10::bfloat16", "half", "bfloat16", "short", "short int"), 2),
    **dict.fromkeys(("signed char", "unsigned char", "char", "byte", "bool", "int8", "uint8"), 1),
    **dict.fromkeys(("c10::float8_e4m3fn", "c10::float8_e5m2", "float8_e4m3fn", "float8_e5m2"), 1),
}
_HALVES = ("c10::half", "c10::bfloat16", "half", "bfloat16")
_ALIGNED = 8  # elements of 16 bits: NVIDIA's matmul guide asks for 16 bytes
_LIBRARY = re.compile(r"(^|/)(torch|site-packages|dist-packages|python\d[.\d]*)/|^(<|nn\.Module|threading\.py)")
_FRAME = re.compile(r".+\.py\(\d+\): ")
_MANY, _MOST = 100_000, 2**60


class Shapes:
    """Reads shapes once for each combination of operator, shapes and types: training repeats them in every step."""

    def __init__(self) -> None:
        self._kinds = np.zeros(0, np.uint8)
        self._known: dict[tuple[int, bytes, bytes], tuple[int, float]] = {}

    def of(
        self, events: Sequence[Event], names: NDArray[np.int32], all_names: Sequence[str]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Bits of what the shapes tell, and bytes of a message (NaN: none)."""
        shape = np.zeros(len(events), np.uint8)
        message = np.full(len(events), np.nan)
        if len(all_names) > self._kinds.size:
            more = [_kind(name) for name in all_names[self._kinds.size :]]
            self._kinds = np.concatenate([self._kinds, np.array(more, np.uint8)])
        for row in np.flatnonzero(self._kinds[names]).tolist():
            if found := self._one(events[row], int(names[row])):
                shape[row], message[row] = found
        return shape, message

    def _one(self, event: Event, name: int) -> tuple[int, float] | None:
        args = event.args
        if args is None:
            return None
        if args.sent is not None:
            return 0, _sent(args.sent, args.received, args.dtype)
        key = (name, bytes(args.dims), bytes(args.types))
        if key not in self._known:
            if len(self._known) > _MANY:
                return None
            self._known[key] = _read(int(self._kinds[name]), key[1], key[2])
        return self._known[key]


def is_user_code(name: str) -> bool:
    """Whether a Python function of a trace is in a file of the user's, not of a library."""
    return bool(_FRAME.match(name)) and not _LIBRARY.search(name)


def _kind(name: str) -> int:
    for number, pattern in enumerate((_PRODUCTS, _BIASED, _COLLECTIVES), 1):
        if pattern.match(name):
            return number
    return 0


def _read(kind: int, dims: bytes, types: bytes) -> tuple[int, float]:
    try:
        shapes, names = msgspec.json.decode(dims or b"[]"), msgspec.json.decode(types or b"[]")
    except (ValueError, RecursionError):
        return 0, float("nan")
    if not isinstance(shapes, list) or not isinstance(names, list):
        return 0, float("nan")
    names = [str(n).lower() for n in names]
    if kind == 3:
        return 0, _bytes(shapes, names)
    bits = SHAPED if shapes else 0
    if kind == 2:
        return bits | (BIAS if len(shapes) > 2 and shapes[2] else 0), float("nan")
    matrices = [s for s in shapes if isinstance(s, list) and len(s) >= 2 and all(isinstance(n, int) for n in s)]
    if len(matrices) < 2:
        return bits, float("nan")
    kinds = [n for n in names if n]
    bits |= HALF if kinds and kinds[0] in _HALVES else 0
    bits |= SINGLE if kinds and kinds[0] == "float" else 0
    inner, columns = matrices[-1][-2:]  # rows are tokens: they set no leading dimension of a stored matrix
    return bits | (MISALIGNED if inner % _ALIGNED or columns % _ALIGNED else 0), float("nan")


def _bytes(shapes: list[Any], names: list[str]) -> float:
    """Bytes of the tensors that a collective was given; NaN where they are not told."""
    total = 0.0
    for shape, name in zip(shapes, names, strict=False):
        if name in _SIZES and isinstance(shape, list) and shape and all(isinstance(n, int) for n in shape):
            total += _SIZES[name] * float(np.prod(shape, dtype=np.float64))
    return total if 0 < total < _MOST else float("nan")


def _sent(sent: Number, received: Number, dtype: Number) -> float:
    """Bytes of the larger side of a collective, as nccl-tests counts them."""
    size = _SIZES.get(str(dtype).lower())
    counts = [n for n in (sent, received) if isinstance(n, int)]
    return float(size * max(counts)) if size and counts and 0 < max(counts) < _MOST else float("nan")
