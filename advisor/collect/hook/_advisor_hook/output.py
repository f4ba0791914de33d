"""Writes what the hook measured: one small JSON file per process, replaced as a whole, at most once a second.

Nothing here runs in a thread of its own; the callers come by at step and batch boundaries and at exit.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable
from time import perf_counter, time
from typing import Any

START = perf_counter()
STARTED = time()
CWD = os.getcwd()

_exit_in: list[int] = []


def write(name: str, content: dict[str, Any]) -> None:
    """Replace the file `name` in the output folder; a full or vanished disk loses data, never the program."""
    folder = os.environ.get("ADVISOR_HOOK_DIR", "")
    path = os.path.join(folder, name)
    try:
        with open(path + ".new", "w", encoding="utf-8") as out:
            out.write(json.dumps(content, default=str))  # not json.dump, which encodes in Python
        os.replace(path + ".new", path)
    except OSError:
        pass


def read(name: str) -> dict[str, Any]:
    """What a process before this one wrote under `name`; empty when there is nothing to use."""
    try:
        with open(os.path.join(os.environ.get("ADVISOR_HOOK_DIR", ""), name), encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def parent() -> int:
    """Process id of the process that made this one, also through a fork server."""
    process = sys.modules.get("multiprocessing.process")
    maker = process.parent_process() if process is not None and hasattr(process, "parent_process") else None
    return maker.pid if maker is not None and maker.pid else os.getppid()


def at_exit(flush: Callable[[], None]) -> None:
    """Call `flush` when this process ends, once per process.

    multiprocessing's children leave through ``os._exit`` and know only multiprocessing's own finalizers.
    """
    if os.getpid() in _exit_in:
        return
    _exit_in[:] = [os.getpid()]
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing import util

        util.Finalize(None, flush, exitpriority=0)
    else:
        atexit.register(flush)
