"""Control groups: made-up trees of version 1, version 2 and both, and a real quota where this machine allows one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advisor.collect.cgroup import Cgroup
from advisor.collect.sampler import Sampler

V2_MOUNT = "30 20 0:26 {root} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNTS = """\
31 20 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 20 0:28 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 20 0:29 {root} /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
"""
UNLIMITED = "9223372036854771712"


class Machine:
    """A made-up /proc and /sys under one folder."""

    def __init__(self, folder: Path, mounts: str, groups: str) -> None:
        self.proc, self.sys = folder / "proc", folder / "sys"
        self.write(self.proc / "self/mountinfo", mounts)
        self.write(self.proc / "77/cgroup", groups)
        self.write(self.proc / "77/status", "Name:\tpython\nCpus_allowed_list:\t0-3,8\nMems_allowed_list:\t0\n")

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def group(self, path: str, **files: str) -> None:
        """Write files of a group; ``cpu_max`` stands for ``cpu.max`` and so on."""
        for name, text in files.items():
            self.write(self.sys / "fs/cgroup" / path.strip("/") / name.replace("_", ".", 1), text + "\n")

    def collector(self) -> Cgroup:
        return Cgroup(77, str(self.proc), str(self.sys))


def facts_of(collector: Cgroup, samples: list[dict[str, Any]]) -> dict[str, Any]:
    facts, _ = collector.parse([{**s, "t": 100.0 + i * 10} for i, s in enumerate(samples)])
    return {f.name: f.value for f in facts} | {f"{f.name} where": f.where for f in facts}


def stat(periods: int, throttled: int) -> str:
    return f"usage_usec 1\nnr_periods {periods}\nnr_throttled {throttled}\nthrottled_usec 5"


def pressure(us: int) -> str:
    return f"some avg10=0.00 avg60=0.00 avg300=0.00 total={us}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0"


def test_v2_limits_throttling_and_events(tmp_path: Path) -> None:
    machine = Machine(tmp_path, V2_MOUNT.format(root="/"), "0::/pod/job\n")
    machine.group("pod", cpu_max="max 100000", memory_max="max")
    job = {"cpu_max": "250000 100000", "memory_max": "1000000", "pids_max": "400", "pids_current": "100"}
    machine.group(
        "pod/job", **job, cpu_stat=stat(100, 10), cpu_pressure=pressure(0), cgroup_events="populated 1",
        memory_current="900000", memory_stat="anon 1\ninactive_file 300000\nactive_file 5",
        memory_events="low 0\nhigh 5\nmax 0\noom 0\noom_kill 1",
    )  # fmt: skip
    collector = machine.collector()
    first = collector.read()
    machine.group(
        "pod/job", cpu_stat=stat(200, 70), cpu_pressure=pressure(4_000_000),
        memory_events="low 0\nhigh 12\nmax 0\noom 1\noom_kill 2",
    )  # fmt: skip
    found = facts_of(collector, [first, collector.read()])
    assert found["container.cpu.limit"] == 2.5
    assert found["container.cpu.throttled.fraction"] == pytest.approx(0.6)
    assert found["container.cpuset.count"] == 5
    assert (found["container.memory.limit"], found["container.memory.usage"]) == (1e6, 6e5)
    assert found["container.memory.utilization"] == pytest.approx(0.6)
    assert (found["container.memory.high_events"], found["container.memory.oom_kills"]) == (7, 2)
    assert found["container.pressure.cpu.some"] == pytest.approx(0.4)
    assert found["container.pids.utilization"] == 0.25
    assert found["container.cpu.limit where"] == "/pod/job"


def test_the_tightest_limit_of_an_ancestor_wins(tmp_path: Path) -> None:
    machine = Machine(tmp_path, V2_MOUNT.format(root="/"), "0::/slice/pod/job\n")
    machine.group("slice", cpu_max="150000 100000", cpu_stat=stat(0, 0), memory_max="2000", memory_current="1500")
    machine.group("slice/pod", cpu_max="400000 100000", cpu_stat=stat(0, 0), memory_max="max", memory_current="900")
    machine.group("slice/pod/job", cpu_max="max 100000", cpu_stat=stat(0, 0), memory_max="4000", memory_current="800")
    collector = machine.collector()
    first = collector.read()
    machine.group("slice", cpu_stat=stat(100, 80))
    machine.group("slice/pod", cpu_stat=stat(100, 5))
    found = facts_of(collector, [first, collector.read()])
    assert (found["container.cpu.limit"], found["container.cpu.limit where"]) == (1.5, "/slice")
    assert found["container.cpu.throttled.fraction"] == pytest.approx(0.8)
    assert found["container.memory.limit"] == 2000
    assert (found["container.memory.utilization"], found["container.memory.utilization where"]) == (0.75, "/slice")
    assert found["container.memory.usage"] == 800


def test_no_limit_means_no_fact(tmp_path: Path) -> None:
    machine = Machine(tmp_path, V2_MOUNT.format(root="/"), "0::/job\n")
    machine.group("job", cpu_max="max 100000", cpu_stat=stat(0, 0), memory_max="max", memory_current="5")
    machine.group("job", pids_max="max", pids_current="3")
    collector = machine.collector()
    sample = collector.read()
    found = facts_of(collector, [sample, sample])
    assert sample["note"] == "no control-group limit applies to this process"
    assert "container.memory.usage" in found
    for name in ("cpu.limit", "cpu.throttled.fraction", "memory.limit", "memory.utilization", "pids.utilization"):
        assert f"container.{name}" not in found


def test_inside_a_container_the_mount_is_the_group(tmp_path: Path) -> None:
    """Without a cgroup namespace the group's path starts with the mount's root."""
    machine = Machine(tmp_path, V2_MOUNT.format(root="/docker/abc"), "0::/docker/abc\n")
    machine.group("", cpu_max="50000 100000", cpu_stat=stat(0, 0), memory_max="max", memory_current="1")
    assert facts_of(machine.collector(), [machine.collector().read()])["container.cpu.limit"] == 0.5


@pytest.mark.parametrize("group", ["/", "/../../other", "/docker/other"])
def test_a_group_outside_the_mount_is_seen_as_the_mount(tmp_path: Path, group: str) -> None:
    machine = Machine(tmp_path, V2_MOUNT.format(root="/docker/abc"), f"0::{group}\n")
    machine.group("", cpu_max="50000 100000")
    assert facts_of(machine.collector(), [machine.collector().read()])["container.cpu.limit"] == 0.5


def test_the_true_root_is_no_container(tmp_path: Path) -> None:
    machine = Machine(tmp_path, V2_MOUNT.format(root="/"), "0::/\n")
    machine.group("", cpu_stat="usage_usec 1", cpu_pressure=pressure(9), memory_stat="inactive_file 1")
    found = facts_of(machine.collector(), [machine.collector().read()] * 2)
    assert set(found) == {"container.cpuset.count", "container.cpuset.count where"}


def test_v1_quota_memory_and_pids(tmp_path: Path) -> None:
    groups = "4:memory:/docker/abc\n3:pids:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"
    machine = Machine(tmp_path, V1_MOUNTS.format(root="/docker/abc"), groups)
    machine.group("cpu,cpuacct", cpu_cfs_quota_us="300000", cpu_cfs_period_us="100000", cpu_stat=stat(10, 0))
    machine.group(
        "memory", memory_limit_in_bytes=UNLIMITED, memory_usage_in_bytes="700",
        memory_stat="inactive_file 50\nhierarchical_memory_limit 1000\ntotal_inactive_file 100",
        memory_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3",
    )  # fmt: skip
    machine.group("pids", pids_max="max", pids_current="7")
    collector = machine.collector()
    first = collector.read()
    machine.group("cpu,cpuacct", cpu_stat=stat(50, 10))
    found = facts_of(collector, [first, collector.read()])
    assert found["container.cpu.limit"] == 3
    assert found["container.cpu.throttled.fraction"] == pytest.approx(0.25)
    assert found["container.memory.limit"] == 1000  # of a group above the container, passed down by the kernel
    assert found["container.memory.utilization"] == pytest.approx(0.6)
    assert found["container.memory.oom_kills"] == 3
    assert "container.pids.utilization" not in found


def test_v1_without_limits_says_minus_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, V1_MOUNTS.format(root="/"), "4:memory:/\n2:cpu,cpuacct:/\n")
    machine.group("cpu,cpuacct", cpu_cfs_quota_us="-1", cpu_cfs_period_us="100000", cpu_stat=stat(0, 0))
    machine.group("memory", memory_limit_in_bytes=UNLIMITED, memory_usage_in_bytes="7")
    found = facts_of(machine.collector(), [machine.collector().read()] * 2)
    assert set(found) == {"container.cpuset.count", "container.cpuset.count where"}


def test_hybrid_takes_each_controller_from_where_it_is(tmp_path: Path) -> None:
    unified = V2_MOUNT.format(root="/").replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
    mounts = V1_MOUNTS.format(root="/") + unified
    machine = Machine(tmp_path, mounts, "2:cpu,cpuacct:/a\n0::/b\n")
    machine.group("cpu,cpuacct/a", cpu_cfs_quota_us="100000", cpu_cfs_period_us="100000")
    machine.group("unified/b", memory_max="5000", memory_current="10")
    found = facts_of(machine.collector(), [machine.collector().read()])
    assert (found["container.cpu.limit"], found["container.memory.limit"]) == (1, 5000)


def test_no_hierarchy_is_absent(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "22 27 0:21 / /proc rw - proc proc rw\n", "0::/\n")
    with pytest.raises(FileNotFoundError, match="no control-group hierarchy is mounted here"):
        machine.collector().read()


CPU_V1 = Path("/sys/fs/cgroup/cpu")


@pytest.fixture
def quota_group() -> Iterator[Path | None]:
    """A group that allows a twentieth of a CPU, less than even a loaded machine gives; None where none can be made."""
    group = CPU_V1 / f"advisor-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("5000")
    except OSError:
        yield None
        return
    yield group
    for _ in range(50):  # the kernel lets a group go only when its last task is gone
        try:
            group.rmdir()
        except OSError:
            time.sleep(0.05)
        else:
            return


def test_a_real_quota_is_seen_as_throttling(quota_group: Path | None) -> None:
    """A busy process under a real quota; where no quota can be set, throttling is told only with a limit."""
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if quota_group is not None:
            (quota_group / "cgroup.procs").write_text(str(child.pid))
        sampler = Sampler([Cgroup(child.pid)], interval_s=0.5)
        sampler.start()
        time.sleep(2)
        sampler.stop()
    finally:
        child.kill()
        child.wait()
    reading = sampler.readings()[0]
    found = {f.name: f.value for f in reading.facts}
    if quota_group is None:
        assert reading.source.state in ("ok", "absent", "denied")
        assert ("container.cpu.throttled.fraction" in found) == ("container.cpu.limit" in found)
    else:
        assert found["container.cpu.limit"] == pytest.approx(0.05)
        assert float(found["container.cpu.throttled.fraction"]) > 0.5
