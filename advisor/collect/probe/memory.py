"""How fast this machine copies memory: within the host, and to each GPU where the user's torch has CUDA."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Sequence

from advisor.collect.base import Facts, Parsed, Sample
from advisor.collect.probe.budget import DEFAULT, MIB, Budget, crowd, need_memory
from advisor.collect.probe.torch_child import NoTorch, ask

THREADS = 8  # as many fill the memory channels of one socket
ROUNDS = 5


class MemoryProbe:
    """Bandwidth of copies in host memory, and to GPUs from pinned and from pageable memory."""

    kind = "memory probe"
    origin = "memory probe"
    once = True

    def __init__(self, python: str | None = None, budget: Budget = DEFAULT) -> None:
        self._python, self._budget = python, budget

    def plan(self) -> str:
        """What it is about to do, for a person."""
        size, seconds = self._budget.size // MIB, self._budget.seconds
        return f"copies {size} MiB of memory to and fro, also to GPUs, at most {seconds:g} s"

    def read(self) -> Sample:
        """Bytes per second of the best round; the same per GPU and kind of host memory."""
        began = time.monotonic()
        crowded = crowd()
        threads = min(THREADS, len(os.sched_getaffinity(0)))
        need_memory(self._budget.size)
        rate = copy_rate(threads, self._budget.size // (2 * threads), min(2.0, self._budget.seconds / 4))
        sample: Sample = {"threads": threads, "copy": rate, "gpus": []}
        try:
            answer = ask(self._python, "h2d", self._budget)
            sample["gpus"] = answer["gpus"]
            said = list(answer["skipped"])
            if not answer["cuda"]:
                said.append(f"torch {answer['torch']} sees no CUDA GPU to copy to")
        except NoTorch as error:
            said = [f"no copies to a GPU: {error}"]
        size = self._budget.size // MIB
        cost = f"took {time.monotonic() - began:.1f} s and {size} MiB; {threads} threads{crowded}"
        sample["note"] = "; ".join([cost, *said])
        return sample

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """The host's rate, and those of the slowest GPU."""
        facts = Facts(self.origin)
        sample = samples[-1]
        facts.add("probe.memory.copy.rate", sample["copy"], "By/s")
        for key, name in (("pinned", "probe.gpu.h2d.rate"), ("pageable", "probe.gpu.h2d.pageable.rate")):
            slowest = min(sample["gpus"], key=lambda gpu: gpu[key], default=None)
            if slowest:
                facts.add(name, slowest[key], "By/s", slowest["where"])
        return facts.all(), {}


def copy_rate(threads: int, size: int, seconds: float) -> float:
    """Bytes copied per second by `threads` threads with two buffers of `size` bytes each; the best of some rounds."""
    # Written once: pages that were never touched are all the same page of zeros.
    pairs = [(bytearray(b"\1") * size, bytearray(b"\2") * size) for _ in range(threads)]
    copied = [0] * threads

    def copy(i: int, until: float) -> None:
        source, target = ((ctypes.c_char * size).from_buffer(buffer) for buffer in pairs[i])
        while time.monotonic() < until:
            ctypes.memmove(target, source, size)  # without the interpreter's lock
            copied[i] += size

    best = 0.0
    for _ in range(ROUNDS):
        copied[:] = [0] * threads
        began = time.monotonic()
        workers = [threading.Thread(target=copy, args=(i, began + seconds / ROUNDS)) for i in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = max(best, sum(copied) / (time.monotonic() - began))
    return best
