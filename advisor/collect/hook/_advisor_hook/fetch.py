"""Times how long a DataLoader worker process takes per batch, wall and CPU, and how much of it is collating.

Only in worker processes: with ``num_workers=0`` the wait in the training process is the same thing. A worker
that takes over a slot from an earlier epoch adds to what that one wrote.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any

from . import output, stacks
from .probe import Call, Probe, Timed, put, timed
from .queued import run_delay

_worker: Any = None  # torch's module of worker processes
_totals: dict[str, dict[str, Any]] = {}
_written: dict[str, float] = {}
_warm: set[str] = set()


def probe(fetchers: types.ModuleType) -> None:
    """Time both kinds of fetchers, in workers."""
    global _worker  # noqa: PLW0603
    _worker = sys.modules.get("torch.utils.data._utils.worker")
    for name in ("_MapDatasetFetcher", "_IterableDatasetFetcher"):
        cls = getattr(fetchers, name)
        method = vars(cls)["fetch"]
        put(cls, "fetch", Probe(method, functools.partial(bind, method)))


def bind(method: Callable[..., Any], fetcher: Any) -> Any:
    """What `fetcher.fetch` is: the plain method in the training process, a timed call in a worker."""
    info = _worker._worker_info if _worker is not None else None  # noqa: SLF001 - torch has no cheaper question
    plain = types.MethodType(method, fetcher)
    if info is None:
        return plain
    key = vars(fetcher).get("_advisor_key")
    if key is None:
        key = vars(fetcher)["_advisor_key"] = _slot(fetcher, info)
        fetcher.collate_fn = Timed(fetcher.collate_fn, functools.partial(_bind_collate, _totals[key]))
    return timed(plain, functools.partial(_count, key, thread_time(), run_delay(), perf_counter()))


def _bind_collate(total: dict[str, Any], function: Callable[..., Any]) -> Any:
    return timed(function, functools.partial(_collated, total, perf_counter()))


def _collated(total: dict[str, Any], start: float) -> None:
    total["collate"] += perf_counter() - start


class Collating(Call):
    """One call of a ``collate_fn`` in the training process."""

    loader: Any
    start: float

    def __del__(self) -> None:
        """Note how long it took; the batch is counted when it has arrived."""
        self.loader.collating = perf_counter() - self.start


def time_collate(fetcher: Any, loader: Any) -> None:
    """Time the fetcher's ``collate_fn``, for a loader without workers."""

    def bind_collate(function: Callable[..., Any]) -> Any:
        if not loader.times_collate():
            return function
        call = Collating(function)
        call.loader, call.start = loader, perf_counter()
        return call

    fetcher.collate_fn = Timed(fetcher.collate_fn, bind_collate)


def look() -> None:
    """Replaced by what looks for modules that were imported meanwhile."""


def reset() -> None:
    """Forget the parent's batches after a fork."""
    _totals.clear()
    _written.clear()
    _warm.clear()


def _slot(fetcher: Any, info: Any) -> str:
    from .describe import length

    dataset = type(fetcher.dataset).__name__
    size = length(fetcher.dataset)
    parent = output.parent()
    name = f"worker-{parent}-{info.id}-{dataset}-{size}.json"
    before = output.read(name)
    _totals[name] = {
        "ppid": parent,
        "worker": info.id,
        "dataset": dataset,
        "length": size,
        "batches": before.get("batches", 0),
        "wall": before.get("wall", 0.0),
        "cpu": before.get("cpu", 0.0),
        "delay": before.get("delay", 0.0),
        "first": before.get("first"),
        "collate": before.get("collate", 0.0),
        "settled": before.get("collate", 0.0),  # without what the first batch of this process adds
        "tokenizes": before.get("tokenizes"),
    }
    output.at_exit(_flush)
    stacks.sampler.start("worker")
    return name


def _count(key: str, cpu: float, delay: float, start: float) -> None:
    wall, cpu, delay = perf_counter() - start, thread_time() - cpu, run_delay() - delay
    total = _totals[key]
    if key not in _warm:  # the first batch of every worker opens files and fills caches: kept apart
        _warm.add(key)
        total["first"] = wall
        total["collate"] = total["settled"]
    else:
        total["batches"] += 1
        total["wall"] += wall
        total["cpu"] += cpu
        total["delay"] += delay
    now = perf_counter()
    if now - _written.get(key, 0.0) > 0.5:
        _written[key] = now
        look()
        output.write(key, dict(total, pid=os.getpid()))


def tokenized(where: str) -> None:
    """A tokenizer was called while a sample or a batch was made."""
    for total in _totals.values():
        total["tokenizes"] = where


def _flush() -> None:
    for name, total in _totals.items():
        output.write(name, dict(total, pid=os.getpid()))
    stacks.sampler.write()
