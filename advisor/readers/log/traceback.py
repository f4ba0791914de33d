"""Python tracebacks -> where a program ended, whether it was training, and with which exception."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from advisor.models import Reading, Source
from advisor.readers.log.log import Log
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told

KIND = "log"
MOST = 200  # tracebacks that are looked at; every rank of a large job prints its own
LINES = 400  # of one traceback: deep recursion is cut off by Python itself
_START = re.compile(r"Traceback \(most recent call last\):")
_FRAME = re.compile(r'File "(?P<file>[^"\n]{1,400})", line (?P<line>\d{1,7}), in (?P<name>[^\n]{1,120})')
# What ranks, launchers and chat programs put before a line.
_PREFIX = re.compile(r"^(?:\[?(?:default|rank)?\d{1,6}\]?[:>] ?|\[[^\]\n]{1,40}\]:? ?|\(\w[^)\n]{0,60}\) |> ?)*")
_ERROR = re.compile(r"^(?P<type>(?:[A-Za-z_]\w{0,60}\.){0,6}[A-Za-z_]\w{0,80})(?:: ?(?P<said>[^\n]*))?$")
_LIBRARY = re.compile(r"(?:site|dist)-packages/|/lib/python3\.\d{1,2}/|^<|/lib64/python3|\\lib\\|importlib/")
_TRAINING = re.compile(
    r"^(?:backward|_engine_run_backward|training_step|optimizer_step|train_one_epoch|_inner_training_loop)$"
)
_SERVING = re.compile(r"vllm/|sglang/|text_generation_server/|tensorrt_llm/|tritonserver")


@dataclass(frozen=True, slots=True)
class Frame:
    """One call: where, in which function."""

    file: str
    line: int
    name: str

    @property
    def own(self) -> bool:
        """Whether it is of the program itself and not of a library."""
        return not _LIBRARY.search(self.file)


@dataclass(frozen=True, slots=True)
class Traceback:
    """One traceback: its frames, outermost first, and what was raised."""

    at: int
    frames: Sequence[Frame]
    error: str
    said: str

    @property
    def place(self) -> str | None:
        """``file:line in function`` of the innermost own frame."""
        own = next((f for f in reversed(self.frames) if f.own), None)
        if own is None:
            return None
        return f"{own.file}:{own.line}" + ("" if own.name.startswith("<") else f" in {own.name}")


def tracebacks(log: Log) -> Iterator[Traceback]:
    """The tracebacks of a text, in order, those of several ranks mixed line by line as well as they can be told."""
    for i, match in enumerate(_START.finditer(log.text)):
        if i >= MOST:
            return
        yield _read(log.text, match)


def _read(text: str, start: re.Match[str]) -> Traceback:
    frames: list[Frame] = []
    at = text.find("\n", start.end())
    for _ in range(LINES):
        if at < 0:
            break
        end = text.find("\n", at + 1)
        line = text[at + 1 : end if end >= 0 else len(text)][:2000]
        at = end
        bare = _PREFIX.sub("", line, count=1)
        if frame := _FRAME.search(bare):
            frames.append(Frame(frame["file"], int(frame["line"]), frame["name"].strip()))
        elif _START.search(bare):
            break
        elif bare[:1] not in (" ", "\t", "") and frames and (error := _ERROR.match(bare)):
            return Traceback(start.start(), frames, error["type"].rpartition(".")[2], error["said"] or "")
    return Traceback(start.start(), frames, "", "")


def find(log: Log) -> list[Told]:
    """What the tracebacks say together; nothing where they only repeat each other's absence of frames."""
    found = [t for t in tracebacks(log) if t.frames]
    if not found:
        return []
    # A worker's traceback comes before that of the process that waited for it: the first names the cause.
    first = next((t for t in found if t.error), found[0])
    return [
        Told(
            (
                Reading(
                    Source(KIND, log.origin, "ok", _note(first, len(found))),
                    facts(_rows(first, found, log), log.origin),
                ),
            )
        )
    ]


def _rows(first: Traceback, found: Sequence[Traceback], log: Log) -> Iterator[Row]:
    yield row("process.exception", first.error or None, "{string}", first.place or log.where(first.at))
    yield row("process.exception.count", len(found), "{error}", log.where(first.at))
    frames = [frame for t in found for frame in t.frames]
    if any(_TRAINING.match(f.name.rpartition(".")[2]) for f in frames):  # also with an engine that serves the rollouts
        yield row("run.phase", "training", "{string}")
    elif any(_SERVING.search(f.file) for f in frames):
        yield row("run.phase", "serving", "{string}")
    if any("/torch/" in f.file for f in frames):
        yield row("run.framework", "pytorch", "{string}")


def _note(first: Traceback, count: int) -> str:
    said = f"{first.error}: {first.said}" if first.said else first.error or "a traceback without its last line"
    place = f", raised under {first.place}" if first.place else ""
    return f"{said[:200].rstrip(' .')}{place}" + (f"; the first of {count} tracebacks" if count > 1 else "") + "."
