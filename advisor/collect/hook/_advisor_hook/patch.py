"""Puts probes into torch's DataLoader and optimizers, and takes them out again.

A probe never adds a Python frame between the program and torch: it is a descriptor that acts when the method is
looked up and hands back a C-level callable. Tracebacks and the places that warnings point to therefore stay
exactly as they are without the hook. Nothing is counted here (steps.py, fetch.py) or written (output.py).
"""

# ruff: noqa: SLF001 - the probed class is private to torch, and frames have no public name

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any

from . import extras, fail, fetch, probe_loader, steps

_undo: list[tuple[Any, str, Any]] = []
_handles: list[Any] = []
_ABSENT = object()


class Probe:
    """Stands in for a method: looked up on an object it calls `bind(object)`, on the class it is the method."""

    def __init__(self, method: Callable[..., Any], bind: Callable[[Any], Any]) -> None:
        self.method = method
        self.bind = bind

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self.method
        try:
            return self.bind(instance)
        except Exception as error:
            fail(f"measuring {self.method.__qualname__}", error)
            return types.MethodType(self.method, instance)


def then(method: Callable[..., Any], instance: Any, after: Callable[[Any], Any]) -> Any:
    """A callable that returns ``after(method(instance))``, run by C code; `after` is skipped when `method` raises."""
    return map(after, map(method, (instance,))).__next__


def apply(module: types.ModuleType) -> None:
    """Hook one of torch's modules, right after the program imported it."""
    if module.__name__ == "torch.optim.optimizer":
        _optimizer(module)
    elif module.__name__ == "torch.utils.data.dataloader":
        _dataloader(module)


def undo() -> None:
    """Take every probe out again; what was measured so far is kept.

    The optimizer hooks stay registered and do nothing: torch may be iterating over them at this moment.
    """
    steps.recorder.stopped = True
    extras.undo()
    while _undo:
        owner, name, was = _undo.pop()
        if was is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, was)


def _put(owner: Any, name: str, value: Any) -> None:
    _undo.append((owner, name, vars(owner).get(name, _ABSENT)))
    setattr(owner, name, value)


def _dataloader(module: types.ModuleType) -> None:
    loader, iterator = module.DataLoader, module._BaseDataLoaderIter
    fetchers = sys.modules["torch.utils.data._utils.fetch"]
    init, begin, following = vars(loader)["__init__"], vars(loader)["__iter__"], vars(iterator)["__next__"]

    @functools.wraps(init)
    def init_by_class(self: Any, *args: Any, **kwargs: Any) -> None:
        _made(self, sys._getframe(1))
        init(self, *args, **kwargs)

    def bind_init(instance: Any) -> Any:
        _made(instance, sys._getframe(2))
        return types.MethodType(init, instance)

    def bind_iter(instance: Any) -> Any:
        return then(begin, instance, functools.partial(_iterating, instance))

    def bind_next(instance: Any) -> Any:
        recorder = steps.recorder
        if "_advisor_loader" not in vars(instance):
            recorder.iterating(None, instance)
        loader = vars(instance)["_advisor_loader"]
        if not loader.asked_loop:
            loader.begun(sys._getframe(2))
        busy = recorder.device_busy()
        after = functools.partial(_waited, instance, busy, thread_time(), perf_counter())
        return then(following, instance, after)

    # Reading `DataLoader.__init__` off the class gives a plain function: frameworks wrap that one and put it back.
    _put(loader, "__init__", Probe(init_by_class, bind_init))
    _put(loader, "__iter__", Probe(begin, bind_iter))
    _put(iterator, "__next__", Probe(following, bind_next))
    for name in ("_MapDatasetFetcher", "_IterableDatasetFetcher"):
        cls = getattr(fetchers, name)
        method = vars(cls)["fetch"]
        _put(cls, "fetch", Probe(method, functools.partial(fetch.bind, method)))


def _made(loader: Any, frame: types.FrameType) -> None:
    try:
        if not steps.recorder.stopped:
            steps.recorder.made(loader, frame)
    except Exception as error:
        fail("finding the line that makes a DataLoader", error)


def _iterating(loader: Any, iterator: Any) -> Any:
    try:
        if not steps.recorder.stopped:
            steps.recorder.iterating(loader, iterator)
    except Exception as error:
        fail("describing a DataLoader", error)
    return iterator


def _waited(iterator: Any, busy: Any, cpu: float, start: float, batch: Any) -> Any:
    now = perf_counter()
    try:
        if not steps.recorder.stopped:
            loader = vars(iterator)["_advisor_loader"]
            steps.recorder.waited(loader, busy, now - start, thread_time() - cpu)
            extras.arrived(loader.index, batch)
            if probe_loader.WANTED:
                probe_loader.after(iterator, loader)
    except Exception as error:
        fail("measuring DataLoader.__next__", error)
    return batch


def _optimizer(module: types.ModuleType) -> None:
    if hasattr(module, "register_optimizer_step_post_hook"):
        module.register_optimizer_step_pre_hook(_before_step)
        module.register_optimizer_step_post_hook(_after_step)
        return
    init = vars(module.Optimizer)["__init__"]

    def bind(instance: Any) -> Any:
        _time_class_step(type(instance))
        return types.MethodType(init, instance)

    _put(module.Optimizer, "__init__", Probe(init, bind))


def _time_class_step(cls: Any) -> None:
    """Before PyTorch 2.0 there are no global step hooks: probe the class that defines `step`."""
    owner = next(c for c in cls.__mro__ if "step" in vars(c))
    method = vars(owner)["step"]
    if isinstance(method, Probe):
        return

    @functools.wraps(method)
    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        _before_step()
        result = method(self, *args, **kwargs)
        _after_step(self)
        return result

    if not getattr(method, "_advisor", False):
        step._advisor = True  # type: ignore[attr-defined]
        _put(owner, "step", step)


def _before_step(*_: Any) -> None:
    try:
        if not steps.recorder.stopped:
            steps.recorder.step_begins()
    except Exception as error:
        fail("measuring Optimizer.step", error)


def _after_step(optimizer: Any, *_: Any) -> None:
    try:
        if not steps.recorder.stopped:
            steps.recorder.step_ends(optimizer)
    except Exception as error:
        fail("measuring Optimizer.step", error)


# A compiled optimizer step must not be traced into the hook; this is what `torch.compiler.disable` leaves behind.
for _hook in (_before_step, _after_step):
    vars(_hook)["_torchdynamo_disable"] = True


def _forget() -> None:
    """A forked child counts for itself."""
    steps.recorder.reset()
    fetch.reset()
    extras.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
