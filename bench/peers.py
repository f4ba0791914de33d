"""The peers that the benchmarks measure beside advisor: Python packages in an environment of their own, on demand.

They go into ``build/peers``, which sees the packages of this environment (torch is not installed twice) but is not
seen by it. Nothing is installed when they are there already.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "peers"
TRACEML, NVITOP, ALLOC = "traceml_ai==0.5.0", "nvitop==1.7.2", "alloc==0.0.16"


class Missing(Exception):
    """A peer cannot be measured here; the message says why."""


@cache
def python(requirement: str) -> Path:
    """The Python of the peers' environment, in which `requirement` is installed (raises `Missing`)."""
    name, _, version = requirement.partition("==")
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(FOLDER)}))
    program = FOLDER / "bin" / "python"
    try:
        if not program.exists():
            venv.create(FOLDER, with_pip=True)
            packages.joinpath("outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
        if not packages.joinpath(f"{name}-{version}.dist-info").is_dir():
            pip = [str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
            done = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise Missing(f"{requirement} could not be installed: {said}")
    except (OSError, subprocess.SubprocessError) as error:
        raise Missing(f"no environment for {requirement} could be made: {error}") from error
    return program


if __name__ == "__main__":
    for peer in (TRACEML, NVITOP, ALLOC):
        try:
            print(peer, "runs under", python(peer))
        except Missing as missing:
            sys.exit(str(missing))
