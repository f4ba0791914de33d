"""Runs a script of `examples/` under a tool that watches it, and notes when what happened."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.accuracy.scenarios import Scenario

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 150.0
LOOK_S = 0.5  # how often the training's process is looked for until it is there


class Failed(Exception):
    """A tool gave no verdict on a run; the message says why."""


@dataclass(frozen=True)
class Run:
    """One watched run.

    Args:
        said: all that was printed.
        after_s: from the end of the training's processes to the last line that was printed; NaN when they were
            over before they were seen.
        total_s: from the start to that line.
    """

    said: str
    after_s: float
    total_s: float


def limited(scenario: Scenario, healthy: bool, line: Sequence[str]) -> list[str]:
    """A command line under the scenario's limits, where it has some."""
    if scenario.limits is None:
        return list(line)
    return [sys.executable, "examples/limits.py", *scenario.limits[healthy].split(), "--", *line]


def advise(scenario: Scenario, healthy: bool) -> tuple[dict[str, Any], Run]:
    """Run a scenario under `advisor run`: its Diagnosis (of rank 0 where two were watched), and the run.

    Raises:
        Failed: it ended with an error, or not at all.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / ("diagnosis-{rank}.json" if scenario.ranks > 1 else "diagnosis.json")
        line = [sys.executable, "-m", "advisor", "run", "--out", str(out), "--"]
        line += [sys.executable, *scenario.words(healthy)]
        run = watched(limited(scenario, healthy, line), {"ADVISOR_DATA": folder}, scenario.script(healthy))
        return json.loads(Path(str(out).replace("{rank}", "0")).read_text(encoding="utf-8")), run


def watched(line: Sequence[str], variables: Mapping[str, str], program: str) -> Run:
    """Run a command line to its end.

    Args:
        line: what to run.
        variables: for its environment.
        program: how the path of the program ends that Python runs in the training's own processes.

    Raises:
        Failed: it ended with an error, or not within `TIMEOUT_S`.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        line, cwd=ROOT, env={**os.environ, "LC_ALL": "C.UTF-8", **variables}, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    )  # fmt: skip
    told: list[tuple[float, str]] = []
    ends: list[float] = []
    threads = [
        threading.Thread(target=_listen, args=(process, told)),
        threading.Thread(target=_await_end, args=(process, program, ends)),
    ]
    for thread in threads:
        thread.start()
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _end(process)
        raise Failed(f"not over after {TIMEOUT_S:.0f} s") from None
    finally:
        for thread in threads:
            thread.join(10)
        if process.stdout and not threads[0].is_alive():
            process.stdout.close()
    said = "".join(text for _, text in told)
    if process.returncode:
        raise Failed(f"exit status {process.returncode}: {last_line(said)}")
    last = told[-1][0] if told else time.monotonic()
    return Run(said, last - ends[0] if ends else math.nan, last - began)


def last_line(said: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"


def _listen(process: subprocess.Popen[str], told: list[tuple[float, str]]) -> None:
    """Keep every line with the moment at which it came."""
    assert process.stdout is not None
    for line in process.stdout:
        told.append((time.monotonic(), line))


def _await_end(process: subprocess.Popen[str], program: str, ends: list[float]) -> None:
    """Note when the last of the training's processes is over, without a look at them meanwhile."""
    handles: list[int] = []
    while not handles and process.poll() is None:
        time.sleep(LOOK_S)
        for pid in _training(process.pid, program):
            with contextlib.suppress(OSError):  # it has just ended
                handles.append(os.pidfd_open(pid))
    for handle in handles:
        select.select([handle], [], [], TIMEOUT_S)
        os.close(handle)
    if handles:
        ends.append(time.monotonic())


def _training(pid: int, program: str) -> list[int]:
    """The processes below `pid` that train, and the workers that they forked."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                words = [word for word in child.cmdline()[1:3] if word != "-u"]
                if words and words[0].endswith(program):
                    found.append(child.pid)
    return found


def _end(process: subprocess.Popen[str]) -> None:
    """End a run with all that it started; `limits.py` takes its limits away."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
            return
