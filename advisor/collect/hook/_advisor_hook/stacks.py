"""Samples where the main thread is, from a thread of its own: which line of the program's own code time goes to.

Every sample keeps one line: the innermost frame that is the user's code, with what runs inside it. Whether the
interpreter itself was busy shows in how long this thread had to wait for the GIL. The table is bounded, nothing
but names and numbers is kept, and the thread is gone while the process forks. On a busy machine the thread is late
because it waited for a CPU; the kernel says how long, and that is no sign of a busy interpreter.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from time import perf_counter
from types import CodeType, FrameType
from typing import Any

from . import fail, output

INTERVAL = 0.047  # s; not a divisor of common loop times, so that samples do not fall into step with them
ROWS = 256
DEPTH = 200
WRITE_S = 2.0
# Through these torch runs a part of the training as a whole; without them an own line has called an operator directly.
PARTS = ("_call_impl", "_wrapped_call_impl", "backward", "_engine_run_backward", "grad", "step")

Key = Any  # (file, line, function, kind, package, inner, loading)

_kinds: dict[CodeType, tuple[str, str]] = {}


def kind_of(code: CodeType) -> tuple[str, str]:
    """``own``, ``loader``, ``torch``, ``library`` or ``python`` (standard library), and the package's name."""
    known = _kinds.get(code)
    if known is None:
        if len(_kinds) > 4096:
            _kinds.clear()
        known = _kinds[code] = _classify(code.co_filename)
    return known


def _classify(file: str) -> tuple[str, str]:
    from . import describe

    if file.startswith("<"):
        return "python", ""
    full = os.path.normpath(os.path.join(output.CWD, file))
    for part in describe.PACKAGES:
        if part in full:
            package = full.rpartition(part)[2].partition(os.sep)[0].partition(".")[0]
            if package != "torch":
                return "library", package
            data = os.path.join("torch", "utils", "data", "")
            return ("loader" if data in full else "torch"), package
    if full.startswith(describe.HERE):
        return "torch", ""
    return ("python" if full.startswith(describe.STDLIB) else "own"), ""


class _RunDelay:
    """How long the thread that makes it has waited for a CPU, although it could have run."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not on this system: then lateness is all there is
            self._file = -1
        self._before = 0.0
        self.since()

    def since(self) -> float:
        """Seconds since the last call; 0 where the kernel does not say."""
        if self._file < 0:
            return 0.0
        before, self._before = self._before, int(os.pread(self._file, 64, 0).split()[1]) / 1e9
        return self._before - before

    def close(self) -> None:
        """Ask no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class Sampler:
    """The samples of this process, and the thread that takes them."""

    def __init__(self) -> None:
        self._wake: Any = None  # released to end the thread
        self._done: Any = None  # held by the thread while it lives
        self.stopped = False
        self.forget()

    def forget(self) -> None:
        """Begin anew: at the start, and in a forked child, which inherits numbers but no thread."""
        self.rows: dict[Any, list[int]] = {}
        self.samples = self.held = 0
        self.role = "main"
        self.stepping = False
        self.written = 0.0
        self._wake = None

    def clear(self) -> None:
        """Drop what was seen so far: what the program did before its first step is not where its steps go."""
        self.rows, self.samples, self.held = {}, 0, 0
        self.stepping = True

    def start(self, role: str = "main") -> None:
        """Begin to sample, once."""
        if self._wake is not None or self.stopped:
            return
        self.role = role
        self._wake, self._done = _thread.allocate_lock(), _thread.allocate_lock()
        self._wake.acquire()
        self._done.acquire()
        # Not threading.Thread: the program's own count of threads, and its exit, stay as they were.
        try:
            _thread.start_new_thread(self._run, (self._wake, self._done, threading.main_thread().ident))
        except RuntimeError:  # no more threads, or the interpreter is on its way out: go without samples
            self._wake, self.stopped = None, True

    def pause(self) -> bool:
        """End the thread and wait for it; whether there was one."""
        wake, self._wake = self._wake, None
        if wake is None:
            return False
        wake.release()
        return bool(self._done.acquire(timeout=1.0))

    def _run(self, wake: Any, done: Any, thread: Any) -> None:
        delay = _RunDelay()
        try:
            patience = sys.getswitchinterval() / 2
            due = perf_counter() + INTERVAL
            while not wake.acquire(timeout=max(0.0, due - perf_counter())):
                late = perf_counter() - due - delay.since()
                frame = sys._current_frames().get(thread)  # noqa: SLF001
                self.add(frame, late > patience)
                del frame  # it would keep the program's locals alive
                now = perf_counter()
                if now - self.written > WRITE_S:
                    self.written = now
                    self.write()
                due = max(due + INTERVAL, perf_counter() + INTERVAL / 2)
        except Exception as error:
            fail("sampling the stack", error)
        finally:
            delay.close()
            done.release()

    def add(self, frame: FrameType | None, held: bool) -> None:
        """Count one sample: the innermost own line, and what it was doing."""
        if frame is None:
            return
        self.samples += 1
        self.held += held
        kind, package = kind_of(frame.f_code)
        inner = "" if kind == "own" else frame.f_code.co_name
        own: tuple[str, int, str] | None = None
        loading = False
        direct = kind == "torch"
        at: FrameType | None = frame
        for _ in range(DEPTH):
            if at is None:
                break
            what = kind_of(at.f_code)[0]
            if own is None and at.f_code.co_name in PARTS:
                direct = False
            if own is None and what == "own":
                own = at.f_code.co_filename, at.f_lineno, getattr(at.f_code, "co_qualname", at.f_code.co_name)
            if what == "loader":
                loading = True
                break  # what lies further out only asks for the batch
            at = at.f_back
        key = (*(own or ("", 0, "")), "operator" if direct else kind, package, inner, loading)
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= ROWS:
                self._thin()
            row = self.rows[key] = [0, 0]
        row[0] += 1
        row[1] += held

    def _thin(self) -> None:
        """Drop the rarer half: a line that matters comes back."""
        kept = sorted(self.rows.items(), key=lambda item: -item[1][0])[: ROWS // 2]
        self.rows = dict(kept)

    def stop(self) -> None:
        """Sample no more, whatever comes."""
        self.stopped = True
        self.pause()

    def write(self) -> None:
        """Replace this process's file; without samples there is none."""
        if not self.samples:
            return
        content = {
            "pid": os.getpid(),
            "ppid": output.parent(),
            "role": self.role,
            "stepping": self.stepping,
            "cwd": output.CWD,
            "interval": INTERVAL,
            "samples": self.samples,
            "held": self.held,
            "rows": [[*key, *row] for key, row in list(self.rows.items())],
        }
        output.write("stacks-%d.json" % os.getpid(), content)  # noqa: UP031


sampler = Sampler()
_paused: list[str] = []


def _before_fork() -> None:
    if sampler.pause():
        _paused.append(sampler.role)


def _after_fork() -> None:
    if _paused:
        sampler.start(_paused.pop())


def _in_child() -> None:
    _paused.clear()
    sampler.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
