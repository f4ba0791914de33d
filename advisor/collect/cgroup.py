"""Limits and throttling of the control groups that hold the job, versions 1, 2 and both at once.

A limit may sit on any ancestor, so every level from the job's own group up to the mount
is read, and the tightest decides. What lies above the mount of a container cannot be seen
from inside it (except the memory limit of version 1, which the kernel passes down).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advisor.collect.base import (
    Facts,
    Kept,
    Parsed,
    Sample,
    increase,
    keyed,
    rate,
    ratio,
    read_optional,
    read_text,
    span,
    times,
)
from advisor.collect.pressure import total_us
from advisor.collect.process import cpu_list

Level = Mapping[str, str]  # file name -> text, and "path" -> the group
CONTROLLERS = ("cpu", "memory", "pids", "pressure")  # the last is none, but its files lie in every group of version 2
UNLIMITED = 1 << 60  # version 1 writes "no limit" as the largest page-aligned number

FILES = {
    ("cpu", 1): ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.stat"),
    ("cpu", 2): ("cpu.max", "cpu.stat", "cpu.pressure", "cgroup.events"),
    ("memory", 1): ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "memory.oom_control"),
    ("memory", 2): ("memory.max", "memory.current", "memory.stat", "memory.events"),
    ("pressure", 2): ("memory.pressure", "io.pressure", "cgroup.events"),
    ("pids", 1): ("pids.max", "pids.current"),
    ("pids", 2): ("pids.max", "pids.current"),
}
STAT_KEYS = ("inactive_file", "total_inactive_file", "hierarchical_memory_limit")


class Cgroup:
    """The control groups of `pid`, or of this process."""

    kind = "cgroup"
    origin = "/sys/fs/cgroup"

    def __init__(self, pid: int | None = None, proc: str = "/proc", sys: str = "/sys") -> None:
        self._proc, self._sys = Path(proc), Path(sys)
        self._process = self._proc / ("self" if pid is None else str(pid))
        self._places: dict[str, tuple[int, list[tuple[str, str]]]] | None = None
        self._present: dict[str, list[tuple[str, str]]] = {}  # folder of a level -> names and paths of its files
        self._files = Kept()

    def read(self) -> Sample:
        """Per controller its version and the files of every level, the job's own group first."""
        if self._places is None:
            groups = read_text(self._process / "cgroup")
            self._places = self._locate(groups, read_text(self._proc / "self/mountinfo"))
        levels = {name: [version, self._levels_of(name, version, at)] for name, (version, at) in self._places.items()}
        status = read_optional(self._process / "status") or ""
        allowed = status.partition("Cpus_allowed_list:")[2].partition("\n")[0].strip()
        sample: Sample = {"controllers": levels, "cpus": allowed or None}
        if not any(_limits(sample)):
            sample["note"] = "no control-group limit applies to this process"
        return sample

    def _locate(self, groups: str, mountinfo: str) -> dict[str, tuple[int, list[tuple[str, str]]]]:
        """Controller -> version and (group, folder) from the job's own group up to the mount."""
        mounts = _mounts(mountinfo)
        found = {}
        for line in groups.splitlines():
            number, controllers, group = line.split(":", 2)
            for name in CONTROLLERS:
                version = 2 if number == "0" else 1
                if (version == 2 and name not in found) or name in controllers.split(","):
                    mount = mounts.get("" if version == 2 else name)
                    if mount:
                        found[name] = (version, self._levels(group, *mount))
        if not found:
            raise FileNotFoundError("no control-group hierarchy is mounted here")
        return found

    def _levels(self, group: str, root: str, point: str) -> list[tuple[str, str]]:
        inside = point.removeprefix("/sys/")
        top = self._sys / inside if inside != point else Path(point)
        prefix = "" if root == "/" else root
        # A group outside the mounted part (another namespace) is seen as the mount itself.
        rest = group.removeprefix(prefix) if (group + "/").startswith(prefix + "/") else ""
        parts = [p for p in rest.split("/") if p and p != ".."]
        ends = range(len(parts), -1, -1)
        return [("/" + "/".join(parts[:n]), str(top.joinpath(*parts[:n]))) for n in ends]

    def _levels_of(self, name: str, version: int, places: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
        read = places[:1] if name == "pressure" else places  # the pressure of a parent is that of other jobs too
        return [{"path": group, **self._texts(name, version, folder)} for group, folder in read]

    def _texts(self, name: str, version: int, folder: str) -> dict[str, str]:
        """The files that the level has; which those are is found out once."""
        key = f"{name} {folder}"
        if key not in self._present:
            paths = ((file, f"{folder}/{file}") for file in FILES[name, version])
            self._present[key] = [(file, path) for file, path in paths if Path(path).exists()]
        texts = {}
        for file, path in self._present[key]:
            text = self._files.optional(path)
            if text is not None and file == "memory.stat":
                text = "\n".join(f"{k} {v}" for k, v in keyed(text, STAT_KEYS).items())
            if text is not None:
                texts[file] = text.strip()
        return texts

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        """Limits as they were last; throttling and pressure over the window."""
        facts = Facts(self.origin)
        last = samples[-1]
        if last["cpus"]:
            facts.add("container.cpuset.count", cpu_list(last["cpus"]), "{cpu}")
        _cpu(facts, samples)
        _memory(facts, samples)
        _pressure(facts, samples)
        pids = [x for x in _at(last, "pids") if "pids.current" in x]
        shares = [share for x in pids if (share := ratio(int(x["pids.current"]), _number(x["pids.max"]))) is not None]
        facts.share("container.pids.utilization", max(shares, default=None))
        return facts.all(), {}


def _mounts(mountinfo: str) -> dict[str, tuple[str, str]]:
    """Controller ("" for version 2) -> root of the mounted part, and where it is mounted."""
    found: dict[str, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        root, point = left.split()[3:5]
        if kind == "cgroup2":
            found.setdefault("", (root, point))
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, (root, point))
    return found


def _at(sample: Sample, controller: str) -> list[Level]:
    """The levels of one controller, the job's own group first."""
    levels: list[Level] = sample["controllers"].get(controller, [0, []])[1]
    return levels


def _number(text: str | None) -> int | None:
    """A limit; None for "max", -1 and the largest number, all of which mean unlimited."""
    if text is None or text in ("max", "-1"):
        return None
    value = int(text)
    return value if value < UNLIMITED else None


def _quota(level: Level) -> float | None:
    """CPUs that a level allows."""
    if "cpu.max" in level:
        quota, period = level["cpu.max"].split()
    else:
        quota, period = level.get("cpu.cfs_quota_us", "max"), level.get("cpu.cfs_period_us", "100000")
    limit = _number(quota)
    return None if limit is None else limit / int(period)


def _memory_limit(level: Level) -> int | None:
    own = _number(level.get("memory.max", level.get("memory.limit_in_bytes")))
    passed_down = keyed(level.get("memory.stat", ""), ("hierarchical_memory_limit",)).get("hierarchical_memory_limit")
    limits = [x for x in (own, _number(str(passed_down)) if passed_down else None) if x is not None]
    return min(limits, default=None)


def _limits(sample: Sample) -> list[float]:
    cpu = (_quota(level) for level in _at(sample, "cpu"))
    memory = (_memory_limit(level) for level in _at(sample, "memory"))
    return [limit for limit in (*cpu, *memory) if limit is not None]


def _cpu(facts: Facts, samples: Sequence[Sample]) -> None:
    levels = _at(samples[-1], "cpu")
    limited = [(limit, i) for i, level in enumerate(levels) if (limit := _quota(level)) is not None]
    if limited:
        limit, i = min(limited)
        facts.add("container.cpu.limit", limit, "{cpu}", levels[i]["path"])
    shares = [(share, levels[i]["path"]) for _, i in limited if (share := _throttled(samples, i)) is not None]
    if shares:
        facts.share("container.cpu.throttled.fraction", *max(shares))
    _stalled(facts, "container.pressure.cpu.some", samples, "cpu", "cpu.pressure", "some")


def _pressure(facts: Facts, samples: Sequence[Sample]) -> None:
    _stalled(facts, "container.pressure.memory.full", samples, "pressure", "memory.pressure", "full")
    _stalled(facts, "container.pressure.io.full", samples, "pressure", "io.pressure", "full")


def _stalled(facts: Facts, name: str, samples: Sequence[Sample], controller: str, file: str, line: str) -> None:
    """Share of the window that the job's own group was stalled.

    Only a group below the true root has cgroup.events: the root's pressure is the machine's.
    """
    own = [levels[0] for s in samples if (levels := _at(s, controller))]
    if own and all(file in level and "cgroup.events" in level for level in own):
        stalled = [us / 1e6 for level in own if (us := total_us(level[file], line)) is not None]
        if len(stalled) == len(samples):
            facts.share(name, rate(times(samples), stalled), own[0]["path"])


def _throttled(samples: Sequence[Sample], i: int) -> float | None:
    """Share of the enforcement periods of level `i` that ran into its quota; 0 when none began."""
    stats = [keyed(_at(s, "cpu")[i].get("cpu.stat", ""), ("nr_periods", "nr_throttled")) for s in samples]
    if len(stats) < 2 or span(samples) <= 0 or not all(len(s) == 2 for s in stats):
        return None
    return ratio(increase([s["nr_throttled"] for s in stats]), increase([s["nr_periods"] for s in stats])) or 0.0


def _memory(facts: Facts, samples: Sequence[Sample]) -> None:
    levels = _at(samples[-1], "memory")
    limited = [(limit, i) for i, level in enumerate(levels) if (limit := _memory_limit(level)) is not None]
    if limited:
        limit, i = min(limited)
        facts.add("container.memory.limit", limit, "By", levels[i]["path"])
        full, path = max((_peak_share(samples, i, limit) or -1.0, levels[i]["path"]) for limit, i in limited)
        facts.share("container.memory.utilization", full if full >= 0 else None, path)
    if not levels or (levels[0]["path"] == "/" and not limited):
        return  # the root group holds the whole machine: that is no container
    used = [u for s in samples if (u := _working_set(_at(s, "memory")[0])) is not None]
    facts.add("container.memory.usage", max(used, default=None), "By", levels[0]["path"])
    _memory_events(facts, samples, levels[0]["path"])


def _peak_share(samples: Sequence[Sample], i: int, limit: int) -> float | None:
    used = [u for s in samples if (u := _working_set(_at(s, "memory")[i])) is not None]
    return ratio(max(used, default=None), limit)


def _working_set(level: Level) -> int | None:
    """Charged memory without file pages that can be dropped at once."""
    charged = level.get("memory.current", level.get("memory.usage_in_bytes"))
    if charged is None:
        return None
    stat = keyed(level.get("memory.stat", ""), STAT_KEYS)
    return max(0, int(charged) - stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _memory_events(facts: Facts, samples: Sequence[Sample], path: str) -> None:
    events = []
    for sample in samples:
        level = _at(sample, "memory")[0]
        text = level.get("memory.events", level.get("memory.oom_control", ""))
        events.append(keyed(text, ("high", "oom_kill")))
    high = [e["high"] for e in events if "high" in e]
    facts.add("container.memory.high_events", increase(high) if len(high) > 1 else None, "{event}", path)
    facts.add("container.memory.oom_kills", events[-1].get("oom_kill"), "{kill}", path)
