"""Profiles of SageMaker Debugger: how its files are known.

A profile is a folder with ``system/incremental/`` (utilisation samples as JSON lines), ``framework/pevents/`` (events
of steps, input pipelines and collectives in Chrome's trace format, one per line) and the framework's own profiles.
"""

from __future__ import annotations

from collections.abc import Mapping

from advisor.readers.artefact import Artefact

MARKS = ("framework/pevents/", "system/incremental/", "framework/tensorflow/", "framework/pytorch/")


def looks_like_system(head: str) -> bool:
    """Whether a text is a file of utilisation samples, by its first line."""
    line = head.lstrip()[:400].split("\n", 1)[0]
    return line.startswith("{") and '"Dimension"' in line and '"NodeId"' in line


def looks_like_timeline(head: str) -> bool:
    """Whether a text is a file of framework events, or Horovod's timeline, which has the same form."""
    start = head.lstrip()
    if not start.startswith("["):
        return False
    return any(mark in start[:20_000] for mark in ("start_time_since_epoch_in_micros", '"NEGOTIATE_', '"CYCLE_START"'))


def root(files: Mapping[str, Artefact]) -> str | None:
    """Where in the names of a folder's files a profile begins; None when there is none, or more than one."""
    roots = {name[: name.find(mark)] for name in files for mark in MARKS if f"/{mark}" in f"/{name}"}
    return next(iter(roots)) if len(roots) == 1 else None
