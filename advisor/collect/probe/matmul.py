"""How fast the user's torch multiplies matrices here: what a training step can reach at best."""

from __future__ import annotations

import time
from collections.abc import Sequence

from advisor.collect.base import Facts, Parsed, Sample
from advisor.collect.probe.budget import DEFAULT, MIB, Budget, Refused, crowd, need_memory
from advisor.collect.probe.torch_child import NoTorch, ask


class MatmulProbe:
    """The best rate of square matrix products in bfloat16 and float32, on every GPU or else on the CPU."""

    kind = "matmul probe"
    origin = "matmul probe"
    once = True

    def __init__(self, python: str | None = None, budget: Budget = DEFAULT) -> None:
        self._python, self._budget = python, budget

    def plan(self) -> str:
        """What it is about to do, for a person."""
        return f"multiplies matrices with your torch on every GPU, else on the CPU, at most {self._budget.seconds:g} s"

    def read(self) -> Sample:
        """FLOP/s per device and dtype, with the size of the matrices that reached it."""
        began = time.monotonic()
        need_memory(self._budget.size)
        crowded = crowd()
        try:
            answer = ask(self._python, "matmul", self._budget)
        except NoTorch as error:
            raise Refused(str(error)) from None
        sizes = ", ".join(f"{d['where']}: {d['size']}" for d in answer["devices"])
        skipped = "".join(f"; {reason}" for reason in answer["skipped"])
        cost = f"took {time.monotonic() - began:.1f} s and {answer['bytes'] / MIB:.0f} MiB"
        return {
            "devices": answer["devices"],
            "note": f"{cost}; torch {answer['torch']}, matrices of {sizes or 'no device'}{skipped}{crowded}",
        }

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Rates of the slowest device."""
        facts = Facts(self.origin)
        for dtype in ("bf16", "fp32"):
            known = [d for d in samples[-1]["devices"] if d.get(dtype)]
            slowest = min(known, key=lambda d: float(d[dtype]), default=None)
            if slowest:
                facts.add(f"probe.matmul.{dtype}.rate", slowest[dtype], "{flop}/s", slowest["where"])
        return facts.all(), {}
