"""Messages about device memory that could not be had, of PyTorch, JAX, TensorFlow and CUDA libraries -> facts.

Every number in them is told. Where several ranks failed, the numbers are those of the first message, because what
follows is often only its consequence; how many failed is counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.log.near import near
from advisor.readers.rows import Row, facts, row, share
from advisor.readers.told import Told

KIND = "log"
MOST = 5000  # messages that are looked at
SPAN = 1600  # characters of a message: PyTorch lists every process of the GPU
_GAP = r"[\s>]{1,8}"  # a paste may be wrapped or quoted


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", _GAP))


_SIZE = r"(?P<%s>\d{1,20}(?:\.\d{1,4})?) (?P<%s_unit>bytes|[KMGT]i?B)"
_START = _words(r"(?P<device>CUDA|HIP|XPU|NPU|MPS|MUSA|GCU|MLU|PPU) (?:backend )?out of memory")
_TRIED = _words(r"Tried to allocate " + _SIZE % ("tried", "tried"))
_GPU = re.compile(r"\b(?:GPU|NPU|XPU|MLU)\s{1,4}(?P<index>\d{1,3})\b")
# Without the number: PyTorch 1.0 to 1.3 say how much of the cache is unused, later releases how much it is in all.
_PARTS = {
    "total": (_words(_SIZE % ("v", "v") + " total capacity"), _words(r"total capaci?ty of " + _SIZE % ("v", "v"))),
    "allocated": (
        _words(_SIZE % ("v", "v") + " already allocated"),
        _words(_SIZE % ("v", "v") + r" is allocated by PyTorch"),
        _words(r"MPS allocated: " + _SIZE % ("v", "v")),
    ),
    "free": (_words(_SIZE % ("v", "v") + r" free;"), _words(r"of which " + _SIZE % ("v", "v") + " is free")),
    "reserved": (_words(_SIZE % ("v", "v") + " reserved in total by PyTorch"),),
    "unused": (
        _words(_SIZE % ("v", "v") + " cached\\)"),
        _words(_SIZE % ("v", "v") + " is reserved by PyTorch but unallocated"),
    ),
    "graphs": (_words(_SIZE % ("v", "v") + " allocated in private pools"),),
    "own": (_words(r"this process has " + _SIZE % ("v", "v") + " memory in use"),),
    "allowed": (_words(_SIZE % ("v", "v") + " allowed"), _words(r"max allowed: " + _SIZE % ("v", "v"))),
    "other": (_words(r"other allocations: " + _SIZE % ("v", "v")),),
}
_PROCESS = _words(r"Process (?P<pid>\d{1,10}) has " + _SIZE % ("v", "v") + " memory in use")
_SCALE = {"bytes": 1.0, "KB": 2.0**10, "MB": 2.0**20, "GB": 2.0**30, "TB": 2.0**40}
_XLA = _words(
    r"(?:RESOURCE_EXHAUSTED: )?(?:XlaRuntimeError: RESOURCE_EXHAUSTED: )?"
    r"(?:Out of memory (?:while trying to allocate|allocating)|Failed to allocate request for) "
    r"(?P<tried>\d{1,20}(?:\.\d{1,4})?)(?: )?(?P<unit>bytes|[KMGT]i?B)"
)
_XLA_PLAN = _words(
    r"Ran out of memory in memory space hbm\. Used (?P<used>\d{1,9}(?:\.\d{1,4})?)(?P<unit>[KMGT]) of "
    r"(?P<total>\d{1,9}(?:\.\d{1,4})?)(?P<total_unit>[KMGT]) hbm"
)
_TF = _words(r"OOM when allocating tensor with shape(?: )?\[(?P<shape>[\d,]{1,120})\] and type (?P<type>\w{1,20})")
_BARE_WORDS = ("ALLOC_FAILED", "out of memory", "MemoryAllocation", "OUT_OF_MEMORY", "OutOfMemory")
_BARE = re.compile(
    r"CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|CUFFT_ALLOC_FAILED|CUDA error: out of memory|"
    r"cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|hipErrorOutOfMemory|error=2 : out of memory|"
    r"cuda runtime error \(2\) ?: out of memory"
)
_TYPES = {"half": 2, "bfloat16": 2, "float": 4, "double": 8, "int64": 8, "int32": 4, "bool": 1, "uint8": 1, "int8": 1}


@dataclass
class Failure:
    """One allocation that failed; sizes in bytes, what the message does not tell is missing."""

    at: int
    framework: str
    gpu: str = ""
    sizes: dict[str, float] = field(default_factory=dict)
    processes: dict[str, float] = field(default_factory=dict)

    def key(self) -> tuple[object, ...]:
        """What is the same in two prints of one failure."""
        return self.framework, self.gpu, tuple(sorted(self.sizes.items()))


def find(log: Log) -> list[Told]:
    """The failures of a text, and the numbers of the first."""
    distinct: dict[tuple[object, ...], Failure] = {}
    for failure in sorted(islice(_failures(log), MOST), key=lambda f: f.at):
        distinct.setdefault(failure.key(), failure)
    found = list(distinct.values())
    detailed = [f for f in found if f.sizes]
    found = detailed or found[:1]  # a bare error code repeats what the message before it has said
    if not found:
        return []
    rows = _rows(found[0], len(found), log)
    return [Told((Reading(Source(KIND, log.origin, "ok", _note(found)), facts(rows, log.origin)),))]


def _failures(log: Log) -> Iterator[Failure]:
    for match in near(log.text, ("ut of memory", "OutOfMemory", "of\nmemory", "out\nof"), _START):
        yield _of_pytorch(log.text[match.start() : match.start() + SPAN], match)
    for match in near(log.text, ("Out of memory", "RESOURCE_EXHAUSTED"), _XLA):
        unit = match["unit"].replace("i", "")
        yield Failure(match.start(), "jax", sizes={"tried": float(match["tried"]) * _SCALE[unit]})
    for match in near(log.text, ("in memory space hbm",), _XLA_PLAN):
        total = float(match["total"]) * _SCALE[match["total_unit"] + "B"]
        tried = float(match["used"]) * _SCALE[match["unit"] + "B"]
        yield Failure(match.start(), "jax", sizes={"tried": tried, "total": total})
    for match in near(log.text, ("OOM when",), _TF):
        elements = math.prod(int(n) for n in match["shape"].split(",")[:12] if n and len(n) < 12)
        sizes = {"tried": float(elements * _TYPES[match["type"]])} if match["type"] in _TYPES else {}
        yield Failure(match.start(), "tensorflow", sizes=sizes)
    for match in near(log.text, _BARE_WORDS, _BARE):
        yield Failure(match.start(), "")


def _of_pytorch(text: str, match: re.Match[str]) -> Failure:
    following = _START.search(text, 20)
    text = text[: following.start()] if following else text
    failure = Failure(match.start(), "pytorch")
    if gpu := _GPU.search(text, 0, 400):
        failure.gpu = gpu["index"]
    if tried := _TRIED.search(text):
        failure.sizes["tried"] = _bytes(tried["tried"], tried["tried_unit"])
    for name, patterns in _PARTS.items():
        if told := next((m for p in patterns if (m := p.search(text))), None):
            failure.sizes[name] = _bytes(told["v"], told["v_unit"])
    for process in _PROCESS.finditer(text):
        failure.processes[process["pid"]] = _bytes(process["v"], process["v_unit"])
    return failure


def _bytes(number: str, unit: str) -> float:
    """Bytes; PyTorch counts in powers of two, also where it writes MB.

    >>> _bytes("1.50", "GiB")
    1610612736.0
    """
    return float(number) * _SCALE["bytes" if unit == "bytes" else unit.replace("i", "")]


def _rows(failure: Failure, count: int, log: Log) -> Iterator[Row]:
    where, sizes = log.where(failure.at), failure.sizes
    yield row("hw.gpu.memory.allocation.failures", count, "{error}", where)
    yield row("run.gpu.used", True, "{bool}")
    yield row("run.framework", failure.framework or None, "{string}")
    yield row("hw.gpu.memory.allocation.request", sizes.get("tried"), "By", where)
    yield row("hw.gpu.memory.limit", sizes.get("total"), "By", where)
    yield row("hw.gpu.memory.free", sizes.get("free"), "By", where)
    if "total" in sizes and "free" in sizes:
        yield row("hw.gpu.memory.usage", max(0.0, sizes["total"] - sizes["free"]), "By", where)
    if failure.framework == "pytorch":
        yield row("torch.cuda.memory.ooms", count, "{error}", where)
        yield from _pool(failure, where)


def _pool(failure: Failure, where: str) -> Iterator[Row]:
    """PyTorch's own part, and that of others."""
    sizes = failure.sizes
    allocated = sizes.get("allocated")
    reserved = sizes.get("reserved")
    if reserved is None and allocated is not None and "unused" in sizes:
        reserved = allocated + sizes["unused"]
    yield row("torch.cuda.memory.allocated.peak", allocated, "By", where)
    yield row("torch.cuda.memory.reserved.peak", reserved, "By", where)
    yield row("torch.cuda.memory.graphs", sizes.get("graphs"), "By", where)
    yield row("torch.cuda.memory.allowed", sizes.get("allowed"), "By", where)
    if reserved and allocated is not None:
        yield share("torch.cuda.memory.reserved_unused.fraction", (reserved - allocated) / reserved, where)
        if "free" in sizes:
            left = sizes["free"] + max(0.0, reserved - allocated)
            yield row("hw.gpu.memory.allocation.left", left, "By", where)
    own, foreign = shares(sizes, failure.processes, reserved)
    yield row("hw.gpu.process.memory", own, "By", where)
    yield row("hw.gpu.process.foreign_memory", foreign, "By", where)
    if own is not None and reserved is not None:
        yield row("torch.cuda.memory.non_torch", max(0.0, own - reserved), "By", where)


def shares(
    sizes: Mapping[str, float], processes: Mapping[str, float], reserved: float | None
) -> tuple[float | None, float | None]:
    """Bytes that this process and others hold, None where the message does not tell.

    In a container PyTorch does not know its own number outside, and lists itself as one more process: it is then
    the smallest that holds at least what PyTorch has reserved.
    """
    others = {pid: used for pid, used in processes.items() if used < 2**50}  # a bug of some releases prints 16 EiB
    own = sizes.get("own")
    if own is None and others and reserved is not None:
        fits = [pid for pid, used in others.items() if used >= 0.99 * reserved]
        if fits:
            own = others.pop(min(fits, key=lambda pid: others[pid]))
    if own is None:
        return None, None
    return own, sum(others.values())


def _note(found: list[Failure]) -> str:
    first = found[0]
    what = {"pytorch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow"}.get(first.framework, "a CUDA library")
    parts = [f"{what} could not get device memory"]
    if first.gpu:
        parts.append(f"on GPU {first.gpu}")
    if "tried" in first.sizes:
        parts.append(f"for a request of {first.sizes['tried'] / 2**20:,.6g} MiB")
    more = f"; {len(found)} failures in all, the numbers are those of the first" if len(found) > 1 else ""
    return " ".join(parts) + more + "."
