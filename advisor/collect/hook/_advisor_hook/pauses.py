"""Counts how long Python's cyclic garbage collector stops this process. Nothing else runs meanwhile: it has the GIL."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any


class Pauses:
    """The collections so far, in seconds; `install` begins to count."""

    def __init__(self) -> None:
        self.began = 0.0
        self.seconds = 0.0
        self.longest = 0.0
        self.count = 0

    def install(self) -> None:
        """Begin to count."""
        if self not in gc.callbacks:
            gc.callbacks.append(self)

    def remove(self) -> None:
        """Count no more."""
        if self in gc.callbacks:
            gc.callbacks.remove(self)

    def __call__(self, phase: str, info: dict[str, Any], clock: Any = perf_counter) -> None:  # noqa: ARG002
        """Called by the interpreter, also while it ends: uses nothing global."""
        if phase == "start":
            self.began = clock()
        elif self.began:
            pause = clock() - self.began
            self.began = 0.0
            self.seconds += pause
            self.count += 1
            self.longest = max(self.longest, pause)

    def content(self) -> dict[str, float]:
        """For the output file."""
        return {"seconds": self.seconds, "longest": self.longest, "count": self.count}
