"""What can be read here: every live collector is asked once, and so is what decides whether more could be read.

The collectors' own `read` says whether a source is there; nothing is measured twice. Which permission or package is
missing is looked at in `access`, and how to get it is words of terms.yaml with the command that stands here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from advisor.collect import access
from advisor.collect.base import Collector
from advisor.collect.sampler import Sampler, default_collectors
from advisor.models import SourceState

READ_S = 0.3
ONLY_ALLOWED = ("gpu_counters", "foreign", "ptrace", "perf")  # where they are absent nothing can be done
PATIENCE = 30.0  # importing the user's torch from a network file system takes that long


@dataclass(frozen=True, slots=True)
class Way:
    """How to make a source readable: the key of its sentence, and the exact command."""

    said: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One source: its id, the key of its label, how it answered, and the way to more where there is one."""

    id: str
    label: str
    origin: str
    state: SourceState
    note: str
    way: Way | None


@dataclass(frozen=True, slots=True)
class Known:
    """A source that doctor has words for: its label, the collector behind it and the facts it is the one to give."""

    id: str
    label: str
    kind: str
    origin: str
    facts: str = ""


# The first whose pattern fits a fact is its source. A pattern claims no more than a name: what is really given is
# what the knowledge base's measurements promise.
SOURCES: tuple[Known, ...] = (
    Known("numa", "doctor.numa", "host", "/sys/devices/system/node", "system.numa.remote.* config.numa_bound"),
    Known("torch", "doctor.torch", "doctor", "torch", "probe.matmul.* probe.gpu.*"),
    Known("probes", "doctor.probes", "doctor", "probes", "probe.* system.network.rtt ml.dataloader.alone.*"),
    Known("hook", "doctor.hook", "doctor", "hook", "run.* ml.* config.* torch.* comm.* trace.* process.code.*"),
    Known("kernel_log", "doctor.kernel_log", "host", "/dev/kmsg", "hw.gpu.xid.*"),
    Known("gpu", "doctor.gpu", "nvml", "NVML", "hw.gpu.*"),
    Known("gpu_counters", "doctor.gpu_counters", "doctor", "gpu_counters"),
    Known("pressure", "doctor.pressure", "host", "/proc/pressure", "system.pressure.*"),
    Known("cgroup", "doctor.cgroup", "cgroup", "/sys/fs/cgroup", "container.*"),
    Known(
        "memory",
        "doctor.memory",
        "process",
        "/proc/pid/smaps_rollup",
        "process.memory.unique process.memory.unique.* process.memory.proportional.* process.memory.worker*",
    ),
    Known("data_files", "doctor.data_files", "process", "/proc/pid/fd", "process.data.*"),
    Known("process", "doctor.process", "process", "/proc/pid", "process.*"),
    Known("foreign", "doctor.foreign", "doctor", "foreign"),
    Known("disk", "doctor.disk", "disk", "/proc/diskstats", "system.disk.*"),
    Known(
        "file_system",
        "doctor.file_system",
        "disk",
        "file system of the working directory",
        "system.filesystem.type system.filesystem.utilization system.filesystem.inodes.*",
    ),
    Known("nfs", "doctor.nfs", "disk", "/proc/pid/mountstats", "nfs.*"),
    Known("network", "doctor.network", "network", "/proc/net/dev", "system.network.* hw.network.bond.*"),
    Known("rdma", "doctor.rdma", "network", "/sys/class/infiniband", "hw.network.*"),
    Known(
        "environment",
        "doctor.environment",
        "environment",
        "/sys/devices/system",
        "system.cpu.physical.count system.numa.* system.cpu.frequency.governor system.cpu.frequency.max",
    ),
    Known("host", "doctor.host", "host", "/proc", "system.*"),
    Known("stacks", "doctor.stacks", "doctor", "stacks"),
    Known("ptrace", "doctor.ptrace", "doctor", "ptrace"),
    Known("perf", "doctor.perf", "doctor", "perf"),
)


def owners(facts: Iterable[str]) -> dict[str, str]:
    """Fact -> the id of the live source that gives it; facts of no live source are left out."""
    patterns = [(known.id, pattern) for known in SOURCES for pattern in known.facts.split()]
    found = {}
    for fact in facts:
        owner = next((name for name, pattern in patterns if fnmatchcase(fact, pattern)), None)
        if owner:
            found[fact] = owner
    return found


def examine(python: str | None = None) -> list[Seen]:
    """Ask every source once, all at the same time, and no longer than `PATIENCE` for the slowest."""
    questions: list[Collector] = [*default_collectors(os.getpid()), *access.questions(python)]
    captures = _ask(questions)
    in_order = sorted(captures, key=_place)
    return [_seen(capture) for capture in in_order]


def _ask(questions: Sequence[Collector]) -> list[dict[str, str]]:
    sampler = Sampler(questions, interval_s=READ_S, timeout_s=PATIENCE)
    sampler.start()
    time.sleep(READ_S)
    sampler.stop()
    return [{k: c[k] for k in ("kind", "origin", "state", "note")} for c in sampler.captures()]


def _place(capture: Mapping[str, str]) -> int:
    keys = [(known.kind, known.origin) for known in SOURCES]
    key = (capture["kind"], capture["origin"])
    return keys.index(key) if key in keys else len(keys)


def _seen(capture: Mapping[str, str]) -> Seen:
    place, state = _place(capture), capture["state"]
    known = SOURCES[place] if place < len(SOURCES) else None
    name = known.id if known else f"{capture['kind']}:{capture['origin']}"
    way = None if state == "ok" else _way(name, state)
    checked: SourceState = next(s for s in _STATES if s == state)
    return Seen(name, known.label if known else "", capture["origin"], checked, capture["note"], way)


_STATES: tuple[SourceState, ...] = ("ok", "absent", "denied", "timeout", "unreadable")


def _way(name: str, state: str) -> Way | None:
    """How to get at a source that did not answer; None when nobody can change it."""
    if name == "gpu":
        return _gpu_way(state)
    inside = access.in_container()
    if state != "denied" and (name in ONLY_ALLOWED or (name == "kernel_log" and not inside)):
        return None
    ways: Mapping[str, Way] = {
        "hook": Way("doctor.fix_hook", "advisor doctor --python /path/to/python"),
        "torch": Way("doctor.fix_torch", "advisor doctor --python /path/to/python"),
        "kernel_log": Way("doctor.fix_container", "docker run --cap-add SYSLOG --device /dev/kmsg ...")
        if inside
        else Way("doctor.fix_kernel_log", "sudo sysctl -w kernel.dmesg_restrict=0"),
        "gpu_counters": Way(
            "doctor.fix_gpu_counters",
            "echo 'options nvidia NVreg_RestrictProfilingToAdminUsers=0' | sudo tee /etc/modprobe.d/advisor.conf",
        ),
        "pressure": Way("doctor.fix_pressure", "sudo grubby --update-kernel=ALL --args=psi=1"),
        "cgroup": Way("doctor.fix_cgroup", "docker run -v /sys/fs/cgroup:/sys/fs/cgroup:ro ..."),
        "foreign": Way("doctor.fix_container", "docker run --pid=host --cap-add SYS_PTRACE ...")
        if inside
        else Way("doctor.fix_foreign", "sudo -u USER advisor diagnose --pid PID"),
        "stacks": Way("doctor.fix_stacks", "pip install py-spy"),
        "ptrace": Way("doctor.fix_container", "docker run --cap-add SYS_PTRACE ...")
        if inside
        else Way("doctor.fix_ptrace", "sudo sysctl -w kernel.yama.ptrace_scope=0"),
        "perf": Way("doctor.fix_container", "docker run --cap-add PERFMON ...")
        if inside
        else Way("doctor.fix_perf", "sudo sysctl -w kernel.perf_event_paranoid=1"),
    }
    return ways.get(name)


def _gpu_way(state: str) -> Way:
    if not access.gpu_on_bus():
        return Way("doctor.fix_gpu_none")
    if access.in_container():
        command = "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ..."
        return Way("doctor.fix_gpu_container", command)
    if state == "denied":
        return Way("doctor.fix_gpu_denied", "ls -l /dev/nvidia*")
    return Way("doctor.fix_gpu_driver", "nvidia-smi")
