"""Stacks in texts: dumps of py-spy and faulthandler, `py-bt` of gdb, and folded stacks with counts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.rows import facts
from advisor.readers.stacks.stack import KIND, MAX_STACKS, Frame, Stack, note, rows
from advisor.readers.told import Told

MAX_LINE = 100_000  # a folded stack of deep recursion; no dump has lines like that
_THREAD = re.compile(
    r"Thread (?:0x)?[0-9A-Fa-f]{1,20} \((?P<state>active|idle)[^)\n]{0,20}\)(?:: \"(?P<name>[^\"\n]{0,120})\")?"
)
_HANDLER = re.compile(
    r"(?:Current thread|Thread) 0x[0-9A-Fa-f]{1,20}(?: \[(?P<name>[^\]\n]{0,80})\])? \(most recent call first\):|"
    r"(?P<gdb>Traceback \(most recent call first\):)"
)
_FRAME = re.compile(
    r"^(?P<name>[^\s(][^(\n]{0,200}?) \((?P<file>[^():\n]{1,300}(?:\([^()\n]{0,80}\))?)(?::(?P<line>\d{1,7}))?\)$"
)
_FILE = re.compile(r'^File "(?P<file>[^"\n]{1,400})", line (?P<line>\d{1,7}|\?\?\?),? in (?P<name>\S{1,200})')
_FOLDED = re.compile(r"^(?P<stack>[^\n]*\)) (?P<count>\d{1,9})$")
_FOLDED_END = re.compile(r":\d{1,7}\) \d{1,9}$", re.MULTILINE)
_HANDLER_WORDS = re.compile(r"most recent call first")
_PREFIX = re.compile(r"^(?:\[?(?:default|rank)?\d{1,6}\]?: ?|\[[^\]\n]{1,40}\]:? ?|> ?)*")


def find(log: Log) -> list[Told]:
    """What the dumps of a text say together, and what its folded stacks say."""
    told = []
    dumps = list(_dumps(log)) if any(sign.search(log.text) for sign in (_THREAD, _HANDLER_WORDS)) else []
    folded = list(_folded(log)) if _FOLDED_END.search(log.text) else []
    for stacks, instant in ((dumps, True), (folded, False)):
        if any(s.frames for s in stacks):
            at = next((s.at for s in stacks if s.at is not None), None)
            found = facts(rows(stacks, None if at is None else log.where(at)), log.origin)
            told.append(Told((Reading(Source(KIND, log.origin, "ok", note(stacks, instant)), found),)))
    return told


def _dumps(log: Log) -> Iterator[Stack]:
    """Every thread of every dump; one dump may follow another."""
    at, begun = 0, False
    frames: list[Frame] = []
    thread, start = "", 0
    for line in log.lines():
        bare = _PREFIX.sub("", line[:600], count=1).strip()
        head = _THREAD.search(bare) or _HANDLER.search(bare)
        frame = None if head or not begun else _FRAME.match(bare) or _FILE.match(bare)
        if head:
            if begun:
                yield Stack(tuple(frames), 1, thread, start)
            begun, frames, start = True, [], at
            thread = head["name"] or ""
        elif frame:
            told = frame["line"] or "0"
            frames.append(Frame(frame["name"], frame["file"].replace("\\", "/"), int(told) if told.isdigit() else 0))
        at += len(line) + 1
    if begun:
        yield Stack(tuple(frames), 1, thread, start)


def _folded(log: Log) -> Iterator[Stack]:
    """Lines ``outer (file:line);inner (file:line) count``."""
    at = seen = 0
    for line in log.lines():
        if ";" in line and len(line) < MAX_LINE and (match := _FOLDED.match(line)) and seen < MAX_STACKS:
            parts = [found for part in match["stack"].split(";") if (found := _FRAME.match(part.strip()))]
            frames = tuple(Frame(m["name"], m["file"].replace("\\", "/"), int(m["line"] or 0)) for m in reversed(parts))
            if any(f.line for f in frames):
                seen += 1
                yield Stack(_inside(frames), int(match["count"]), "", at)
        at += len(line) + 1


def _inside(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """A forked worker carries the frames of its parent below its own; they are left out."""
    for i, frame in enumerate(frames):
        if frame.name.rpartition(".")[2] == "_bootstrap" and frame.file.endswith("multiprocessing/process.py"):
            return frames[: i + 1]
    return frames
