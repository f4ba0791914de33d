"""Times how long a DataLoader worker process takes per batch, wall and CPU.

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

from . import fail, output

_totals: dict[str, dict[str, Any]] = {}
_written: dict[str, float] = {}


class Call(functools.partial):  # type: ignore[type-arg]
    """One call of `fetch`: dies right after it, on success or not, and then counts it.

    Being a C callable it leaves no frame in the tracebacks that workers send to the training process.
    """

    key: str
    cpu: float
    start: float

    def __del__(self) -> None:
        """Count the batch."""
        try:
            _count(self.key, perf_counter() - self.start, thread_time() - self.cpu)
        except Exception as error:
            fail("measuring a DataLoader worker", error)


def bind(method: Callable[..., Any], fetcher: Any) -> Any:
    """What `fetcher.fetch` is: the plain method in the training process, a timed call in a worker."""
    worker = sys.modules.get("torch.utils.data._utils.worker")
    info = getattr(worker, "_worker_info", None)
    plain = types.MethodType(method, fetcher)
    if info is None:
        return plain
    key = vars(fetcher).get("_advisor_key")
    if key is None:
        key = vars(fetcher)["_advisor_key"] = _slot(fetcher, info)
    call = Call(plain)
    call.key, call.cpu, call.start = key, thread_time(), perf_counter()
    return call


def reset() -> None:
    """Forget the parent's batches after a fork."""
    _totals.clear()
    _written.clear()


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
        "first": before.get("first"),
    }
    output.at_exit(_flush)
    return name


def _count(key: str, wall: float, cpu: float) -> None:
    total = _totals[key]
    if key not in _written and total["first"] is None:
        total["first"] = wall  # opens files and fills caches: kept apart
    else:
        total["batches"] += 1
        total["wall"] += wall
        total["cpu"] += cpu
    now = perf_counter()
    if now - _written.get(key, 0.0) > 0.5:
        _written[key] = now
        output.write(key, dict(total, pid=os.getpid()))


def _flush() -> None:
    for name, total in _totals.items():
        output.write(name, dict(total, pid=os.getpid()))
