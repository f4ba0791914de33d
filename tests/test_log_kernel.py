"""Kernel logs -> facts: every way in which they are printed, every kind of event, and nothing from a normal boot."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.derive.xid import HARDWARE, foremost
from advisor.errors import InputError
from advisor.models import Value
from advisor.pipeline import Diagnoser
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.log import read
from advisor.readers.log.kernel import find
from advisor.readers.log.log import Log
from advisor.readers.paste import read_paste
from advisor.readers.recognise import recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "dmesg"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real kernel logs here")
KNOWLEDGE = kb.load()
DIAGNOSER = Diagnoser(KNOWLEDGE)
XID = "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
BOOT = "".join(
    f"[{i:5}.{i:06}] {text}\n"
    for i, text in enumerate(
        (
            "Linux version 6.5.0-18-generic (buildd@host) #18-Ubuntu SMP",
            "Command line: BOOT_IMAGE=/boot/vmlinuz ro quiet crashkernel=512M",
            "x86/fpu: Supporting XSAVE feature 0x001: 'x87 floating point registers'",
            "rcu: Hierarchical RCU implementation.",
            "mce: CPU supports 32 MCE banks",
            "EDAC MC: Ver: 3.0.0",
            "pci 0000:01:00.0: [15b3:1017] type 00 class 0x020000",
            "ata3: SATA link down (SStatus 0 SControl 300)",
            "EXT4-fs (nvme0n1p2): mounted filesystem with ordered data mode. Quota mode: none.",
            "XFS (nvme1n1): Mounting V5 Filesystem",
            "nvme nvme0: 32/0/0 default/read/poll queues",
            "mlx5_core 0000:01:00.0: 126.016 Gb/s available PCIe bandwidth (8.0 GT/s PCIe x16 link)",
            "igb 0000:02:00.1 eno2: NIC Link is Down",
            "mlx5_core 0000:01:00.0 ens1: Link up",
            "IPv6: ADDRCONF(NETDEV_CHANGE): ens1: link becomes ready",
            "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024",
            "nvidia-nvlink: Nvlink Core is being initialized, major device number 511",
        )
    )
)


def told(text: str) -> Told:
    (one,) = find(Log("dmesg", text))
    return one


def facts(text: str) -> dict[str, Value]:
    """Facts by name, all of them in the vocabulary, with its unit and in its range."""
    (reading,) = told(text).readings
    assert reading.source.kind == "kernel log"
    for fact in reading.facts:
        assert fact.unit == KNOWLEDGE.facts[fact.name].unit, fact.name
    return {fact.name: fact.value for fact in reading.facts}


def after_boot(*lines: str) -> dict[str, Value]:
    return facts(BOOT + "".join(f"[{100 + i}.000000] {line}\n" for i, line in enumerate(lines)))


# --- the ways in which a kernel log is printed ------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "[ 1843.308145] ",
        "<4>[ 1843.308145] ",
        "[ 1843.308145][ T1234] ",
        "[Thu Sep 19 02:29:46 2024] ",
        "kern  :warn  : [ 1843.308145] ",
        "kern  :warn  : 2025-01-21T04:41:44,283302+00:00 ",
        "2025-01-21T04:41:44,283302+01:00 ",
        "4,1234,5678901,-;",
        "4,1234,5678901,-,caller=T77;",
        "Nov 23 10:56:57 node7 kernel: ",
        "Nov 23 10:56:57 node7 kernel: [ 4694.007852] ",
        "2024-11-23T10:56:57.123456+00:00 node7 kernel: ",
        "2: [ 1843.308145] ",
        "> [ 1843.308145] ",
        "[rank0]: ",
        "",
    ],
)
def test_an_error_is_found_whatever_stands_before_it(prefix: str) -> None:
    found = facts(f"what is wrong here?\n{prefix}{XID}\n$ ")

    assert (found["hw.gpu.xid.last"], found["hw.gpu.xid.count"], found["hw.gpu.lost.count"]) == (79, 1, 1)


@pytest.mark.parametrize(
    ("first", "last", "seconds"),
    [
        ("[   10.500000] a", "[  130.500000] b", 120.0),
        ("6,1,10500000,-;a", "6,2,130500000,-;b", 120.0),
        ("[Thu Sep 19 02:29:46 2024] a", "[Thu Sep 19 03:29:46 2024] b", 3600.0),
        ("kern  :warn  : 2025-01-21T04:41:44,500000+00:00 a", "kern  :warn  : 2025-01-21T04:41:45,000000+00:00 b", 0.5),
        ("2025-01-21 04:41:44 node kernel: a", "2025-01-21 04:41:54 node kernel: b", 10.0),
    ],
)
def test_the_window_is_from_the_first_line_to_the_last(first: str, last: str, seconds: float) -> None:
    assert told(f"{first}\n{XID}\n{last}\n").seconds == pytest.approx(seconds)


def test_a_date_inside_of_a_line_is_not_the_time_of_the_line() -> None:
    text = f"[  1.0001] rtc_cmos 00:00: setting system clock to 2022-02-11T18:58:07 UTC\n[ 61.0001] {XID}\n"

    assert (told(text).started, told(text).seconds) == (None, pytest.approx(60.0))


def test_dated_logs_say_when_they_began() -> None:
    assert told(f"2025-01-21T04:41:44,000000+01:00 {XID}\n").started == 1737430904.0


def test_a_normal_boot_gives_zeros_and_no_finding() -> None:
    found = facts(BOOT)

    assert set(found.values()) == {0}
    assert {"system.kernel.hung_tasks", "hw.gpu.xid.last", "system.network.link_downs"} <= found.keys()
    assert "hw.nvswitch.sxid.count" not in found
    assert not rules(BOOT)


def test_single_lines_say_nothing_about_what_is_not_among_them() -> None:
    assert facts(XID).keys() == {"hw.gpu.xid.last", "hw.gpu.xid.count", "hw.gpu.lost.count"}
    assert find(Log("train.log", "step 1 loss 2.0\nCUDA out of memory. Tried to allocate 2 GiB\nKilled\n")) == []


def test_a_log_in_brackets_is_not_taken_for_a_list() -> None:
    kind = recognise(Artefact("dmesg", data=BOOT.encode()))

    lists = [recognise(Artefact("list", data=data)) for data in (b'[{"a": 1}]', b"[1, 2]", b"[\n1]")]

    assert kind is not None
    assert kind.name == "text"
    assert [found.name for found in lists if found] == ["a profile or diagnosis"] * 3


# --- what is in it --------------------------------------------------------------------------


def test_the_xid_that_tells_most_is_the_last_one() -> None:
    def line(code: int, gpu: str = "0000:3b:00") -> str:
        return f"NVRM: Xid (PCI:{gpu}): {code}, pid=77, name=python, ..."

    assert after_boot(line(13), line(13), line(43), line(45), line(154))["hw.gpu.xid.last"] == 13
    assert after_boot(line(119), line(31, "0000:9b:00"))["hw.gpu.xid.last"] == 119
    assert after_boot(line(45))["hw.gpu.xid.last"] == 45
    assert after_boot(line(13), line(31))["hw.gpu.xid.count"] == 2
    note = told(f"{line(13)}\n{line(13)}\n{line(31, '0000:9b:00')}\n").readings[0].source.note
    assert "Xid 13 on 0000:3b:00 (2x); Xid 31 on 0000:9b:00 (1x)" in note
    assert foremost([]) is None


def test_the_rule_and_the_reader_agree_on_what_hardware_faults_are() -> None:
    conditions = KNOWLEDGE.rules["xid-critical"].when.any

    assert sorted(code for c in conditions for code in c.value) == sorted(HARDWARE)  # type: ignore[union-attr]


def test_rows_that_wait_for_a_reset_and_rows_that_cannot_be_remapped() -> None:
    pending = "NVRM: Xid (PCI:0000:3b:00): 63, pid=1, Row Remapper: New row (0x1) marked for remapping, reset gpu"
    failed = "NVRM: Xid (PCI:0000:3b:00): 64, pid=1, Row Remapper: Failed to remap row"

    assert facts(pending)["hw.gpu.row_remap.pending"] is True
    assert facts(failed)["hw.gpu.row_remap.failed"] is True
    assert "hw.gpu.row_remap.pending" not in facts(failed)


def test_lost_gpus_are_counted_once_however_often_they_are_told() -> None:
    found = after_boot(
        XID,
        "NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.",
        "NVRM: The NVIDIA GPU 0000:5e:00.0",
        "NVRM: (PCI ID: 10de:26b5) installed in this system has",
        "NVRM: fallen off the bus and is not responding to commands.",
        "NVRM: GPU 00000000:9b:00.0: RmInitAdapter failed! (0x24:0x65:1436)",
    )

    assert found["hw.gpu.lost.count"] == 3


def test_errors_of_switches_fatal_and_not() -> None:
    mild = "nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress non-posted PRIV error (First)"
    fatal = "nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 LTSSM Fault Up"
    names = ("hw.nvswitch.sxid.last", "hw.nvswitch.sxid.count", "hw.nvswitch.sxid.fatal.count")

    assert [facts(mild)[n] for n in names] == [12028, 1, 0]
    assert [facts(f"{fatal}\n{mild}\n{mild}")[n] for n in names] == [20034, 3, 1]


KILLS = {
    "new, of the machine": (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),mems_allowed=0,global_oom,task=python,pid=4242,uid=0\n"
        "Out of memory: Killed process 4242 (python) total-vm:90000kB, anon-rss:1048576kB, file-rss:0kB\n"
        "oom_reaper: reaped process 4242 (python), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB\n",
        (1, 0),
    ),
    "new, of a group": (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/k,task_memcg=/x,task=node,pid=7,uid=0\n"
        "Memory cgroup out of memory: Killed process 7 (node) total-vm:9kB, anon-rss:5kB\n",
        (0, 1),
    ),
    "old, two lines": (
        "Out of memory: Kill process 456 (python) score 50 or sacrifice child\n"
        "Killed process 456 (python) total-vm:1kB, anon-rss:2kB, file-rss:3kB\n",
        (1, 0),
    ),
    "old, of a group": (
        "Memory cgroup out of memory: Kill process 456 (python) score 50 or sacrifice child\n"
        "Killed process 456 (python) total-vm:1kB, anon-rss:2kB, file-rss:3kB\n",
        (0, 1),
    ),
    "with the user": ("Out of memory: Killed process 123, UID 48, (httpd) total-vm:1kB, anon-rss:2kB\n", (1, 0)),
    "only the reason": ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=node,pid=863987,uid=0\n", (0, 1)),
    "cut off": ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),\nOut of memory: Killed proc", None),
    "the same process again later": (
        "Out of memory: Killed process 5 (a) total-vm:1kB\nOut of memory: Killed process 5 (a) total-vm:1kB\n",
        (2, 0),
    ),
}


@pytest.mark.parametrize("name", KILLS)
def test_kills_are_counted_once_and_told_apart(name: str) -> None:
    text, expected = KILLS[name]
    if expected is None:
        assert find(Log("dmesg", text)) == []
        return
    found = facts(text)

    kinds = ("system.kernel.oom_kills.host", "system.kernel.oom_kills.cgroup")
    assert tuple(found.get(kind, 0) for kind in kinds) == expected


def test_a_note_names_the_victim_and_what_it_held() -> None:
    assert "python (pid 4242, 1.0 GiB resident)" in told(KILLS["new, of the machine"][0]).readings[0].source.note


EVENTS = [
    ("INFO: task kworker/u16:2:1234 blocked for more than 120 seconds.", "system.kernel.hung_tasks"),
    ("INFO: task python:77 blocked in I/O wait for more than 122 seconds.", "system.kernel.hung_tasks"),
    ("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [python:123]", "system.kernel.lockups"),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 5", "system.kernel.lockups"),
    ("rcu: INFO: rcu_sched self-detected stall on CPU", "system.kernel.lockups"),
    ("INFO: rcu_preempt detected stalls on CPUs/tasks:", "system.kernel.lockups"),
    ("nvme nvme0: I/O 333 QID 1 timeout, aborting", "system.disk.timeouts"),
    ("nvme nvme1: I/O tag 12 (100c) opcode 0x1 (I/O Cmd) QID 4 timeout, reset controller", "system.disk.timeouts"),
    ("nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10", "system.disk.timeouts"),
    ("ata1.00: exception Emask 0x0 SAct 0x400 SErr 0x0 action 0x6 frozen", "system.disk.timeouts"),
    ("sd 0:0:0:0: [sda] tag#1 FAILED Result: hostbyte=DID_TIME_OUT driverbyte=DRIVER_OK", "system.disk.timeouts"),
    ("blk_update_request: I/O error, dev sda, sector 123", "system.disk.errors"),
    ("print_req_error: critical medium error, dev sdb, sector 5 flags 0", "system.disk.errors"),
    ("I/O error, dev nvme0n1, sector 123 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2", "system.disk.errors"),
    ("EXT4-fs error (device sda1): ext4_lookup:1700: inode #2: comm ls: deleted inode", "system.filesystem.errors"),
    ("EXT4-fs (sda1): Remounting filesystem read-only", "system.filesystem.errors"),
    ("XFS (dm-0): Corruption of in-memory data detected.  Shutting down filesystem", "system.filesystem.errors"),
    ("BTRFS error (device sda): bdev /dev/sda errs: wr 1, rd 0", "system.filesystem.errors"),
    ("nfs: server nfs01 not responding, still trying", "system.filesystem.server_timeouts"),
    ("CIFS: VFS: \\\\srv has not responded in 180 seconds. Reconnecting...", "system.filesystem.server_timeouts"),
    (
        "Lustre: fs0-OST0001-osc: Connection to fs0-OST0001 (at 10.0.0.1@o2ib) was lost; in progress operations "
        "using this service will wait for recovery to complete",
        "system.filesystem.server_timeouts",
    ),
    ("mce: [Hardware Error]: Machine check events logged", "system.kernel.machine_checks"),
    ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5: be00000000800400", "system.kernel.machine_checks"),
    ("EDAC MC0: 1 CE memory read error on CPU_SrcID#0 (channel:1)", "hw.memory.errors.corrected"),
    ("EDAC sbridge MC1: 1 UE memory read error", "hw.memory.errors.uncorrected"),
    (
        "nvme 0000:01:00.0: PCIe Bus Error: severity=Corrected, type=Physical Layer, (Receiver ID)",
        "hw.pcie.errors.corrected",
    ),
    (
        "pcieport 0000:00:1c.0: AER: PCIe Bus Error: severity=Uncorrected (Non-Fatal), type=Transaction Layer",
        "hw.pcie.errors.uncorrected",
    ),
    (
        "nvidia-peermem nv_get_p2p_free_callback:127 ERROR detected invalid context, skipping further processing",
        "hw.gpu.peermem.errors",
    ),
    ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b", "system.kernel.crashes"),
    ("Oops: 0002 [#1] PREEMPT SMP NOPTI", "system.kernel.crashes"),
    ("general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP", "system.kernel.crashes"),
    ("mlx5_core 0000:01:00.0 ens1: Link down", "system.network.link_downs"),
]


@pytest.mark.parametrize(("line", "fact"), EVENTS)
def test_every_kind_of_event_is_counted_and_nothing_else(line: str, fact: str) -> None:
    found = after_boot(line)

    assert found[fact] == 1
    assert [name for name, value in found.items() if value] == [fact]


@pytest.mark.parametrize(
    "line",
    [
        "blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ)",
        "I/O error, dev sr0, sector 4 op 0x0:(READ) flags 0x80700",
        "nvme nvme0: Shutdown timeout set to 8 seconds",
        "Killed process 12 (sleep) by the scheduler",
        "docker0: port 1(veth1) entered disabled state",
        "perf: interrupt took too long (2509 > 2500), lowering kernel.perf_event_max_sample_rate to 79500",
        "Kernel panic - not syncing: Fatal exception",
        "mlx5_core 0000:01:00.0: Port module event: module 1, Cable unplugged",
    ],
)
def test_what_sounds_alike_is_not_counted(line: str) -> None:
    assert not any(after_boot(line).values())


def test_the_largest_running_total_of_throttling_stands() -> None:
    lines = [
        "CPU0: Core temperature above threshold, cpu clock throttled (total events = 18821)",
        "mce: CPU6: Package temperature is above threshold, cpu clock is throttled (total events = 3)",
    ]
    assert after_boot(*lines)["system.cpu.throttle.events"] == 18821


def test_links_that_were_never_up_do_not_count_and_those_of_containers_neither() -> None:
    lines = ["eno9: NIC Link is Down", "cali123: Link is Down", "igb eno1: NIC Link is Up 1000 Mbps"]

    assert after_boot(*lines)["system.network.link_downs"] == 0
    flaps = ["igb 0000:02:00.0 eno1: igb: eno1 NIC Link is Up", "igb eno1: igb: eno1 NIC Link is Down"] * 3
    assert after_boot(*flaps)["system.network.link_downs"] == 3


def test_a_card_with_too_few_lanes_is_told_by_its_class() -> None:
    limited = (
        "{}: 63.008 Gb/s available PCIe bandwidth, limited by 8.0 GT/s PCIe x8 link at 0000:00:01.0 "
        "(capable of 126.016 Gb/s with 8.0 GT/s PCIe x{} link)"
    )
    gpu = "pci 0000:41:00.0: [10de:2330] type 00 class 0x030200"
    name = "hw.pcie.link.narrow.count"

    assert after_boot(gpu, limited.format("pci 0000:41:00.0", 16))[name] == 1
    assert after_boot(gpu, limited.format("pci 0000:41:00.0", 8))[name] == 0
    assert after_boot(limited.format("pci 0000:77:00.0", 16))[name] == 0
    assert after_boot(limited.format("mlx5_core 0000:77:00.1", 16))[name] == 1


# --- from a log to a finding ---------------------------------------------------------------


def rules(text: str) -> list[str]:
    found = DIAGNOSER.diagnose_paste(text)
    return [] if found is None else [f.rule.id for f in found[1].findings]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 13, pid=1, name=python, Graphics SM Warp Exception", "gpu-program-fault"),
        ("NVRM: Xid (PCI:0000:3b:00): 119, pid=1, name=python, Timeout after 6s of waiting for RPC", "xid-critical"),
        (XID, "xid-critical"),
        ("NVRM: GPU 0000:3b:00.0: RmInitAdapter failed! (0x62:0x40:2477)", "gpu-lost"),
        ("nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 LTSSM Fault Up", "nvswitch-fault"),
        ("nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 12028, Non-fatal, Link 32 egress", "nvswitch-errors"),
        (KILLS["new, of the machine"][0], "oom-kill-host"),
        (KILLS["new, of a group"][0], "oom-kill-container"),
        (EVENTS[0][0], "hung-tasks"),
        ("nfs: server nfs01 not responding, still trying", "file-server-silent"),
        ("I/O error, dev nvme0n1, sector 123 op 0x0:(READ)", "disk-errors"),
    ],
)
def test_the_cause_is_the_first_finding(line: str, rule: str) -> None:
    assert rules(f"my job died, dmesg says\n{line}\n")[0] == rule


# --- robustness ------------------------------------------------------------------------------


def test_truncation_at_every_line_gives_facts_or_nothing() -> None:
    text = BOOT + "\n".join(line for line, _ in EVENTS)
    for end in range(0, len(text), 97):
        find(Log("dmesg", text[:end]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutations_of_a_log_never_raise(data: st.DataObject) -> None:
    text = list("\n".join((BOOT, XID, *(line for line, _ in EVENTS[:8]), KILLS["new, of a group"][0])))
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(st.sampled_from(["", "\n", "(", "9" * 30, "\x00", "é", ":", "]"]))
    artefact = Artefact("dmesg", data="".join(text).encode())
    with suppress(InputError):
        read([artefact], no_tick)


@pytest.mark.parametrize(
    "line",
    [
        "NVRM: Xid (PCI:" + "0" * 200_000,
        "Killed process 1 " * 20_000,
        "ink is down " * 20_000,
        "[" * 200_000,
        "a:" * 99_999,
    ],
)
def test_hostile_lines_take_no_time(line: str) -> None:
    began = time.perf_counter()
    find(Log("dmesg", (line + "\n") * 3))
    assert time.perf_counter() - began < 2.0


def test_a_log_of_megabytes_takes_no_minute() -> None:
    text = BOOT * 1_000 + f"[99999.000000] {XID}\n"
    began = time.perf_counter()
    assert facts(text)["hw.gpu.xid.last"] == 79
    assert time.perf_counter() - began < 10.0


# --- real logs --------------------------------------------------------------------------------


@needs_samples
def test_real_logs() -> None:
    (faults,) = read([Artefact("a", SHARED / "dmesg.decode.iso.log")], no_tick)
    found = {f.name: f.value for r in faults.readings for f in r.facts}
    assert (found["hw.gpu.xid.last"], found["hw.gpu.xid.count"]) == (13, 17)
    (quiet,) = read([Artefact("b", SHARED / "kmsg.1.log")], no_tick)
    assert {f.value for r in quiet.readings for f in r.facts} == {0}
    (panic,) = read([Artefact("c", SHARED / "dmesg.txt")], no_tick)
    assert [f.name for r in panic.readings for f in r.facts if f.value] == ["system.kernel.crashes"]


def test_a_paste_is_read_as_a_file_is() -> None:
    paste = read_paste(f"```\n[ 12.000001] {XID}\n```\nwhat now?")
    assert paste is not None
    assert paste.words == "what now?"
    assert [f.where for r in paste.told.readings for f in r.facts if f.name == "hw.gpu.xid.last"] == [
        "the pasted text:1"
    ]
