"""Where the program makes the CPU wait for the GPU, and how long it copies to it: looked at in some steps only.

The methods that do so belong to every tensor, so the probes are in for `WINDOW` of every `EVERY` steps, and only
in processes that use a GPU; the rest of the time tensors are exactly as without the hook. torch.compile would trace
into the probes and break its graphs there, so they stay out of processes that compile.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from typing import Any

from . import describe, fail
from .groups import Step
from .probe import Probe, Timed, timed

FIRST = 8
WINDOW = 32
EVERY = 512
PLACES = 64
BLOCKING = ("item", "tolist", "cpu", "__bool__", "__int__", "__float__", "__index__")
COPYING = ("to", "cuda")
_ABSENT = object()


class Syncs:
    """The window and what was seen in it: ``file:line`` to [calls, seconds] in `places`."""

    def __init__(self) -> None:
        self.places: dict[str, list[float]] = {}
        self._was: list[tuple[Any, str, Any]] = []
        self._thread: int | None = None
        self._step = Step()

    def wants(self, ends: int) -> bool:
        """Whether `step` has something to do after this many steps."""
        return bool(self._was) or ends % EVERY == FIRST

    def step(self, ends: int, step: Step) -> None:
        """The training thread begins the step after the first `ends`: open or close the window."""
        at = ends % EVERY
        if at == FIRST and not self._was and describe.cuda_ready() is not None and not describe.compiles():
            self._thread = get_ident()
            self._install()
        elif at == FIRST + WINDOW:
            self.remove()
        if self._was:
            self._step = step
            step.sampled = 1

    def remove(self) -> None:
        """Make tensors as they were."""
        while self._was:
            owner, name, was = self._was.pop()
            if was is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, was)

    def _install(self) -> None:
        torch = sys.modules["torch"]
        for name in BLOCKING:
            method = getattr(torch.Tensor, name)
            self._put(torch.Tensor, name, Probe(method, functools.partial(self._bind, method)))
        for name in COPYING:
            self._put(torch.Tensor, name, self._copying(getattr(torch.Tensor, name)))
        self._put(torch.cuda, "synchronize", Timed(torch.cuda.synchronize, self._bind_function))
        for cls in (torch.cuda.Event, torch.cuda.Stream):
            method = getattr(cls, "synchronize", None)
            if method is not None:
                self._put(cls, "synchronize", Probe(method, functools.partial(self._bind_always, method)))

    def _put(self, owner: Any, name: str, value: Any) -> None:
        self._was.append((owner, name, vars(owner).get(name, _ABSENT)))
        setattr(owner, name, value)

    def _bind(self, method: Any, tensor: Any) -> Any:
        plain = method.__get__(tensor)
        return plain if tensor.is_cpu else self._bind_function(plain)

    def _bind_always(self, method: Any, instance: Any) -> Any:
        return self._bind_function(method.__get__(instance))

    def _bind_function(self, plain: Any) -> Any:
        done = self._begin()
        return plain if done is None else timed(plain, done)

    def _begin(self) -> Callable[[], None] | None:
        step = self._step
        if self._thread != get_ident() or step.blocked:
            return None
        step.blocked = True
        return functools.partial(self._blocked, step, describe.where(sys._getframe(1)), perf_counter())  # noqa: SLF001

    def _blocked(self, step: Step, where: str | None, start: float) -> None:
        took = perf_counter() - start
        step.blocked = False
        step.syncs += 1
        step.sync += took
        place = self.places.get(str(where))
        if place is None and len(self.places) < PLACES:
            place = self.places[str(where)] = [0, 0.0]
        if place is not None:
            place[0] += 1
            place[1] += took

    def _copying(self, method: Any) -> Callable[..., Any]:
        """The one probe that is a Python function: only the result tells whether this was a copy to the device."""

        @functools.wraps(method)
        def copy(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            start = perf_counter()
            result = method(tensor, *args, **kwargs)
            try:
                self._copied(tensor, result, start)
            except Exception as error:
                fail("measuring a copy to the device", error)
            return result

        return copy

    def _copied(self, tensor: Any, result: Any, start: float) -> None:
        if self._thread != get_ident() or tensor.is_cpu == result.is_cpu:
            return
        if tensor.is_cpu:
            self._step.copies += 1
            self._step.copy += perf_counter() - start
        else:
            self._blocked(self._step, describe.where(sys._getframe(2)), start)  # noqa: SLF001
