"""Runs a program under the training hook and reads what came out: shared by the tests of the hook's parts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.collect import training
from advisor.engine import Engine, diagnose
from advisor.kb import load
from advisor.models import Profile, Reading
from advisor.profile import build

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@dataclass(frozen=True)
class Hooked:
    """A program that ran under the hook."""

    status: int
    out: str
    err: str
    capture: dict[str, Any]
    reading: Reading

    @property
    def values(self) -> dict[str, Any]:
        """Facts of the run, of several ranks those of the lowest."""
        return {fact.name: fact.value for fact in self.reading.facts}

    @property
    def ranks(self) -> list[dict[str, Any]]:
        """Facts of every rank."""
        return [{f.name: f.value for f in reading.facts} for _, reading in training.parse_ranks(self.capture)]

    @property
    def lost(self) -> list[str]:
        """Why parts of the hook gave up, in any process."""
        return [note for process in self.capture["processes"] for note in process["extras"]["lost"]]

    def profile(self) -> Profile:
        """The run as one profile, its ranks as members."""
        moment = "2026-01-01T00:00:00Z"
        ranks = training.parse_ranks(self.capture)
        return build([self.reading], load().facts, subject="run", started=moment, duration_s=60.0, ranks=ranks)

    def found(self) -> set[str]:
        """Rules that match the run, folded ones too."""
        findings = diagnose(self.profile(), Engine(load())).findings
        return {f.rule.id for f in findings} | {inner for f in findings for inner in f.explains}


def run_hooked(folder: Path, script: str, *command: str, hook: bool = True, **extra: str) -> Hooked:
    """Run `script` as ``train.py`` in `folder`, by `command` (default: this Python) and under the hook."""
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ADVISOR_HOOK_DIR")}
    environ |= {"OMP_NUM_THREADS": "1", **extra}
    output = folder / "hook output"
    output.mkdir()
    (folder / "train.py").write_text(script)
    if hook:
        environ = training.hook_environment(output, environ)
    words = [*(command or (sys.executable,)), "train.py"]
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=90, check=False)
    capture = training.read(output)
    return Hooked(done.returncode, done.stdout, done.stderr, capture, training.parse(capture))
