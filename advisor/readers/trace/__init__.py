"""Traces of the PyTorch profiler (Kineto's JSON) -> facts: one run, or one run of several ranks, or several runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context

from advisor.readers.artefact import Artefact, Tick, no_tick
from advisor.readers.told import Told
from advisor.readers.trace.ranks import runs
from advisor.readers.trace.told import One, tell

__all__ = ["read"]

WORTH_PROCESSES = 20 << 20  # bytes on disk: below, starting a process takes longer than reading


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What traces say: those of the ranks of one run together, others apart.

    Raises:
        InputError: when one of them cannot be used.
    """
    return runs(_in_processes(artefacts, tick) or [tell(artefact, tick) for artefact in artefacts])


def _in_processes(artefacts: Sequence[Artefact], tick: Tick) -> list[One]:
    """The same in a process per CPU; nothing where that is not worth it, or cannot be done."""
    workers = min(len(artefacts), os.cpu_count() or 1)
    if workers < 2 or any(a.path is None for a in artefacts) or sum(a.size for a in artefacts) < WORTH_PROCESSES:
        return []
    plain = [Artefact(a.origin, a.path, a.member, changed=a.changed) for a in artefacts]
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = []
            for artefact, one in zip(artefacts, pool.map(_tell, plain), strict=True):
                found.append(one)
                tick(artefact.size)
            return found
    except (BrokenExecutor, OSError, PermissionError):
        return []


def _tell(artefact: Artefact) -> One:
    return tell(artefact, no_tick)
