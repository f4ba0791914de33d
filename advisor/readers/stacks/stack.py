"""Stacks of threads, sampled or dumped -> what main threads and loader workers were doing.

A frame's file may be whole or shortened to the part below site-packages, as py-spy does by default.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from advisor.readers.rows import Row, row, share

KIND = "stacks"
LEAST = 40  # samples of a hotspot: with fewer a share of a tenth is noise
MAX_STACKS = 1_000_000

# What a main thread does, by its frames from the innermost out: the first pattern that a frame fits decides, and
# patterns of an earlier entry are looked for in the whole stack first. Collectives come before synchronisation,
# because waiting for the GPU inside a gradient reduction is waiting for the other ranks.
_STATES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("loader worker idle", re.compile(r"^(?:Queue\.)?get \S*multiprocessing/queues\.py\n_worker_loop ", re.MULTILINE)),
    ("loader worker busy", re.compile(r"^_worker_loop\b", re.MULTILINE)),
    (
        "collective",
        re.compile(
            r"\S*torch/distributed/(?:distributed_c10d|_functional_collectives|c10d_logger)\.py|^(?:\w+\.)*"
            r"(?:all_?reduce\w*|reduce_scatter\w*|all_gather\w*|barrier|broadcast\w*|_?reduce_gradients|"
            r"\w*reduce_epilogue\w*|\w*partition_epilogue|monitored_barrier|send_forward|recv_forward|recv_backward) ",
            re.MULTILINE,
        ),
    ),
    (
        "data wait",
        re.compile(
            r"^(?:\w+\.)*(?:_try_get_data|_get_data|_next_data|_process_data) \S*torch/utils/data/", re.MULTILINE
        ),
    ),
    (
        "checkpoint",
        re.compile(r"^(?:\w+\.)*(?:_?save|save_checkpoint|_save_checkpoint|save_model|async_save) ", re.MULTILINE),
    ),
    ("compilation", re.compile(r"torch/(?:_dynamo/(?:convert_frame|symbolic_convert|output_graph)|_inductor)\b")),
    ("device synchronisation", re.compile(r"^(?:\w+\.)*synchronize \S*", re.MULTILINE)),
    ("backward", re.compile(r"^(?:\w+\.)*(?:_engine_run_backward|backward) ", re.MULTILINE)),
    ("optimizer", re.compile(r"\S*torch/optim/", re.MULTILINE)),
    ("lock", re.compile(r"\A(?:\w+\.)*(?:acquire|wait|_wait_for_tstate_lock|join) \S*threading\.py")),
    ("forward", re.compile(r"^(?:\w+\.)*(?:_call_impl|forward) ", re.MULTILINE)),
)
_IN_LOADER = re.compile(r"torch/utils/data/(?:_utils/fetch|dataloader)\.py")
_LIBRARY = re.compile(
    r"-packages/|/lib/python3|^<|^(?:torch|torchvision|multiprocessing|concurrent|asyncio|importlib|deepspeed|accelerate|"
    r"transformers|lightning|pytorch_lightning|numpy|datasets|megatron|vllm|sglang|jax|tensorflow|ray)/|"
    r"^(?:threading|selectors|queue|socket|subprocess|runpy|contextlib|functools)\.py$"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; line 0 where it is not told."""

    name: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Stack:
    """One thread seen `count` times with the same frames, innermost first; `at` is a position in a text."""

    frames: tuple[Frame, ...]
    count: int = 1
    thread: str = ""
    at: int | None = None

    @property
    def side(self) -> bool:
        """Whether the program started this thread for something else than its main work."""
        if self.thread == "MainThread" or any(f.name == "<module>" for f in self.frames):
            return False
        started = any(
            f.name.rpartition(".")[2] in ("_bootstrap", "_bootstrap_inner") and f.file.endswith("threading.py")
            for f in self.frames
        )
        return started or bool(self.thread)

    @property
    def state(self) -> str:
        """What it was doing, in one of few words."""
        return _state(self.frames)

    @property
    def own(self) -> Frame | None:
        """The innermost frame of the program's own code."""
        return next((f for f in self.frames if f.line and not _LIBRARY.search(f.file)), None)

    @property
    def worker(self) -> bool:
        """Whether it is the main thread of a loader worker."""
        return any(f.name.rpartition(".")[2] == "_worker_loop" for f in self.frames)


@lru_cache(maxsize=1 << 16)
def _state(frames: tuple[Frame, ...]) -> str:
    inner = "\n".join(f"{f.name} {f.file}" for f in frames)
    for name, pattern in _STATES:
        if pattern.search(inner):
            return name
    return "other"


def rows(stacks: Sequence[Stack], where: str | None) -> Iterator[Row]:
    """Facts of all stacks together; `where` is shown for those without own code."""
    chief = [s for s in stacks if s.frames and not s.side]
    main = [s for s in chief if not s.worker]
    workers = [s for s in chief if s.worker]
    yield from _main(main, where)
    if workers:
        total = sum(s.count for s in workers)
        idle = sum(s.count for s in workers if s.state == "loader worker idle")
        yield row("process.stack.worker.samples", total, "{sample}", where)
        yield share("process.stack.worker.idle.fraction", idle / total, where)
        loading = [s for s in workers if s.own]
        if sum(s.count for s in workers) - idle >= LEAST:
            yield from _hottest("ml.dataloader.hotspot.fraction", loading, total - idle)


def _main(main: Sequence[Stack], where: str | None) -> Iterator[Row]:
    total = sum(s.count for s in main)
    if not total:
        return
    states = _states(main)
    order = [name for name, _ in _STATES]
    most = max(states, key=lambda name: (states[name], name in order and -order.index(name)))
    shown = next((_place(s.own) for s in main if s.state == most and s.own), where)
    yield row("process.stack.samples", total, "{sample}", where)
    yield row("process.stack.state", most, "{string}", shown)
    yield share(
        "process.stack.data_wait.fraction", states["data wait"] / total, shown if most == "data wait" else where
    )
    yield share(
        "process.stack.collective.fraction", states["collective"] / total, shown if most == "collective" else where
    )
    own = [s for s in main if s.own and s.state in ("other", "forward")]
    if total >= LEAST:
        yield from _hottest("process.code.hotspot.fraction", own, total)


def _states(main: Sequence[Stack]) -> Counter[str]:
    states: Counter[str] = Counter()
    for stack in main:
        states[stack.state] += stack.count
    return states


def _hottest(name: str, stacks: Sequence[Stack], total: int) -> Iterator[Row]:
    """The function with most samples, at its most frequent line."""
    functions: dict[tuple[str, str], Counter[int]] = {}
    for stack in stacks:
        if own := stack.own:
            functions.setdefault((own.file, own.name), Counter())[own.line] += stack.count
    if functions and total:
        hottest = max(functions, key=lambda f: (functions[f].total(), f))
        line, _ = max(functions[hottest].items(), key=lambda item: (item[1], -item[0]))
        yield share(name, functions[hottest].total() / total, _place(Frame(hottest[1], hottest[0], line)))


def _place(frame: Frame | None) -> str | None:
    if frame is None:
        return None
    return f"{frame.file}:{frame.line}" + ("" if frame.name.startswith("<") else f" in {frame.name}")


def note(stacks: Sequence[Stack], instant: bool) -> str:
    """One sentence about what was seen."""
    main = [s for s in stacks if s.frames and not s.side and not s.worker]
    workers = [s for s in stacks if s.frames and not s.side and s.worker]
    parts = []
    if main:
        shown = ", ".join(f"{state} {count}" for state, count in _states(main).most_common(4))
        parts.append(f"{sum(s.count for s in main)} stacks of main threads ({shown})")
    if workers:
        idle = sum(s.count for s in workers if s.state == "loader worker idle")
        parts.append(f"{sum(s.count for s in workers)} of loader workers ({idle} idle, waiting for work)")
    side = sum(s.count for s in stacks) - sum(s.count for s in (*main, *workers))
    if side:
        parts.append(f"{side} of other threads left out")
    when = (
        "each stack is one instant, not a share of time" if instant else "threads that wait are in it only with --idle"
    )
    return f"{'; '.join(parts) or 'no main thread'}; {when}."
