"""Runs `torch_script` in the user's own Python: torch is theirs, and what it starts ends with that process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from advisor.collect.probe.budget import Budget

SCRIPT = Path(__file__).with_name("torch_script.py")
IMPORT_S = 60.0  # importing torch from a network file system takes that long


class NoTorch(RuntimeError):
    """The user's Python has no torch that works here, and why."""


def user_python(given: str | None) -> str:
    """The interpreter that the user's programs run with (raises NoTorch when there is none)."""
    for name in [given] if given else ["python", "python3"]:
        found = shutil.which(name)
        if found:
            return found
    raise NoTorch(f"{given or 'python'} is not a program that can be run; give the interpreter with --python")


def ask(python: str | None, what: str, budget: Budget) -> dict[str, Any]:
    """What `torch_script` answers to ``about``, ``h2d`` or ``matmul``.

    Raises NoTorch when the interpreter or its torch cannot be used, TimeoutError when it does not end.
    """
    command = [user_python(python), str(SCRIPT), what, str(budget.seconds), str(budget.size)]
    patience = IMPORT_S + 2 * budget.seconds
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=patience, check=False, env=_plain())
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{command[0]} with torch did not answer within {patience:.0f} s") from None
    except OSError as error:
        raise NoTorch(f"{command[0]} could not be started ({error.strerror})") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise NoTorch(f"{command[0]} cannot use torch ({said[0][:200]})") from None
    if not isinstance(answer, dict) or "torch" not in answer:
        raise NoTorch(f"{command[0]} cannot import torch; give the interpreter that has it with --python")
    return answer


def _plain() -> dict[str, str]:
    """The environment without a training hook: this process is not the user's training."""
    return {k: v for k, v in os.environ.items() if k != "ADVISOR_HOOK_DIR"}
