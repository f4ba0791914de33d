"""Stacks in JSON: `py-spy dump --json` and speedscope files -> what main threads and loader workers were doing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.artefact import Artefact, Tick
from advisor.readers.rows import facts
from advisor.readers.stacks.stack import KIND, MAX_STACKS, Frame, Stack, note, rows
from advisor.readers.told import Told

__all__ = ["holds", "read"]

MAX_BYTES = 512 << 20
MAX_DEPTH = 4096  # frames of one stack


def holds(artefact: Artefact) -> bool:
    """Whether a JSON text is of one of the two kinds."""
    head = artefact.text_head.lstrip()[:8192]
    if head.startswith("["):
        return '"owns_gil"' in head or ('"thread_id"' in head and '"frames"' in head)
    return head.startswith("{") and "speedscope.app/file-format-schema" in artefact.text_head


def read(artefacts: Sequence[Artefact], tick: Tick) -> list[Told]:
    """What all of them say about one program.

    Raises:
        InputError: when one is damaged or holds no stacks.
    """
    return [Told(tuple(_reading(artefact, tick) for artefact in artefacts))]


def _reading(artefact: Artefact, tick: Tick) -> Reading:
    import msgspec

    try:
        data = msgspec.json.decode(artefact.read(MAX_BYTES, tick))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"{artefact.origin} is JSON that is damaged or cut off ({error}); copy it again") from None
    dump = isinstance(data, list)
    stacks = list(_threads(data) if dump else _speedscope(data))
    if not any(s.frames for s in stacks):
        raise InputError(f"{artefact.origin} holds no stacks of Python; sample the process while it works")
    found = facts(rows(stacks, None), artefact.origin)
    return Reading(Source(KIND, artefact.origin, "ok", note(stacks, dump)), found)


def _threads(data: list[Any]) -> Iterator[Stack]:
    for thread in data[:MAX_STACKS]:
        if isinstance(thread, dict) and isinstance(thread.get("frames"), list):
            frames = tuple(_frame(f, "short_filename", "filename") for f in thread["frames"][:MAX_DEPTH])
            yield Stack(tuple(f for f in frames if f), 1, str(thread.get("thread_name") or ""))


def _speedscope(data: Any) -> Iterator[Stack]:
    """Sampled profiles: stacks are lists of numbers of shared frames, outermost first."""
    shared = data.get("shared") if isinstance(data, dict) else None
    known = shared.get("frames") if isinstance(shared, dict) else None
    profiles = data.get("profiles") if isinstance(data, dict) else None
    if not isinstance(known, list) or not isinstance(profiles, list):
        return
    frames = [_frame(f, "file") for f in known]
    seen = 0
    for profile in profiles:
        samples = profile.get("samples") if isinstance(profile, dict) else None
        for sample in samples if isinstance(samples, list) else ():
            seen += 1
            if seen > MAX_STACKS or not isinstance(sample, list):
                return
            numbers = [n for n in sample[-MAX_DEPTH:] if isinstance(n, int) and 0 <= n < len(frames)]
            yield Stack(
                tuple(f for n in reversed(numbers) if (f := frames[n])), 1, _thread(str(profile.get("name", "")))
            )


def _thread(name: str) -> str:
    """The thread's own name in ``Process 1 Thread 2 "MainThread"``; empty where there is none."""
    return name.split('"')[1] if name.count('"') >= 2 else ""


def _frame(told: Any, *file: str) -> Frame | None:
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        return None
    line = told.get("line")
    path = next((told[key] for key in file if isinstance(told.get(key), str)), "")
    return Frame(
        told["name"][:200], path.replace("\\", "/")[:400], line if isinstance(line, int) and 0 <= line < 1e9 else 0
    )
