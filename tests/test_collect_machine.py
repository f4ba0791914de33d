"""Memory nodes, RDMA ports, bonds and the kernel log: made-up trees of machines that have them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from advisor.collect.base import KEPT_OPEN, Kept, Sample, keyed, read_text
from advisor.collect.kernel_log import DENIED, KernelLog
from advisor.collect.network import Network
from advisor.collect.numa import Numa
from advisor.collect.rdma import Rdma
from advisor.collect.sampler import Collector


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def facts_of(collector: Collector, samples: Sequence[Sample], seconds: float = 10.0) -> dict[str, Any]:
    facts, _ = collector.parse([{**s, "t": 50.0 + seconds * i} for i, s in enumerate(samples)])
    return {f.name: f.value for f in facts} | {f"{f.name} where": f.where for f in facts if f.where}


def test_a_long_kernel_file_is_read_to_its_end() -> None:
    """A read of a file of many records ends after about 4 KB; so did once what a machine with many mounts gave."""
    for text in (read_text("/proc/self/smaps"), Kept().read("/proc/self/smaps")):
        assert len(text) > 20_000
        assert text.splitlines()[-1].startswith("VmFlags:")


def test_kept_files_show_what_is_new_and_are_let_go(tmp_path: Path) -> None:
    put(tmp_path, {str(i): "old" for i in range(KEPT_OPEN + 5)})
    before = len(os.listdir("/proc/self/fd"))
    files = Kept()
    assert {files.read(str(tmp_path / str(i))) for i in range(KEPT_OPEN + 5)} == {"old"}
    assert len(os.listdir("/proc/self/fd")) - before == KEPT_OPEN
    put(tmp_path, {"0": "newer", str(KEPT_OPEN + 1): "newer"})
    assert files.read(str(tmp_path / "0")) == files.read(str(tmp_path / str(KEPT_OPEN + 1))) == "newer"
    assert files.optional(str(tmp_path / "none")) is None
    del files
    assert len(os.listdir("/proc/self/fd")) == before


def test_keyed_takes_whole_keys_only() -> None:
    text = "xpgfault 1\npgfault 22\npgfault_more 3\nRss:    44 kB\n"
    assert keyed(text, ("pgfault", "Rss", "none")) == {"pgfault": 22, "Rss": 44}


# --- memory nodes ---


def numastat(hit: int, miss: int, other: int) -> str:
    return f"numa_hit {hit}\nnuma_miss {miss}\nnuma_foreign 0\ninterleave_hit 9\nlocal_node {hit}\nother_node {other}\n"


class TwoSockets:
    """Two nodes with four CPUs and two GPUs each, and a job: launcher 10 and ranks from 11 on."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.sys = folder / "proc", folder / "sys"
        for node in (0, 1):
            put(self.sys, {
                f"devices/system/node/node{node}/numastat": numastat(1000, 0, 0),
                f"devices/system/node/node{node}/cpulist": f"{4 * node}-{4 * node + 3}\n",
            })  # fmt: skip
        for minor, address in enumerate(("0000:1b:00.0", "0000:3B:00.0", "0000:9b:00.0", "0000:db:00.0")):
            put(self.proc, {f"driver/nvidia/gpus/{address}/information": f"Model: x\nDevice Minor: \t {minor}\n"})
            put(self.sys, {f"bus/pci/devices/{address.lower()}/numa_node": f"{minor // 2}\n"})
        self.process(10, 1, "0-7", ())

    def process(self, pid: int, parent: int, cpus: str, gpus: Sequence[int]) -> None:
        put(self.proc / str(pid), {
            "stat": f"{pid} (python3 (x)) S {parent} 0 0\n",
            "status": f"Name:\tpython\nCpus_allowed_list:\t{cpus}\n",
        })  # fmt: skip
        (self.proc / str(pid) / "fd").mkdir()
        for i, target in enumerate(["/dev/nvidiactl", "/dev/nvidia-uvm", *(f"/dev/nvidia{gpu}" for gpu in gpus)]):
            (self.proc / str(pid) / "fd" / str(i)).symlink_to(target)

    def found(self) -> dict[str, Any]:
        numa = Numa(10, str(self.proc), str(self.sys))
        return facts_of(numa, [numa.read()])


@pytest.mark.parametrize(
    ("ranks", "bound"),
    [
        ([("0-3", (0,)), ("4-7", (2,))], True),
        ([("0-3", (0,)), ("0-3", (2,))], False),  # the second lies in the node of another GPU
        ([("0-7", (0,))], False),  # free to wander
        ([("0-7", (0, 1, 2, 3))], False),  # whichever of them it computes on
        ([("0-3", (0, 1))], True),  # both GPUs of one node
        ([("0-3", (0, 2))], None),  # nobody can tell which of them it computes on
        ([("0-3", ())], None),
    ],
)
def test_bound_to_the_node_of_the_gpu(
    tmp_path: Path, ranks: list[tuple[str, tuple[int, ...]]], bound: bool | None
) -> None:
    machine = TwoSockets(tmp_path)
    for i, (cpus, gpus) in enumerate(ranks):
        machine.process(11 + i, 10, cpus, gpus)
    assert machine.found().get("config.numa_bound") is bound


def test_the_share_of_remote_memory_is_that_of_the_window(tmp_path: Path) -> None:
    machine = TwoSockets(tmp_path)
    numa = Numa(10, str(machine.proc), str(machine.sys))
    first = numa.read()
    put(machine.sys, {"devices/system/node/node0/numastat": numastat(61_000, 20_000, 30_000)})
    put(machine.sys, {"devices/system/node/node1/numastat": numastat(21_000, 0, 0)})
    assert facts_of(numa, [first, numa.read()])["system.numa.remote.fraction"] == pytest.approx(0.3)
    assert "system.numa.remote.fraction" not in facts_of(numa, [first, first])


def test_one_node_has_nothing_remote(tmp_path: Path) -> None:
    put(tmp_path, {"devices/system/node/node0/numastat": numastat(5, 0, 0)})
    with pytest.raises(FileNotFoundError, match="one memory node"):
        Numa(1, str(tmp_path), str(tmp_path)).read()


# --- RDMA ---


def port(sys: Path, name: str, rate: str, state: str = "4: ACTIVE", layer: str = "InfiniBand", **counters: int) -> None:
    adapter = sys / "class/infiniband" / name
    put(adapter, {"board_id": "MT_0000000838\n"})
    put(adapter / "ports/1", {"rate": f"{rate}\n", "state": f"{state}\n", "link_layer": f"{layer}\n"})
    for counter, value in counters.items():
        folder = (
            "counters"
            if counter in ("port_xmit_wait", "port_xmit_data", "symbol_error", "link_downed")
            else "hw_counters"
        )
        put(adapter / "ports/1", {f"{folder}/{counter}": f"{value}\n"})


def test_a_port_that_trained_lower_than_its_sisters_and_lost_its_link(tmp_path: Path) -> None:
    for i in range(3):
        port(
            tmp_path,
            f"mlx5_{i}",
            "400 Gb/sec (4X NDR)",
            symbol_error=0,
            link_downed=1,
            port_xmit_wait=0,
            port_xmit_data=0,
        )
    port(
        tmp_path, "mlx5_3", "200 Gb/sec (2X NDR)", symbol_error=900, link_downed=7, port_xmit_wait=500, port_xmit_data=0
    )
    rdma = Rdma(str(tmp_path))
    first = rdma.read()
    port(tmp_path, "mlx5_3", "200 Gb/sec (2X NDR)", port_xmit_wait=200_000_500, port_xmit_data=25_000_000_000)
    found = facts_of(rdma, [first, rdma.read()])
    assert found["hw.network.rdma.port.active"] is True
    assert (found["hw.network.rdma.port.rate.ratio"], found["hw.network.rdma.port.rate.ratio where"]) == (
        0.5,
        "mlx5_3/1",
    )
    assert found["hw.network.rdma.symbol_errors"] == 900
    assert (found["hw.network.rdma.link_downed"], found["hw.network.rdma.link_downed where"]) == (7, "mlx5_3/1")
    assert found["hw.network.rdma.xmit_wait.rate"] == 2e7
    assert found["hw.network.rdma.tx.rate"] == 1e10
    assert not [name for name in found if "roce" in name]


def test_congestion_of_roce_ports_is_summed(tmp_path: Path) -> None:
    ethernet = {"rate": "100 Gb/sec (4X EDR)", "layer": "Ethernet"}
    for i in range(2):
        port(tmp_path, f"mlx5_{i}", **ethernet, rp_cnp_handled=5, out_of_sequence=1, local_ack_timeout_err=0)
    rdma = Rdma(str(tmp_path))
    first = rdma.read()
    for i in range(2):
        port(tmp_path, f"mlx5_{i}", **ethernet, rp_cnp_handled=1005, out_of_sequence=31, local_ack_timeout_err=i)
    found = facts_of(rdma, [first, rdma.read()])
    assert found["hw.network.roce.cnp_handled.rate"] == 200
    assert found["hw.network.roce.out_of_sequence.rate"] == 6
    assert found["hw.network.roce.ack_timeouts"] == 1
    assert found["hw.network.rdma.port.rate.ratio"] == 1


def test_a_port_that_is_down_is_named_and_has_no_rate_to_compare(tmp_path: Path) -> None:
    port(tmp_path, "mlx5_0", "200 Gb/sec (4X HDR)")
    port(tmp_path, "mlx5_1", "2.5 Gb/sec (1X SDR)", state="1: DOWN")
    found = facts_of(Rdma(str(tmp_path)), [Rdma(str(tmp_path)).read()])
    assert (found["hw.network.rdma.port.active"], found["hw.network.rdma.port.active where"]) == (False, "mlx5_1/1")
    assert "hw.network.rdma.port.rate.ratio" not in found


def test_no_adapter_is_absent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no InfiniBand or RoCE adapter"):
        Rdma(str(tmp_path)).read()


# --- bonds ---

BOND = """\
Ethernet Channel Bonding Driver: v5.15

Bonding Mode: IEEE 802.3ad Dynamic link aggregation
MII Status: up
MII Polling Interval (ms): 100

Slave Interface: eth0
MII Status: up
Speed: 25000 Mbps

Slave Interface: eth1
MII Status: {state}
Speed: Unknown
"""


@pytest.mark.parametrize(("state", "degraded"), [("up", False), ("down", True), ("going back", True)])
def test_a_bond_with_a_member_that_is_not_up_is_degraded(tmp_path: Path, state: str, degraded: bool) -> None:
    row = "eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
    put(tmp_path, {"net/dev": f"Inter-|\n face |\n{row}", "net/bonding/bond0": BOND.format(state=state)})
    network = Network(None, str(tmp_path), str(tmp_path / "sys"))
    found = facts_of(network, [network.read()] * 2)
    assert found["hw.network.bond.degraded"] is degraded
    assert found.get("hw.network.bond.degraded where") == ("bond0: eth1" if degraded else None)


# --- kernel log ---


def test_the_last_xid_is_told_with_its_gpu_and_age(tmp_path: Path) -> None:
    lines = (
        "6,100,5000000,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15\n"
        "4,200,60000000,-;NVRM: Xid (PCI:0000:3b:00): 13, pid=77, name=python, Graphics Exception\n SUBSYSTEM=pci\n"
        "4,201,4200000000,-;NVRM: Xid (PCI:0000:9b:00): 79, pid='<unknown>', GPU has fallen off the bus.\n"
    )
    put(tmp_path, {"kmsg": lines, "uptime": "7800.00 1.0\n", "driver/nvidia/version": "x"})
    log = KernelLog(str(tmp_path / "kmsg"), str(tmp_path))
    first = log.read()
    # A file gives many records in one read, the device one: what is kept of a read is its first line.
    assert first["xid"] == []
    records = [line for line in lines.splitlines() if "Xid" in line]
    sample = {**first, "xid": records}
    found = facts_of(log, [sample, {**sample, "xid": []}])
    assert (found["hw.gpu.xid.last"], found["hw.gpu.xid.last where"]) == (79, "0000:9b:00, 60 min ago")
    assert found["hw.gpu.xid.count"] == 0  # both were before we looked
    new = "4,300,7805000000,-;NVRM: Xid (PCI:0000:3b:00): 94, pid=78"
    later = facts_of(log, [sample, {**sample, "uptime": 7810.0, "xid": [new]}])
    assert (later["hw.gpu.xid.last"], later["hw.gpu.xid.count"]) == (94, 1)


def test_without_a_driver_there_is_no_count_of_xid_errors() -> None:
    assert facts_of(KernelLog(), [{"xid": [], "uptime": 5.0, "driver": False}]) == {}


def test_a_kernel_log_that_is_denied_says_how_to_allow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("advisor.collect.kernel_log.os.open", refuse)
    with pytest.raises(PermissionError, match=r"sysctl -w kernel\.dmesg_restrict=0"):
        KernelLog(str(tmp_path / "kmsg")).read()
    assert DENIED.startswith("the kernel log may not be read")


def test_the_log_of_this_machine_is_read_record_by_record() -> None:
    log = KernelLog()
    try:
        first = log.read()
    except (PermissionError, FileNotFoundError):
        pytest.skip("no kernel log may be read here")
    assert first["uptime"] > 0
    assert all("Xid" in line for line in first["xid"])
    assert log.read()["xid"] == []  # only what is new
