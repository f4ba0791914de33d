"""The user's DataLoader without the model: starts their command, lets it train one step, then only reads batches.

The hook takes over inside the program (`probe_loader`) when it asks for the batch after its first step, and ends it:
nothing that comes later happens, no checkpoint and no handler at exit. A program in which the hook cannot take over
is killed after a few steps.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from advisor.collect import training
from advisor.collect.base import Facts, Parsed, Sample
from advisor.collect.probe.budget import DEFAULT, Budget, Refused
from advisor.collect.training_facts import place
from advisor.errors import InputError

START_S = 600.0  # imports, reading the data set, building the model, the first step
END_S = 30.0
POLL_S = 0.5
STRAYED = 10  # steps after which the hook would have taken over if it could


class LoaderProbe:
    """Time per batch of the training loader alone, in `command`."""

    kind = "loader probe"
    origin = "loader probe"
    once = True

    def __init__(self, command: Sequence[str] = (), budget: Budget = DEFAULT) -> None:
        if not command:
            raise InputError(
                "the loader probe needs the command that trains, after two dashes: "
                "advisor diagnose --probe loader -- python train.py"
            )
        if shutil.which(command[0]) is None:
            raise InputError(f"{command[0]} is not a program that can be run; check its spelling or give its path")
        self._command, self._budget = tuple(command), budget

    def plan(self) -> str:
        """What it is about to do, for a person."""
        return (
            f"starts {shlex.join(self._command)}, lets it train until it asks for the next batch after its first "
            f"optimizer step, then reads its DataLoader alone for {self._budget.seconds:g} s and ends it at once: no "
            "second step, no evaluation, no later checkpoint. What the program does before that (making folders, "
            "deleting old output) it does as always; one that does not train on a DataLoader is killed after "
            f"{STRAYED} steps or {START_S:g} s"
        )

    def read(self) -> Sample:
        """What every training process of the command measured of its loader."""
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="advisor-probe-"))
        try:
            asked = {**os.environ, "ADVISOR_LOADER_PROBE": f"{self._budget.seconds:g}"}
            environ = training.hook_environment(folder, asked)
            status = self._run(environ, folder)
            loaders = results(folder)
            if not any(loader["batches"] for loader in loaders):
                raise Refused(_why(loaders, training.read(folder), status))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        count = sum(loader["batches"] for loader in loaders)
        return {"loaders": loaders, "cwd": str(Path.cwd()), "note": _note(loaders, count, time.monotonic() - began)}

    def _run(self, environ: dict[str, str], folder: Path) -> int | None:
        """The exit status; None when it had to be ended. Its output goes to stderr: stdout is the diagnosis's."""
        try:
            child = subprocess.Popen(self._command, env=environ, stdout=2, start_new_session=True)
        except OSError as error:
            raise Refused(
                f"{self._command[0]} could not be started ({error.strerror}); run it by itself first"
            ) from None
        deadline, seen = time.monotonic() + START_S, False
        try:
            while child.poll() is None and time.monotonic() < deadline:
                if not seen and results(folder):
                    seen, deadline = True, time.monotonic() + END_S
                if not seen and _strayed(training.read(folder)):
                    break
                with suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_S)
            return child.returncode
        finally:
            # Its own session: whatever it started goes too. Killed, because a handler may write a checkpoint.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Seconds per batch of the slowest process."""
        facts = Facts(self.origin)
        sample = samples[-1]
        read = [loader for loader in sample["loaders"] if loader["batches"]]
        slowest = max(read, key=_per_batch)
        where = place(slowest["loop"] or slowest["where"], sample["cwd"])
        facts.add("ml.dataloader.alone.batch.time", _per_batch(slowest), "s", where)
        return facts.all(), {}


def _strayed(capture: dict[str, Any]) -> bool:
    """Whether the hook gave up, or the program trains without asking a DataLoader in the thread that trains."""
    return bool(capture["failures"]) or any(process["ends"] >= STRAYED for process in capture["processes"])


def results(folder: Path) -> list[dict[str, Any]]:
    """What the hook wrote so far, one entry per process."""
    found = []
    for file in sorted(folder.glob("loader-*.probe")):
        with suppress(OSError, ValueError):
            found.append(json.loads(file.read_text(encoding="utf-8")))
    return found


def _per_batch(loader: dict[str, Any]) -> float:
    return float(loader["seconds"] / loader["batches"])


def _note(loaders: Sequence[dict[str, Any]], count: int, seconds: float) -> str:
    said = f"took {seconds:.1f} s with the program's start; {count} batches read without the model"
    if len(loaders) > 1:
        said += f" in {len(loaders)} processes, the slowest counts"
    if not any(loader["trained"] for loader in loaders):
        said += "; no optimizer had made a step, so this is taken for inference"
    if any(loader["skipped"] < loader["queued"] for loader in loaders):
        said += "; some of them were queued already, so the loader may be slower than this"
    wrong = next((loader["error"] for loader in loaders if loader["error"]), None)
    return f"{said}; then it failed: {wrong}" if wrong else said


def _why(loaders: Sequence[dict[str, Any]], capture: dict[str, Any], status: int | None) -> str:
    if loaders:
        wrong = next((loader["error"] for loader in loaders if loader["error"]), None)
        return f"the loader failed: {wrong}" if wrong else "the epoch ended before a batch could be read alone"
    if capture["failures"]:
        return f"the hook gave up and the program was ended: {capture['failures'][0]}"
    if _strayed(capture):
        return "the program trains on something else than a PyTorch DataLoader; it was ended after a few steps"
    if status is None:
        return f"the command made no optimizer step within {START_S:g} s and was ended"
    return f"the command ended (exit status {status}) before it had made a step and asked for the next batch"
