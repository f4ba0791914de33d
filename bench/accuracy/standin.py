"""The GPU collector through the real NVML binding, against the stand-in library of the tests, compiled here."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from advisor.models import Fact, Reading, Source

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "tests/nvml"


@functools.cache
def _library() -> tempfile.TemporaryDirectory[str]:
    """A folder with the stand-in; removed when the program ends."""
    folder = tempfile.TemporaryDirectory(prefix="nvml-")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, "-o", f"{folder.name}/libnvidia-ml.so.1", *sorted(SOURCES.glob("*.c"))], check=True)
    return folder


def read(answers: Sequence[str]) -> Reading:
    """What the collector says of a driver that gives these answers, one a second.

    Raises:
        RuntimeError: when the collector fails.
    """
    library = _library().name
    steps = "\n".join(json.dumps({"answers": text, "t": 10.0 + i}) for i, text in enumerate(answers))
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {
            "LD_LIBRARY_PATH": library,
            "STANDIN_NVML": f"{folder}/answers.txt",
            "PYTHONPATH": str(ROOT),
        }
        code = [sys.executable, str(SOURCES / "watch.py"), "-", "/proc", f"{folder}/sys"]
        done = subprocess.run(code, input=steps, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    return Reading(Source("nvml", "NVML", "ok", found["note"]), tuple(Fact(**fact) for fact in found["facts"]))
