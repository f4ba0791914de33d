"""Host, pressure, disks, network and environment: made-up /proc and /sys, and the vocabulary on the live machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from advisor.collect.base import Kept, Sample
from advisor.collect.disk import Disk, FileSystem, mount_of
from advisor.collect.environment import Environment
from advisor.collect.host import Host
from advisor.collect.network import Network
from advisor.collect.pressure import Pressure
from advisor.collect.sampler import Collector, Sampler, sample

FACTS = Path(__file__).parent.parent / "knowledge/facts.yaml"


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def facts_of(collector: Collector, samples: Sequence[Sample], seconds: float = 10.0) -> dict[str, Any]:
    facts, _ = collector.parse([{**s, "t": 50.0 + seconds * i} for i, s in enumerate(samples)])
    return {f.name: f.value for f in facts}


def host_files(busy: int, iowait: int = 0, swapped: int = 0) -> dict[str, str]:
    idle = 2000 - busy - iowait
    return {
        "stat": f"cpu  {busy} 0 0 {idle} {iowait} 0 0 0 0 0\n"
        f"cpu0 {busy} 0 0 {1000 - busy} 0 0 0 0 0 0\n"
        f"cpu1 0 0 0 {1000 - iowait} {iowait} 0 0 0 0 0\nintr 5 1 2\nctxt 9\n",
        "meminfo": "MemTotal: 1000 kB\nMemFree: 1 kB\nMemAvailable: 250 kB\nCached: 90 kB\nDirty: 7 kB\n"
        f"Writeback: 3 kB\nSwapTotal: 100 kB\nSwapFree: {100 - swapped} kB\n",
        "vmstat": f"pswpin {swapped * 10}\npgmajfault 40\noom_kill 2\n",
        "loadavg": "3.00 2.00 1.00 1/100 1234\n",
    }


def test_host_shares_rates_and_saturated_cores(tmp_path: Path) -> None:
    host = Host(str(tmp_path), str(tmp_path / "sys"), str(tmp_path / "no-shm"))
    none = " 0 0 0 0 0 0 0 0\n"
    put(tmp_path, host_files(0) | {"stat": f"cpu {none}cpu0{none}cpu1{none}intr 1\n"})
    first = host.read()
    put(tmp_path, host_files(950, 400, swapped=60))
    found = facts_of(host, [first, host.read()])
    assert found["system.cpu.utilization"] == pytest.approx(0.475)
    assert found["system.cpu.iowait.utilization"] == pytest.approx(0.2)
    assert found["system.cpu.saturated.count"] == 1
    assert found["system.cpu.core.utilization.max"] == pytest.approx(0.95)
    assert found["system.cpu.logical.count"] == 2
    assert found["system.load.per_cpu"] == 1.5
    assert (found["system.memory.limit"], found["system.memory.available.fraction"]) == (1024000, 0.25)
    assert found["system.memory.dirty"] == 10 * 1024
    assert found["system.paging.utilization"] == pytest.approx(0.6)
    assert found["system.paging.swap_in.rate"] == pytest.approx(60)
    assert found["system.paging.major_faults.rate"] == 0
    assert found["system.memory.oom_kills"] == 2
    assert "system.filesystem.shm.limit" not in found
    assert "system.cpu.frequency" not in found


def test_clocks_governor_cores_and_memory_nodes(tmp_path: Path) -> None:
    clocks = {f"cpu{i}": f"{2_000_000 + 100_000 * (i % 2)}\n" for i in range(64)}
    cpus = {f"devices/system/cpu/{cpu}/cpufreq/scaling_cur_freq": khz for cpu, khz in clocks.items()}
    put(tmp_path / "sys", cpus | {
        "devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
        "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "3500000\n",
        "devices/system/cpu/cpu0/topology/thread_siblings_list": "0,2\n",
        "devices/system/cpu/cpu1/topology/thread_siblings_list": "1,3\n",
        "devices/system/cpu/cpu2/topology/thread_siblings_list": "0,2\n",
        "devices/system/cpu/cpu3/topology/thread_siblings_list": "1,3\n",
        "devices/system/node/node0/meminfo": "Node 0 MemTotal:       5000 kB\nNode 0 MemFree: 1 kB\n",
        "devices/system/node/node1/meminfo": "Node 1 MemTotal:       0 kB\n",
    })  # fmt: skip
    found = facts_of(Environment(str(tmp_path / "sys")), [Environment(str(tmp_path / "sys")).read()])
    assert found["system.cpu.frequency.governor"] == "powersave"
    assert found["system.cpu.frequency.max"] == 3.5e9
    assert (found["system.cpu.physical.count"], found["system.numa.node.count"]) == (2, 1)
    put(tmp_path, host_files(10))
    raw = Host(str(tmp_path), str(tmp_path / "sys")).read()
    assert len(raw["khz"]) == 8
    assert 2.0e9 <= facts_of(Host(), [raw])["system.cpu.frequency"] <= 2.1e9


def test_refaults_of_old_kernels_have_another_name(tmp_path: Path) -> None:
    host = Host(str(tmp_path), str(tmp_path / "sys"), str(tmp_path / "no-shm"))
    put(tmp_path, host_files(5) | {"vmstat": "workingset_refault 100\n"})
    first = host.read()
    put(tmp_path, {"vmstat": "workingset_refault 1100\n"})
    assert facts_of(host, [first, host.read()])["system.paging.refault.rate"] == 100


def psi(some: int, full: int) -> str:
    return f"some avg10=99.00 avg60=0 avg300=0 total={some}\nfull avg10=99.00 avg60=0 avg300=0 total={full}\n"


def test_pressure_is_the_share_of_the_window_not_an_average(tmp_path: Path) -> None:
    pressure = Pressure(str(tmp_path))
    put(tmp_path / "pressure", {"cpu": psi(0, 0), "memory": psi(5, 5), "io": psi(100, 0)})
    first = pressure.read()
    put(tmp_path / "pressure", {"cpu": psi(2_000_000, 0), "memory": psi(5, 5), "io": psi(9_000_100, 6_000_000)})
    found = facts_of(pressure, [first, pressure.read()])
    assert found == {
        "system.pressure.cpu.some": pytest.approx(0.2),
        "system.pressure.memory.some": 0, "system.pressure.memory.full": 0,
        "system.pressure.io.some": pytest.approx(0.9), "system.pressure.io.full": pytest.approx(0.6),
    }  # fmt: skip


def test_pressure_absent_and_denied_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(Kept):
        def read(self, path: str) -> str:
            raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("advisor.collect.network.Kept", Refused)
    denied = Network()
    monkeypatch.undo()
    sampler = Sampler([Pressure(str(tmp_path)), denied, Host()], interval_s=0.05)
    sampler.start()
    sampler.stop()
    absent, refused, good = (r.source for r in sampler.readings())
    assert (absent.state, absent.note) == ("absent", "PSI is not enabled in this kernel (boot with psi=1)")
    assert (refused.state, refused.note) == ("denied", "/proc/net/dev: Permission denied")
    assert good.state == "ok"


def disk_line(minor: int, name: str, reads: int, sectors: int, read_ms: int, busy_ms: int, queue_ms: int) -> str:
    return f" 259 {minor} {name} {reads} 0 {sectors} {read_ms} 0 0 0 0 0 {busy_ms} {queue_ms} 0 0 0 0\n"


def test_only_whole_physical_disks_count_and_the_busiest_is_named(tmp_path: Path) -> None:
    for name in ("nvme0n1", "nvme1n1", "dm-0", "loop0", "zram0", "md0"):
        (tmp_path / "sys/block" / name / "slaves").mkdir(parents=True)
    (tmp_path / "sys/block/dm-0/slaves/nvme0n1").touch()
    (tmp_path / "sys/block/md0/slaves/nvme1n1").touch()
    names = ("nvme0n1", "nvme0n1p1", "nvme1n1", "dm-0", "loop0", "zram0", "md0")
    put(tmp_path, {"proc/diskstats": "".join(disk_line(i, n, 0, 0, 0, 0, 0) for i, n in enumerate(names))})
    disk = Disk(str(tmp_path / "proc"), str(tmp_path / "sys"))
    first = disk.read()
    assert set(first["disks"]) == {"nvme0n1", "nvme1n1"}
    quiet = disk_line(0, "nvme0n1", 100, 20000, 50, 1000, 2000)
    put(tmp_path, {"proc/diskstats": quiet + disk_line(1, "nvme1n1", 900, 180000, 9000, 8000, 40000)})
    found = facts_of(disk, [first, disk.read()])
    assert found["system.disk.read.rate"] == 200000 * 512 / 10
    assert found["system.disk.read.ops"] == 100
    assert found["system.disk.read.size"] == 200 * 512
    assert found["system.disk.read.latency"] == pytest.approx(0.010)
    assert (found["system.disk.utilization"], found["system.disk.queue_depth"]) == (pytest.approx(0.8), 4)
    assert "system.disk.write.latency" not in found


def test_file_system_of_the_working_directory() -> None:
    found = facts_of(FileSystem(os.getpid()), [FileSystem(os.getpid()).read()])
    usage = psutil.disk_usage(os.getcwd())
    assert found["system.filesystem.utilization"] == pytest.approx(usage.percent / 100, abs=0.01)


def test_the_longest_mount_point_wins_and_of_equals_the_last() -> None:
    mounts = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:30 / /data rw - nfs4 server:/x rw
31 22 0:31 / /data\\040set rw - xfs /dev/sdb rw
32 30 0:32 / /data rw - lustre mgs:/y rw
"""
    assert mount_of(mounts, "/data/train") == ("/data", "lustre")
    assert mount_of(mounts, "/data set/x") == ("/data set", "xfs")
    assert mount_of(mounts, "/database") == ("/", "ext4")


def net(rx: int, tx: int, dropped: int, interfaces: Sequence[str]) -> str:
    rows = "".join(f"{n:>8}: {rx} 5 0 {dropped} 0 0 0 0 {tx} 5 0 0 0 0 0 0\n" for n in interfaces)
    return f"Inter-|   Receive\n face |bytes packets\n{rows}"


def snmp(sent: int, again: int) -> str:
    return f"Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm MaxConn OutSegs RetransSegs\nTcp: 1 -1 {sent} {again}\n"


def test_only_physical_interfaces_count(tmp_path: Path) -> None:
    links = {"eth0": "25000", "eth1": "10000", "veth1": "10000", "docker0": "-1", "bond0": "35000", "vf0": "25000"}
    put(tmp_path / "sys/class/net", {f"{n}/speed": s for n, s in links.items()} | {f"{n}/mtu": "9000" for n in links})
    for name in ("eth0/device", "eth1/device", "vf0/device", "vf0/master/device"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
    names = ["lo", *links]
    put(tmp_path / "proc/net", {"dev": net(0, 0, 0, names), "snmp": snmp(0, 0)})
    network = Network(None, str(tmp_path / "proc"), str(tmp_path / "sys"))
    first = network.read()
    put(tmp_path / "proc/net", {"dev": net(10_000_000_000, 2_000_000_000, 5, names), "snmp": snmp(10000, 200)})
    found = facts_of(network, [first, network.read()])
    assert (found["system.network.receive.rate"], found["system.network.transmit.rate"]) == (2e9, 4e8)
    assert found["system.network.link.speed"] == 25e9 / 8
    assert found["system.network.utilization"] == pytest.approx(0.8)
    assert found["system.network.mtu"] == 9000
    assert found["system.network.dropped.rate"] == 1
    assert found["system.network.tcp.retransmit.fraction"] == pytest.approx(0.02)


def test_a_container_has_only_the_interface_it_was_given(tmp_path: Path) -> None:
    put(tmp_path, {"net/dev": net(0, 0, 0, ["lo", "eth0"]), "net/snmp": snmp(50, 40)})
    network = Network(None, str(tmp_path), str(tmp_path / "sys"))
    sample_ = network.read()
    assert set(sample_["interfaces"]) == {"eth0"}
    assert "system.network.tcp.retransmit.fraction" not in facts_of(network, [sample_, sample_])


def test_every_fact_of_this_machine_is_in_the_vocabulary_within_its_range() -> None:
    vocabulary = {f["name"]: f for f in yaml.safe_load(FACTS.read_text(encoding="utf-8"))["facts"]}
    readings = sample(0.6, pid=os.getpid())
    facts = [f for r in readings for f in r.facts]
    assert len(facts) > 40
    assert len({f.name for f in facts}) == len(facts), "two collectors give the same fact"
    for fact in facts:
        spec = vocabulary[fact.name]
        assert fact.unit == spec["unit"], fact
        low, high = spec.get("range", [None, None])
        if not isinstance(fact.value, str):
            assert low is None or fact.value >= low, fact
            assert high is None or fact.value <= high, fact
    for name in (n for r in readings for n in r.series):
        assert name in vocabulary


def test_counts_agree_with_psutil() -> None:
    found = facts_of(Host(), [Host().read()]) | facts_of(Environment(), [Environment().read()])
    assert found["system.cpu.logical.count"] == psutil.cpu_count()
    assert found["system.cpu.physical.count"] == psutil.cpu_count(logical=False)
    assert found["system.memory.limit"] == psutil.virtual_memory().total
    assert found["system.memory.available"] == pytest.approx(psutil.virtual_memory().available, rel=0.05)


@pytest.mark.skipif(os.getuid() != 0, reason="a network namespace of its own needs root")
def test_the_network_is_the_one_that_the_job_sees() -> None:
    process = subprocess.Popen(["unshare", "--net", "sleep", "30"])
    try:
        deadline = time.monotonic() + 5
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(FileNotFoundError, match="loopback"):
            Network(process.pid).read()
    finally:
        process.kill()
        process.wait()
