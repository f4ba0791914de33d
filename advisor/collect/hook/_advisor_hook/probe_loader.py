"""Reads the training DataLoader without the model, then ends the process: the loader probe, only when asked for.

It takes over inside the first batch that the program asks for after an optimizer step, so that it is the training
loader and its workers are warm. From there on no code of the program but its dataset runs: no further step, no
evaluation, no checkpoint, no handler at exit. The process leaves through ``os._exit``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from time import perf_counter
from typing import Any

from . import output, steps
from .loaders import Loader

WANTED = float(os.environ.get("ADVISOR_LOADER_PROBE") or 0.0)  # seconds to read for; 0 is never
BATCHES = 1000
UNTRAINED = 500  # batches of a loader, after which a program without an optimizer is taken for inference


def after(iterator: Any, loader: Loader) -> None:
    """A batch has arrived: when it is time, read on alone and do not come back."""
    trained = bool(steps.recorder.ends)
    if sys.modules["torch"].is_grad_enabled() if trained else loader.batches >= UNTRAINED:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread: then no signal comes here
                signal.signal(number, signal.SIG_DFL)  # the program's own handlers may save things
        try:
            _end(iterator, _alone(iterator, loader))
        finally:
            os._exit(1)


def _alone(iterator: Any, loader: Loader) -> dict[str, Any]:
    """Batches and seconds, after what the workers had queued is used up."""
    following = type(iterator).__next__
    queued = (getattr(iterator, "_num_workers", 0) or 0) * (getattr(iterator, "_prefetch_factor", 0) or 0)
    found = dict(
        loader.facts, trained=bool(steps.recorder.ends), batches=0, seconds=0.0, queued=queued, skipped=0, error=None
    )
    try:
        began = perf_counter()
        while found["skipped"] < queued and perf_counter() - began < WANTED / 2:
            following(iterator)
            found["skipped"] += 1
        began = perf_counter()
        while found["batches"] < BATCHES and perf_counter() - began < WANTED:
            following(iterator)
            found["batches"] += 1
            found["seconds"] = perf_counter() - began
    except StopIteration:
        pass  # the epoch is over: what was read counts
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def _end(iterator: Any, found: dict[str, Any]) -> None:
    output.write(f"loader-{os.getpid()}.probe", found)
    steps.recorder.finish()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    stop = getattr(iterator, "_shutdown_workers", None)
    if stop is not None:
        with contextlib.suppress(Exception):
            stop()
    os._exit(0)
