"""Starts the user's command unchanged, watches it until it ends, and returns what was seen.

The command keeps the terminal, its exit status and its signals. Whatever fails on our side becomes a reading
that says so; nothing here judges the numbers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from advisor.collect import training
from advisor.collect.sampler import Sampler, default_collectors
from advisor.errors import InputError
from advisor.models import Reading, Source

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """A command that was run, or still runs, with what was read meanwhile.

    `exit_status` is the command's own, 128+N when signal N ended it, 0 while it runs; `started` is ISO 8601 in
    UTC; `ranks` holds one reading per rank (``rank 0``, ...) when more than one trained on this host.
    """

    exit_status: int
    command: tuple[str, ...]
    started: str
    duration_s: float
    readings: tuple[Reading, ...]
    ranks: tuple[tuple[str, Reading], ...]


def run(command: Sequence[str], on_tick: Callable[[Run], None] | None = None, tick_s: float = 5.0) -> Run:
    """Run `command` to its end; `on_tick` hears an interim `Run` every `tick_s` seconds.

    Raises InputError when there is no command or it cannot be started.
    """
    if not command:
        raise InputError("There is no command to run; write it after two dashes: advisor run -- python train.py.")
    watch = _Watch(tuple(command))
    try:
        with _signals(watch):
            watch.start()
            watch.wait(on_tick, tick_s)
        watch.stop()
        return watch.seen()
    finally:
        watch.remove()


@dataclass
class _Watch:
    """One command with its sampler and the folder its hook writes to."""

    command: tuple[str, ...]
    child: subprocess.Popen[bytes] | None = None
    sampler: Sampler | None = None
    folder: Path | None = None
    failures: list[Reading] = field(default_factory=list)
    early: list[int] = field(default_factory=list)  # signals that came before the child did
    started: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def start(self) -> None:
        environ = dict(os.environ)
        try:
            self.folder = Path(tempfile.mkdtemp(prefix="advisor-run-"))
            environ = training.hook_environment(self.folder, environ)
        except OSError as error:
            self._failed(training.KIND, f"No folder for the hook's output could be made: {error}.")
        self.started, self.began = time.time(), time.monotonic()
        self.child = _spawn(self.command, environ)
        for number in self.early:
            self.child.send_signal(number)
        try:
            sampler = Sampler(default_collectors(pid=self.child.pid), interval_s=1.0)
            sampler.start()
            self.sampler = sampler
        except Exception as error:  # the command runs: it is not stopped because watching it failed
            self._failed("sampler", f"The machine could not be watched ({type(error).__name__}: {error}).")

    def wait(self, on_tick: Callable[[Run], None] | None, tick_s: float) -> None:
        assert self.child is not None  # started
        due = self.began + tick_s
        while self.child.poll() is None:
            if on_tick is not None and time.monotonic() >= due:
                try:
                    on_tick(self.seen())
                except Exception as error:  # showing an interim result must not end the command
                    self._failed("interim results", f"They stopped after {type(error).__name__}: {error}.")
                    on_tick = None
                due = time.monotonic() + tick_s
            with suppress(subprocess.TimeoutExpired):
                self.child.wait(POLL_S)
        self.ended = time.monotonic()

    def stop(self) -> None:
        if self.sampler is not None:
            self.sampler.stop()

    def seen(self) -> Run:
        readings = list(self.failures)
        ranks: tuple[tuple[str, Reading], ...] = ()
        if self.folder is not None:
            capture = {**training.read(self.folder), "started": self.started}
            readings.append(training.parse(capture))
            ranks = training.parse_ranks(capture)
        if self.sampler is not None:
            readings += self.sampler.readings()
        return Run(
            exit_status=_status(self.child.returncode if self.child else None),
            command=self.command,
            started=datetime.fromtimestamp(self.started, UTC).isoformat(timespec="microseconds"),
            duration_s=(self.ended or time.monotonic()) - self.began,
            readings=tuple(readings),
            ranks=ranks,
        )

    def remove(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _failed(self, kind: str, note: str) -> None:
        self.failures.append(Reading(Source(kind, "this run", "unreadable", note)))


def _spawn(command: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=environ)
    except FileNotFoundError as error:
        what = command[0] if error.filename in (None, command[0]) else f"{command[0]} (its interpreter)"
        raise InputError(
            f"The command {what} was not found (127 in a shell); check its spelling or give its path."
        ) from error
    except PermissionError as error:
        raise InputError(
            f"The command {command[0]} may not be executed (126 in a shell); "
            "run it through its interpreter or make it executable."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"The command {command[0]} could not be started: {error}; run it by itself first.") from error


def _status(returncode: int | None) -> int:
    if returncode is None:
        return 0
    return returncode if returncode >= 0 else 128 - returncode


@contextmanager
def _signals(watch: _Watch) -> Iterator[None]:
    """While the command runs, signals are its affair: it gets them, we wait for what it makes of them."""

    def forward(number: int, _: FrameType | None) -> None:
        if watch.child is None:
            watch.early.append(number)
        elif not (number == signal.SIGINT and _terminal_is_ours()):
            watch.child.send_signal(number)

    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # An ignored signal (nohup) stays ignored, here and in the child.
        with suppress(ValueError):  # not in the main thread: signals do not come here
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminal_is_ours() -> bool:
    """Whether Ctrl-C in the terminal reaches the child without us: it is in the foreground process group."""
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
