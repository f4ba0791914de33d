"""Permissions and packages that decide what can be read: each a question that fails the way a collector does.

Only questions whose answer is cheap and changes nothing; a collector that exists answers for itself.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from advisor.collect import training
from advisor.collect.base import Parsed, Sample, read_optional, read_text
from advisor.collect.probe import PROBES, Budget
from advisor.collect.probe.torch_child import NoTorch, ask, user_python

SYS_PTRACE, SYS_ADMIN, PERFMON = 19, 21, 38  # bits of the kernel's capability sets
NVIDIA = "0x10de"


class Question:
    """One thing that is asked once: `answer` returns a note or raises as `Collector.read` does."""

    kind = "doctor"
    once = True

    def __init__(self, origin: str, answer: Callable[[], str]) -> None:
        self.origin, self._answer = origin, answer

    def read(self) -> Sample:
        """The note."""
        return {"note": self._answer()}

    def parse(self, samples: Sequence[Sample]) -> Parsed:  # noqa: ARG002 - a question measures nothing
        """No facts."""
        return (), {}


def questions(python: str | None = None, proc: str = "/proc") -> list[Question]:
    """Everything that is not a collector; `python` is the interpreter that the user's programs run with."""
    return [
        Question("hook", lambda: hook(python)),
        Question("torch", lambda: torch(python)),
        Question("probes", lambda: f"advisor diagnose --probe {','.join(PROBES)}"),
        Question("gpu_counters", lambda: gpu_counters(proc)),
        Question("foreign", lambda: foreign(proc)),
        Question("stacks", stacks),
        Question("ptrace", lambda: ptrace(proc)),
        Question("perf", lambda: perf(proc)),
    ]


def hook(python: str | None) -> str:
    """Whether the user's Python loads the training hook: it is started for a moment with it."""
    try:
        program = user_python(python)
    except NoTorch as error:
        raise FileNotFoundError(str(error)) from None
    with tempfile.TemporaryDirectory(prefix="advisor-doctor-") as folder:
        environ = training.hook_environment(Path(folder), os.environ)
        subprocess.run([program, "-c", ""], env=environ, capture_output=True, timeout=20, check=False)
        if not os.path.exists(os.path.join(folder, "loaded")):
            raise FileNotFoundError(f"{program} does not load a sitecustomize module, so steps cannot be measured")
    return f"{program} loads it"


def torch(python: str | None) -> str:
    """The torch of the user's Python, and whether it sees a GPU."""
    try:
        found = ask(python, "about", Budget(seconds=5.0))
    except NoTorch as error:
        raise FileNotFoundError(str(error)) from None
    sees = "sees a CUDA GPU" if found["cuda"] else "sees no CUDA GPU"
    return f"torch {found['torch']} in Python {found['python']} {sees}"


def gpu_counters(proc: str) -> str:
    """Whether others than root may read the GPU's performance counters (Tensor Core activity, occupancy)."""
    params = read_optional(f"{proc}/driver/nvidia/params")
    if params is None:
        raise FileNotFoundError("no NVIDIA driver is loaded here")
    if "RmProfilingAdminOnly: 1" in params and not _capable(proc, SYS_ADMIN):
        raise PermissionError("the NVIDIA driver gives performance counters to administrators only")
    return "the NVIDIA driver gives performance counters to this user"


def foreign(proc: str) -> str:
    """Whether processes of other users can be looked into: their storage traffic and open files."""
    try:
        read_text(f"{proc}/1/io")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise
        raise PermissionError("storage traffic and descriptors of other users' processes cannot be read") from None
    return "processes of every user can be read"


def stacks() -> str:
    """Where py-spy is, which samples the stacks of a running Python."""
    beside = os.path.join(os.path.dirname(sys.executable), "py-spy")
    found = shutil.which("py-spy") or (beside if os.access(beside, os.X_OK) else None)
    if found is None:
        raise FileNotFoundError("py-spy is not installed")
    return found


def ptrace(proc: str) -> str:
    """Whether a running process of this user may be attached to, as py-spy does."""
    scope = int((read_optional(f"{proc}/sys/kernel/yama/ptrace_scope") or "0").strip())
    if scope >= 3 or (scope > 0 and not _capable(proc, SYS_PTRACE)):
        raise PermissionError(f"kernel.yama.ptrace_scope is {scope}: a running process cannot be attached to")
    return f"kernel.yama.ptrace_scope is {scope}"


def perf(proc: str) -> str:
    """Whether the kernel lets this user sample CPU events."""
    text = read_optional(f"{proc}/sys/kernel/perf_event_paranoid")
    if text is None:
        raise FileNotFoundError("this kernel has no perf events")
    if int(text) > 1 and not (_capable(proc, PERFMON) or _capable(proc, SYS_ADMIN)):
        raise PermissionError(f"kernel.perf_event_paranoid is {text.strip()}: kernel events cannot be sampled")
    return f"kernel.perf_event_paranoid is {text.strip()}"


def in_container() -> bool:
    """Whether this runs in Docker, Podman or a Kubernetes pod."""
    marks = os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")
    return marks or "KUBERNETES_SERVICE_HOST" in os.environ


def gpu_on_bus(sys_: str = "/sys") -> bool:
    """Whether the PCI bus shows a display or compute device of NVIDIA, driver or not."""
    for device in Path(sys_).glob("bus/pci/devices/*"):
        maker, kind = (read_optional(device / name) or "" for name in ("vendor", "class"))
        if maker.strip() == NVIDIA and kind.startswith("0x03"):
            return True
    return False


def _capable(proc: str, bit: int) -> bool:
    status = read_optional(f"{proc}/self/status") or ""
    effective = status.partition("CapEff:")[2].partition("\n")[0].strip()
    return bool(int(effective or "0", 16) >> bit & 1)
