"""Puts probes into torch's DataLoader and optimizers, and takes them out again.

How a probe stays unseen is in probe.py, what else is probed in phases.py. Nothing is counted here (steps.py,
fetch.py) or written (output.py).
"""

# ruff: noqa: SLF001 - the probed class is private to torch, and frames have no public name

from __future__ import annotations

import functools
import os
import sys
import types
from threading import get_ident
from time import perf_counter, thread_time
from typing import Any

from . import extras, fail, fetch, phases, probe_loader, stacks, steps
from .probe import Probe, Timed, put, take_out, then
from .queued import run_delay


def apply(module: types.ModuleType) -> None:
    """Hook one of torch's modules, right after the program imported it."""
    steps.recorder.on_write = fetch.look = phases.look
    steps.recorder.pauses.install()
    if module.__name__ == "torch.optim.optimizer":
        _optimizer(module)
        stacks.sampler.start()
    elif module.__name__ == "torch.utils.data.dataloader":
        _dataloader(module)
    phases.look()


def undo() -> None:
    """Take every probe out again; what was measured so far is kept.

    The optimizer hooks stay registered and do nothing: torch may be iterating over them at this moment.
    """
    steps.recorder.stopped = True
    extras.undo()
    stacks.sampler.stop()
    steps.recorder.pauses.remove()
    steps.recorder.syncs.remove()
    take_out()


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
        return then(begin, instance, functools.partial(_iterating, instance, perf_counter()))

    # Reading `DataLoader.__init__` off the class gives a plain function: frameworks wrap that one and put it back.
    put(loader, "__init__", Probe(init_by_class, bind_init))
    put(loader, "__iter__", Probe(begin, bind_iter))
    put(iterator, "__next__", Next(following))
    fetch.probe(fetchers)


class Next:
    """Stands in for an iterator's ``__next__``, as `Probe` does: every batch passes here."""

    def __init__(self, method: Any) -> None:
        self.method = method

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self.method
        try:
            recorder = steps.recorder
            loader = vars(instance).get("_advisor_loader")
            if loader is None:
                recorder.iterating(None, instance)
                loader = vars(instance)["_advisor_loader"]
            if not loader.asked_loop:
                loader.begun(sys._getframe(1))
            if not loader.trains or recorder.evaluated is not None:
                recorder.asked(loader)
            before = (thread_time(), run_delay()) if loader.in_process and loader.samples_cpu() else None
            after = functools.partial(_waited, instance, loader, before, perf_counter())
            return map(after, map(self.method, (instance,))).__next__
        except Exception as error:
            fail("measuring DataLoader.__next__", error)
            return types.MethodType(self.method, instance)


def _made(loader: Any, frame: types.FrameType) -> None:
    try:
        if not steps.recorder.stopped:
            steps.recorder.made(loader, frame)
    except Exception as error:
        fail("finding the line that makes a DataLoader", error)


def _iterating(loader: Any, start: float, iterator: Any) -> Any:
    try:
        if not steps.recorder.stopped:
            steps.recorder.iterating(loader, iterator, perf_counter() - start)
            fetcher = getattr(iterator, "_dataset_fetcher", None)
            if fetcher is not None and not isinstance(fetcher.collate_fn, Timed):
                fetch.time_collate(fetcher, vars(iterator)["_advisor_loader"])
    except Exception as error:
        fail("describing a DataLoader", error)
    return iterator


def _waited(iterator: Any, loader: Any, before: tuple[float, float] | None, start: float, batch: Any) -> Any:
    now = perf_counter()
    try:
        recorder = steps.recorder
        if not recorder.stopped:
            spent = None if before is None else (thread_time() - before[0], run_delay() - before[1])
            recorder.waited(loader, start, now, spent)
            making = vars(iterator)["_advisor_new"]
            if making is not None:
                vars(iterator)["_advisor_new"] = None
                recorder.epoch(loader, now, now - start + making)
            loader.drawn += 1
            if loader.drawn >= loader.look:
                loader.look = extras.arrived(loader.index, loader.drawn, batch)
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

    put(module.Optimizer, "__init__", Probe(init, bind))


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
        put(owner, "step", step)


def _before_step(*_: Any) -> None:
    recorder = steps.recorder
    if not recorder.stopped:
        recorder.began[get_ident()] = perf_counter()


def _after_step(optimizer: Any, *_: Any) -> None:
    try:
        recorder = steps.recorder
        if not recorder.stopped:
            recorder.step_ends(optimizer)
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
