"""Output of host tools, files of /proc and sosreports -> facts, exactly, in every layout, with prompts and noise."""

from __future__ import annotations

import doctest
import shutil
import tarfile
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.derive import xid
from advisor.errors import InputError
from advisor.models import Value
from advisor.pipeline import Diagnoser
from advisor.profile import SCALE
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.host import part, roots
from advisor.readers.host.part import parts
from advisor.readers.log import read
from advisor.readers.log.host import find
from advisor.readers.log.log import Log
from advisor.readers.read import opened
from advisor.readers.recognise import recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real machines here")
SPECS = kb.load().facts
GIB = 2**30


def values(told: list[Told]) -> dict[str, Value]:
    """Facts by name in canonical units, the first of each, all of them in the vocabulary and in range."""
    found: dict[str, Value] = {}
    for fact in (f for t in told for r in t.readings for f in r.facts):
        spec, value = SPECS[fact.name], fact.value
        if isinstance(value, float):
            if fact.unit != spec.unit:
                value *= SCALE[fact.unit, spec.unit]
            assert spec.low is None or value >= spec.low, fact.name
            assert spec.high is None or value <= spec.high, fact.name
        found.setdefault(fact.name, value)
    return found


def said(text: str, origin: str = "paste") -> dict[str, Value]:
    return values(find(Log(origin, text)))


def approx(**expected: float) -> dict[str, object]:
    return {name.replace("__", "."): pytest.approx(value) for name, value in expected.items()}


def assert_has(found: dict[str, Value], **expected: float) -> None:
    wanted = approx(**expected)
    assert {name: found.get(name) for name in wanted} == wanted


# --- CPU ------------------------------------------------------------------------------------

VMSTAT = """procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----
 r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st
 3  0      0 120000   1000  50000    0    0    10    20    1    2  5  1 94  0  0
12  4   1024 100000   1000  50000  400    0  2000   100 5000 9000 40 10 20 30  0
10  6   1024 100000   1000  50000  800    0  4000   300 5000 9000 50 10 10 30  0
"""


def test_vmstat_leaves_the_report_since_boot_out() -> None:
    found = said(f"why is it slow?\nuser@node:~$ vmstat 1 3\n{VMSTAT}user@node:~$")

    assert_has(
        found,
        system__cpu__utilization=0.55,
        system__cpu__user__utilization=0.45,
        system__cpu__iowait__utilization=0.3,
        system__process__blocked__count=5,
        system__paging__swap_in__rate=150,
        system__disk__read__rate=3000 * 1024,
        system__disk__write__rate=200 * 1024,
    )


def test_vmstat_with_other_units_columns_and_times() -> None:
    assert said(f"$ vmstat -S M 1 3\n{VMSTAT}")["system.paging.swap_in.rate"] == pytest.approx(600 * 2**20 / 4096)
    newer = (
        VMSTAT.replace("id wa st", "id wa st gu").replace(" 0  0\n", " 0  0  0\n").replace(" 30  0\n", " 30  0  0\n")
    )
    assert said(newer)["system.cpu.iowait.utilization"] == pytest.approx(0.3)
    timed = "\n".join(
        f"{line} 2024-01-02 10:00:00" if line[:2].strip().isdigit() else line for line in VMSTAT.split("\n")
    )
    assert said(timed)["system.cpu.user.utilization"] == pytest.approx(0.45)
    alone = "\n".join(VMSTAT.split("\n")[:3])
    assert_has(said(alone), system__cpu__user__utilization=0.05)


@pytest.mark.parametrize("prefix", ["> ", "[rank3]: ", "12: ", "| "])
def test_what_stands_in_front_of_every_line_does_not_matter(prefix: str) -> None:
    text = "".join(f"{prefix}{line}\n" for line in VMSTAT.strip().split("\n"))

    assert said(text) == said(VMSTAT)


def test_the_line_in_the_text_is_told() -> None:
    (told,) = find(Log("ticket.txt", f"hello\n\n$ vmstat 1\n{VMSTAT}"))

    assert told.readings[0].facts[0].where == "ticket.txt:7"


MPSTAT = """Linux 5.15.0 (h) 	01/02/2024 	_x86_64_	(3 CPU)

10:00:01 AM  CPU    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle
10:00:02 AM  all   33.00    1.00    1.00    0.00    0.50    0.50    0.00    0.00    0.00   64.00
10:00:02 AM    0   99.00    1.00    0.00    0.00    0.00    0.00    0.00    0.00    0.00    0.00
10:00:02 AM    1    1.00    0.00    1.00    0.00    0.00    1.00    0.00    0.00    0.00   97.00
10:00:02 AM    2    1.00    0.00    1.00    0.00    0.00    1.00    0.00    0.00    0.00   97.00
"""


def test_mpstat_tells_all_cpus_and_each() -> None:
    assert_has(
        said(MPSTAT),
        system__cpu__utilization=0.36,
        system__cpu__user__utilization=0.34,
        system__cpu__interrupt__utilization=0.01,
        system__cpu__logical__count=3,
        system__cpu__saturated__count=1,
        system__cpu__core__utilization__max=1.0,
    )


def test_sar_in_another_language_and_with_a_restart() -> None:
    text = """Linux 4.18.0 (n) 	02.01.2024 	_x86_64_	(8 CPU)

12:00:01        CPU     %user     %nice   %system   %iowait    %steal     %idle
12:10:01        all     10,00      0,00      2,00      8,00      0,00     80,00
12:20:01          LINUX RESTART	(8 CPU)
12:30:01        all     30,00      0,00      2,00      8,00      0,00     60,00
Durchschn.:     all     20,00      0,00      2,00      8,00      0,00     70,00
"""
    found = said(text)
    assert_has(
        found, system__cpu__utilization=0.22, system__cpu__iowait__utilization=0.08, system__cpu__logical__count=8
    )


TOP = """top - 14:01:02 up 12 days,  3:04,  2 users,  load average: 96.00, 2.00, 3.00
Tasks: 300 total,   2 running, 298 sleeping,   0 stopped,   0 zombie
%Cpu(s): 12.0 us,  3.0 sy,  0.0 ni, 80.0 id,  4.0 wa,  0.0 hi,  1.0 si,  0.0 st
MiB Mem : 512000.0 total,   1000.0 free, 400000.0 used, 111000.0 buff/cache
MiB Swap:   8192.0 total,   4096.0 free,   4096.0 used. 102400.0 avail Mem
"""


def test_top_new_old_and_with_commas() -> None:
    found = said(f"{TOP}\n$ nproc\n64\n")
    assert_has(
        found,
        system__cpu__utilization=0.16,
        system__cpu__interrupt__utilization=0.01,
        system__memory__limit=512000 * 2**20,
        system__memory__available__fraction=0.2,
        system__paging__utilization=0.5,
        system__load__per_cpu=1.5,
    )
    comma = said(TOP.replace("12.0 us", "12,0 us").replace(" 3.0 sy", " 3,0 sy").replace("80.0 id", "80,0 id"))
    assert_has(comma, system__cpu__user__utilization=0.12)
    old = said(
        "Cpu(s): 10.1%us,  2.0%sy,  0.0%ni, 87.5%id,  0.2%wa,  0.0%hi,  0.2%si,  0.0%st\n"
        "Mem:  65969644k total, 60000000k used,  5969644k free,   200000k buffers\n"
        "Swap: 33554424k total,        0k used, 33554424k free, 50000000k cached\n"
    )
    assert_has(
        old, system__cpu__user__utilization=0.101, system__memory__limit=65969644 * 1024, system__paging__utilization=0
    )


def test_of_several_reports_of_top_the_first_is_left_out() -> None:
    second = TOP.replace("80.0 id", "20.0 id").replace("12.0 us", "72.0 us")

    assert said(f"{TOP}\n{second}")["system.cpu.user.utilization"] == pytest.approx(0.72)


@pytest.mark.parametrize(
    ("line", "load"),
    [
        (" 10:00:00 up 1 day,  2:03,  1 user,  load average: 256.00, 10.00, 1.00", 2.0),
        (" 10:00:00 up 25 min,  1 user,  load average: 64,00, 10,00, 1,00", 0.5),
        ("10:00  up 3 days,  1:02, 2 users, load averages: 128.00 10.00 1.00", 1.0),
    ],
)
def test_load_for_each_cpu(line: str, load: float) -> None:
    text = (
        "CPU(s):                          128\nOn-line CPU(s) list:             0-127\n"
        "Thread(s) per core:              2\nCore(s) per socket:              32\nSocket(s):                       2\n"
        "NUMA node(s):                    4\nCPU max MHz:                     2800,0000\n"
    )
    found = said(f"$ lscpu\n{text}$ uptime\n{line}\n")

    assert_has(
        found,
        system__load__per_cpu=load,
        system__cpu__physical__count=64,
        system__numa__node__count=4,
        system__cpu__frequency__max=2.8e9,
    )
    assert "system.load.per_cpu" not in said(line)


def test_processes_that_cannot_be_woken() -> None:
    aux = """USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND
root           1  0.0  0.0 168000 12000 ?        Ss   Jan01   0:10 /sbin/init
me          4242 99.0  1.0 168000 12000 ?        D    Jan01   0:10 python train.py
me          4243 99.0  1.0 168000 12000 ?        Dl   Jan01   0:10 python train.py
"""
    assert said(aux)["system.process.blocked.count"] == 2
    full = (
        "F S UID  PID PPID C PRI NI ADDR SZ WCHAN STIME TTY TIME CMD\n4 S root 1 0 0 80 0 - 2 ep_pol 18:58 ? 0:0 init\n"
    )
    assert said(full + "4 D root 2 0 0 80 0 - 2 nfs_wa 18:58 ? 0:0 python\n")["system.process.blocked.count"] == 1


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "line", "total", "available"),
    [
        ("free", "Mem:       263000000    30000000     2000000     1000000   218000000    26300000", 263e6 * 1024, 0.1),
        (
            "free -m",
            "Mem:          2063000       30000        2000        1000      218000      206300",
            2063e3 * 2**20,
            0.1,
        ),
        (
            "free -g",
            "Mem:            2000          30           2           1         218         200",
            2000 * GIB,
            0.1,
        ),
        ("free -b", "Mem: 1073741824000 3000 2000 1000 218000 107374182400", 1000 * GIB, 0.1),
        ("free -h", "Mem:           250Gi        30Gi       2.0Gi       1.0Gi       218Gi        25Gi", 250 * GIB, 0.1),
        ("free -h", "Mem:            250G         30G        2.0G        1.0G        218G         25G", 250 * GIB, 0.1),
        ("", "Mem:       263000000    30000000     2000000     1000000   218000000    26300000", 263e6 * 1024, 0.1),
        ("", "Mem:          515000       30000        2000        1000      218000       51500", 515000 * 2**20, 0.1),
        ("", "Mem:            2000          30           2           1         218         200", None, 0.1),
    ],
)
def test_free_in_every_unit(command: str, line: str, total: float | None, available: float) -> None:
    head = "              total        used        free      shared  buff/cache   available"
    prompt = f"[root@n1 ~]# {command}\n" if command else ""
    found = said(f"{prompt}{head}\n{line}\nSwap:             0           0           0\n")

    assert found.get("system.memory.limit") == (None if total is None else pytest.approx(total))
    assert found["system.memory.available.fraction"] == pytest.approx(available)
    assert found["system.paging.utilization"] == 0


def test_free_before_there_was_a_column_for_what_is_available() -> None:
    text = """$ free -m
             total       used       free     shared    buffers     cached
Mem:         64000      60000       4000          0        500      40000
-/+ buffers/cache:      19500      44500
Swap:         2000        500       1500
"""
    found = said(text)
    assert_has(found, system__memory__available=44500 * 2**20, system__paging__utilization=0.25)


MEMINFO = """MemTotal:       1000000 kB
MemFree:         100000 kB
MemAvailable:    250000 kB
Cached:          150000 kB
SwapTotal:       200000 kB
SwapFree:        150000 kB
Dirty:             1000 kB
Writeback:          200 kB
HugePages_Total:       0
"""


def test_meminfo() -> None:
    assert_has(
        said(MEMINFO),
        system__memory__limit=1024e6,
        system__memory__available__fraction=0.25,
        system__memory__cached=150000 * 1024,
        system__memory__dirty=1200 * 1024,
        system__paging__utilization=0.25,
    )
    assert "system.memory.available" not in said(MEMINFO.replace("MemAvailable", "MemOther"))


def test_limits_of_a_shell_and_of_a_process() -> None:
    shell = "open files                      (-n) 1024\nmax locked memory       (kbytes, -l) 64\n"
    assert_has(said(shell), process__open_file_descriptor__limit=1024, process__memlock__limit=65536)
    assert said(shell.replace("1024", "unlimited").replace(" 64\n", " unlimited\n")) == {}
    file = "Max open files            1024                 4096                 files     \n"
    assert_has(said(file), process__open_file_descriptor__limit=1024)


# --- storage ------------------------------------------------------------------------------------

IOSTAT = """Linux 5.15.0-91-generic (gpu01) 	01/02/2024 	_x86_64_	(64 CPU)

avg-cpu:  %user   %nice %system %iowait  %steal   %idle
           1.00    0.00    1.00    0.00    0.00   98.00

Device            r/s     rkB/s   rrqm/s  %rrqm r_await rareq-sz     w/s     wkB/s w_await  aqu-sz  %util
nvme0n1          1.00      4.00     0.00   0.00    0.10     4.00    1.00      4.00    0.10    0.00   0.10

avg-cpu:  %user   %nice %system %iowait  %steal   %idle
          10.00    0.00    5.00   25.00    0.00   60.00

Device            r/s     rkB/s   rrqm/s  %rrqm r_await rareq-sz     w/s     wkB/s w_await  aqu-sz  %util
loop0            9.00      4.00     0.00   0.00    0.10     4.00    1.00      4.00    0.10    0.00  99.00
dm-0             9.00    400.00     0.00   0.00    0.10     4.00    1.00      4.00    0.10    0.00  99.00
nvme0n1        100.00    400.00     0.00   0.00   20.00     4.00   10.00     80.00    2.00    2.50  95.00
nvme0n1p1      100.00    400.00     0.00   0.00   20.00     4.00   10.00     80.00    2.00    2.50  95.00
sda              1.00     16.00     0.00   0.00    5.00     4.00    0.00      0.00    0.00    0.01   1.00
"""


def test_iostat_counts_whole_disks_and_leaves_the_report_since_boot_out() -> None:
    assert_has(
        said(IOSTAT),
        system__cpu__iowait__utilization=0.25,
        system__cpu__logical__count=64,
        system__disk__read__rate=416 * 1024,
        system__disk__read__ops=101,
        system__disk__read__size=416 * 1024 / 101,
        system__disk__write__rate=80 * 1024,
        system__disk__utilization=0.95,
        system__disk__queue_depth=2.5,
        system__disk__read__latency=0.02,
        system__disk__write__latency=0.002,
    )


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (
            "Device: rrqm/s wrqm/s r/s w/s rMB/s wMB/s avgrq-sz avgqu-sz await r_await w_await svctm %util",
            "sdb       0,00   1,00 50,00 10,00 2,50 0,50 100,00 1,50 25,00 20,00 50,00 5,00 30,50",
            {"system.disk.read.rate": 2.5 * 2**20, "system.disk.queue_depth": 1.5, "system.disk.utilization": 0.305},
        ),
        (
            "Device:         rrqm/s   wrqm/s     r/s     w/s   rsec/s   wsec/s avgrq-sz avgqu-sz   await  svctm  %util",
            "sdb               0.00     1.00   50.00   10.00    100.0     10.0   100.00     1.50   25.00   5.00  30.00",
            {"system.disk.read.rate": 51200.0, "system.disk.utilization": 0.3},
        ),
        (
            "Device             tps    kB_read/s    kB_wrtn/s    kB_dscd/s    kB_read    kB_wrtn    kB_dscd",
            "vda              10.00       100.00        50.00         0.00    1000000     500000          0",
            {"system.disk.read.rate": 102400.0, "system.disk.write.rate": 51200.0},
        ),
    ],
)
def test_iostat_of_other_versions(columns: str, row: str, expected: dict[str, float]) -> None:
    found = said(f"{columns}\n{row}\n")

    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_df_tells_the_fullest_real_file_system() -> None:
    found = said("""$ df -h
Filesystem      Size  Used Avail Use% Mounted on
udev            252G     0  252G   0% /dev
/dev/loop3       62M   62M     0 100% /snap/core
/dev/nvme0n1p2  200G   90G   10G  90% /
tmpfs            64G   48G   16G  75% /dev/shm
nfs01:/export/a/very/long/path/that/wraps
                100T   60T   40T  60% /data
$ df -i
Filesystem      Inodes  IUsed   IFree IUse% Mounted on
/dev/nvme0n1p2 1000000 990000   10000   99% /
""")
    assert_has(
        found,
        system__filesystem__utilization=0.9,
        system__filesystem__shm__limit=64 * GIB,
        system__filesystem__shm__utilization=0.75,
        system__filesystem__inodes__free_fraction=0.01,
    )
    typed = said(
        "Filesystem     Type     1K-blocks      Used Available Use% Mounted on\n"
        "overlay        overlay  100 99 1 99% /\n10.0.0.1@o2ib:/fs lustre 1000 970 30 97% /scratch\n"
    )
    assert_has(typed, system__filesystem__utilization=0.97)


def test_raid_arrays() -> None:
    text = """Personalities : [raid1] [raid6]
md0 : active raid1 sdb1[1] sda1[0]
      248896 blocks [2/2] [UU]

md1 : active raid6 sdb1[0] sde1[3](F) sdd1[2]
      7813735424 blocks super 1.2 level 6, 512k chunk, algorithm 2 [4/3] [U_UU]
      [=>...................]  recovery =  8.5% (16775552/195310144) finish=17.0min speed=259783K/sec

md2 : inactive raid1 sdc1[0](F)
      4883648 blocks [2/1] [U_]

md3 : active raid1 sdf1[1] sdg1[0]
      1 blocks [2/2] [UU]
      resync=DELAYED

unused devices: <none>
"""
    assert_has(said(text), system__disk__raid__degraded__count=1, system__disk__raid__rebuilding__count=1)


def test_the_nfs_client() -> None:
    iostat = """nfs01:/export mounted on /data:

   op/s rpc bklog
  100.00    0.00
read:             ops/s    kB/s   kB/op retrans avg RTT (ms) avg exe (ms) avg queue (ms) errors
  80.000  800.000  10.000        0 (0.0%)   5.000  25.000  20.000        0 (0.0%)
write:            ops/s    kB/s   kB/op retrans avg RTT (ms) avg exe (ms) avg queue (ms) errors
  20.000  800.000  10.000        0 (0.0%)  10.000  25.000   0.000        0 (0.0%)
"""
    assert_has(said(iostat), nfs__client__rpc__rtt=0.006, nfs__client__rpc__queue_time=0.016)
    stat = """Client nfs v4:
null             read             write            open
1         0%     100       10%    0         0%     300      30%
getattr          lookup
500      50%     100      10%
"""
    assert_has(said(stat), nfs__client__getattr_lookup__fraction=0.9)
    mounts = (
        "device nfs01:/e mounted on /data with fstype nfs4 statvers=1.1\n\tper-op statistics\n"
        "\t        READ: 80 80 0 1 1 1600 400 2000 0\n\t     GETATTR: 20 20 0 1 1 0 100 100 0\n"
    )
    assert_has(said(mounts), nfs__client__rpc__rtt=0.005, nfs__client__rpc__queue_time=0.016)


# --- network and PCI ------------------------------------------------------------------------------


def test_sar_of_the_network() -> None:
    text = """12:00:01 AM     IFACE   rxpck/s   txpck/s    rxkB/s    txkB/s   rxcmp/s   txcmp/s  rxmcst/s   %ifutil
12:10:01 AM        lo      1.00      1.00   9000.00   9000.00      0.00      0.00      0.00      0.00
12:10:01 AM      eth0   1000.00   1000.00   2000.00   1000.00      0.00      0.00      0.00     80.00
12:20:01 AM      eth0   1000.00   1000.00   4000.00   3000.00      0.00      0.00      0.00     60.00

12:00:01 AM     IFACE   rxerr/s   txerr/s    coll/s  rxdrop/s  txdrop/s  txcarr/s  rxfram/s  rxfifo/s  txfifo/s
12:10:01 AM      eth0      0.00      0.00      0.00      5.00      1.00      0.00      0.00      0.00      0.00
"""
    assert_has(
        said(text),
        system__network__receive__rate=3000 * 1024,
        system__network__transmit__rate=2000 * 1024,
        system__network__utilization=0.7,
        system__network__dropped__rate=6,
    )


def test_ports_of_rdma_adapters() -> None:
    text = """CA 'mlx5_0'
	CA type: MT4129
	Port 1:
		State: Active
		Rate: 400
		Link layer: InfiniBand
CA 'mlx5_1'
	CA type: MT4129
	Port 1:
		State: Active
		Rate: 200
		Link layer: InfiniBand
"""
    found = said(text)
    assert (found["hw.network.rdma.port.active"], found["hw.network.rdma.port.rate.ratio"]) == (True, 0.5)
    assert said(text.replace("Active", "Down", 1))["hw.network.rdma.port.active"] is False
    status = "Infiniband device 'mlx5_0' port 1 status:\n\tstate:\t\t 4: ACTIVE\n\trate:\t\t 200 Gb/sec (4X HDR)\n"
    assert said(status)["hw.network.rdma.port.active"] is True


def test_links_and_lost_gpus_on_the_bus() -> None:
    text = """17:00.0 3D controller: NVIDIA Corporation GH100 [H100 SXM5 80GB] (rev a1)
\t\tLnkCap:	Port #0, Speed 32GT/s, Width x16, ASPM not supported
\t\tLnkSta:	Speed 2.5GT/s (downgraded), Width x8 (downgraded)
18:00.0 3D controller [0302]: NVIDIA Corporation GH100 [10de:2330] (rev ff) (prog-if ff)
\t!!! Unknown header type 7f
"""
    assert_has(
        said(text),
        hw__gpu__count=2,
        hw__gpu__lost__count=1,
        hw__gpu__pcie__link__width=8,
        hw__gpu__pcie__link__width__max=16,
        hw__pcie__link__narrow__count=1,
    )


def test_ethtool_and_bonds() -> None:
    assert_has(
        said("Settings for eth0:\n\tSpeed: 25000Mb/s\nSettings for eth1:\n\tSpeed: Unknown!\n"),
        system__network__link__speed=3.125e9,
    )
    bond = "Slave Interface: eth0\nMII Status: up\nSlave Interface: eth1\nMII Status: down\n"
    assert said(bond)["hw.network.bond.degraded"] is True


# --- /proc and control groups ------------------------------------------------------------------------

STAT = """cpu  1000 0 500 8000 400 0 100 0 0 0
cpu0 900 0 50 40 5 0 5 0 0 0
cpu1 100 0 450 7960 395 0 95 0 0 0
intr 5717349 0 9
btime 1644605886
procs_running 5
procs_blocked 2
"""
PRESSURE = "some avg10=9.00 avg60={} avg300=1.00 total=100\nfull avg10=9.00 avg60={} avg300=1.00 total=100\n"


def test_stat() -> None:
    assert_has(
        said(STAT),
        system__cpu__utilization=0.16,
        system__cpu__iowait__utilization=0.04,
        system__cpu__interrupt__utilization=0.01,
        system__cpu__logical__count=2,
        system__cpu__saturated__count=1,
        system__process__blocked__count=2,
    )


def test_pressure_is_told_of_what_its_name_says() -> None:
    one = PRESSURE.format("4.00", "2.00")
    assert_has(said(one, "host/proc/pressure/io"), system__pressure__io__some=0.04, system__pressure__io__full=0.02)
    assert_has(said(f"$ cat /proc/pressure/memory\n{one}"), system__pressure__memory__full=0.02)
    assert_has(said(f"==> /proc/pressure/memory <==\n{one}"), system__pressure__memory__some=0.04)
    assert said(one) == {}
    everything = "".join(PRESSURE.format(f"{10 + i}.00", f"{i}.00") for i in range(3))
    found = said(f"$ cat /proc/pressure/*\n{everything}")
    assert_has(
        found, system__pressure__cpu__some=0.10, system__pressure__io__full=0.01, system__pressure__memory__some=0.12
    )
    grouped = said("/sys/fs/cgroup/job/cpu.pressure:some avg10=1.00 avg60=50.00 avg300=1.00 total=1\n")
    assert_has(grouped, container__pressure__cpu__some=0.5)


def test_control_groups() -> None:
    assert_has(
        said(
            "/sys/fs/cgroup/cpu.stat:nr_periods 1000\n/sys/fs/cgroup/cpu.stat:nr_throttled 400\n"
            "/sys/fs/cgroup/cpu.max:400000 100000\n/sys/fs/cgroup/memory.max:8589934592\n"
            "/sys/fs/cgroup/memory.current:6589934592\n/sys/fs/cgroup/memory.stat:inactive_file 2589934592\n"
            "/sys/fs/cgroup/memory.events:high 3\n/sys/fs/cgroup/memory.events:oom_kill 2\n"
        ),
        container__cpu__throttled__fraction=0.4,
        container__cpu__limit=4,
        container__memory__limit=8 * GIB,
        container__memory__usage=4e9,
        container__memory__oom_kills=2,
        container__memory__high_events=3,
    )
    assert said("$ cat /sys/fs/cgroup/cpu.max\n200000 100000\n")["container.cpu.limit"] == 2
    assert said("$ cat /sys/fs/cgroup/cpu.max\nmax 100000\n") == {}


@pytest.mark.parametrize("head", ["nr_free_pages 977769\noom_kill 3\n", "nr_periods 10\nnr_throttled 1\n"])
def test_counters_of_the_kernel_are_not_taken_for_metrics(head: str) -> None:
    kind = recognise(Artefact("vmstat", data=head.encode()))

    assert kind is not None
    assert kind.name == "text"


def test_files_that_say_nothing_alone_ask_for_the_others() -> None:
    for text in ("0.21 0.37 0.39 1/719 19737\n", "12345.67 99999.10\n"):
        with pytest.raises(InputError, match="without the number of CPUs or the time since boot"):
            find(Log("loadavg", text))


# --- trees ----------------------------------------------------------------------------------------------


def machine(folder: Path) -> Path:
    files = {
        "proc/uptime": "1000.00 5000.00\n",
        "proc/stat": STAT,
        "proc/meminfo": MEMINFO,
        "proc/loadavg": "4.00 1.00 1.00 1/719 19737\n",
        "proc/vmstat": "nr_free_pages 1\npswpin 5000\npgmajfault 2000\nworkingset_refault_file 1000\noom_kill 1\n",
        "proc/pressure/io": PRESSURE.format("4.00", "2.00"),
        "proc/diskstats": (
            "   8       0 sda 1000 0 20000 5000 500 0 4000 1000 0 500000 600000 0 0 0 0\n"
            "   8       1 sda1 1000 0 20000 5000 500 0 4000 1000 0 500000 600000 0 0 0 0\n"
            "   7       0 loop0 10 0 20 0 0 0 0 0 0 0 0\n"
        ),
        "proc/net/dev": (
            "Inter-|   Receive                                                |  Transmit\n"
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo\n"
            "    lo: 900000 1 0 0 0 0 0 0 900000 1 0 0 0 0 0 0\n"
            "  eth0: 100000 1 0 500 0 0 0 0 200000 1 0 500 0 0 0 0\n"
        ),
        "proc/net/snmp": "Tcp: RtoAlgorithm InSegs OutSegs RetransSegs\nTcp: 1 1 10000 100\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def tree_values(path: Path) -> dict[str, Value]:
    with opened([path]) as found:
        assert not found.wrong, found.wrong
        return values([t for kind in found.told for t in kind])


EXPECTED = {
    "system.load.per_cpu": 2.0,
    "system.pressure.io.full": 0.02,
    "system.paging.swap_in.rate": 5.0,
    "system.paging.major_faults.rate": 2.0,
    "system.memory.oom_kills": 1.0,
    "system.disk.read.rate": 20000 * 512 / 1000,
    "system.disk.utilization": 0.5,
    "system.disk.read.latency": 0.005,
    "system.network.receive.rate": 100.0,
    "system.network.dropped.rate": 1.0,
    "system.network.tcp.retransmit.fraction": 0.01,
    "system.cpu.utilization": 0.16,
}


@pytest.mark.parametrize("below", ["", "node7/", "backup/node7/"])
def test_a_copy_of_proc_wherever_it_begins(tmp_path: Path, below: str) -> None:
    machine(tmp_path / "copy" / below)
    found = tree_values(tmp_path / "copy")

    assert {name: found[name] for name in EXPECTED} == pytest.approx(EXPECTED)


def test_the_folder_proc_itself(tmp_path: Path) -> None:
    assert tree_values(machine(tmp_path) / "proc")["system.load.per_cpu"] == 2.0


@pytest.mark.parametrize("packing", ["folder", "tar.xz", "zip"])
def test_a_sosreport(tmp_path: Path, packing: str) -> None:
    home = machine(tmp_path / "sosreport-node7-2024")
    for name, text in {
        "sos_commands/memory/free": "ignored, since meminfo says the same",
        "sos_commands/host/uptime": " 19:23:40 up 16 min,  1 user,  load average: 4.00, 0.73, 0.76\n",
        "sos_commands/filesys/df_-al_-x_autofs": (
            "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/sda1 100000 97000 3000 97% /\n"
        ),
        "sos_commands/kernel/dmesg": "[  100.000000] INFO: task python:77 blocked for more than 120 seconds.\n",
        "sos_commands/date/date": "Fri Feb 11 19:23:39 UTC 2022\n",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    path = home
    if packing == "tar.xz":
        path = tmp_path / "sos.tar.xz"
        with tarfile.open(path, "w:xz") as archive:
            archive.add(home, home.name)
    elif packing == "zip":
        path = Path(shutil.make_archive(str(tmp_path / "sos"), "zip", tmp_path, home.name))
    found = tree_values(path)

    assert {name: found[name] for name in EXPECTED} == pytest.approx(EXPECTED)
    assert (found["system.filesystem.utilization"], found["system.kernel.hung_tasks"]) == (0.97, 1)


def test_without_an_exact_uptime_the_ticks_are_believed_when_the_minutes_agree(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "proc/uptime").unlink()
    assert "system.paging.swap_in.rate" not in tree_values(tmp_path)
    home = tmp_path / "sos_commands/host"
    home.mkdir(parents=True)
    (home / "uptime").write_text(" 19:23:40 up 1 min,  1 user,  load average: 4.00, 0.73, 0.76\n")
    assert tree_values(tmp_path)["system.paging.swap_in.rate"] == pytest.approx(5000 / 90)
    (home / "uptime").write_text(" 19:23:40 up 2 days,  1 user,  load average: 4.00, 0.73, 0.76\n")
    assert tree_values(tmp_path)["system.paging.swap_in.rate"] == pytest.approx(5000 / 172800)


def test_a_folder_with_more_than_a_copy_of_proc_is_read_file_by_file(tmp_path: Path) -> None:
    machine(tmp_path)
    (tmp_path / "notes.txt").write_text(f"$ vmstat 1\n{VMSTAT}")
    with opened([tmp_path]) as found:
        lost = {Path(r.source.origin).name for r in found.wrong}
        told = values([t for kind in found.told for t in kind])

    assert lost == {"loadavg", "uptime", "dev"}  # which need the others
    assert (told["system.memory.limit"], "system.cpu.utilization" in told) == (1024e6, True)


def test_sosreports_of_several_machines_are_told_apart(tmp_path: Path) -> None:
    for name in ("node1", "node2"):
        home = machine(tmp_path / name) / "sos_commands/date"
        home.mkdir(parents=True)
        (home / "date").write_text("Fri Feb 11 19:23:39 UTC 2022\n")
    with opened([tmp_path]) as found:
        assert [t.subject for t in found.runs] == ["node1", "node2"]


def test_a_tree_that_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "sos_commands/date").mkdir(parents=True)
    (tmp_path / "sos_commands/date/date").write_text("Fri Feb 11 19:23:39 UTC 2022\n")
    with pytest.raises(InputError, match="none of them says anything"), opened([tmp_path]):
        pass


@pytest.mark.parametrize("module", [xid, part, roots])
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    result = doctest.testmod(module)

    assert result.attempted >= 2
    assert result.failed == 0


# --- robustness ----------------------------------------------------------------------------------------

EVERYTHING = "\n".join(
    (VMSTAT, MPSTAT, TOP, IOSTAT, MEMINFO, STAT, "$ cat /proc/pressure/*", PRESSURE.format("1.00", "0.50"))
)


def test_other_logs_say_nothing() -> None:
    text = (
        "step 10 | loss 2.0 | CPU 10 | total used free\n[2024-01-02 10:00:00] Device: cuda:0, load average of loss\n"
        * 50
    )

    assert find(Log("train.log", text)) == []


def test_truncation_at_every_line() -> None:
    told = [said(EVERYTHING[:end]) for end in range(0, len(EVERYTHING), 61)]

    assert told[0] == {}
    assert len(told[-1]) > len(told[len(told) // 4]), "what is left is still read"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mutations_never_raise(data: st.DataObject) -> None:
    text = list(data.draw(st.sampled_from([VMSTAT, MPSTAT, TOP, IOSTAT, MEMINFO, STAT, EVERYTHING])))
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at] = data.draw(st.sampled_from(["", "\n", "-", "9" * 30, "\x00", "1e999", ":", "nan", " ", ","]))
    found: dict[str, Value] = {}
    sentence = ""
    try:
        found = values(read([Artefact("paste", data="".join(text).encode())], no_tick))
    except InputError as error:
        sentence = str(error)
    assert found.keys() <= SPECS.keys()
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "line",
    [
        "total used free " * 9_999,
        "1 " * 99_999,
        "cpu  " + "1 " * 99_999,
        "a" * 300_000,
        "$ " * 99_999,
        "Mounted on\n" * 20_000,
    ],
)
def test_hostile_text_takes_no_time(line: str) -> None:
    began = time.perf_counter()
    with suppress(InputError):
        find(Log("paste", f"{VMSTAT}\n{line}\n{line}\n"))
    assert time.perf_counter() - began < 3.0


def test_the_middle_of_a_long_log_is_not_searched() -> None:
    text = f"{VMSTAT}\n" + "step 1 loss 2.0\n" * 400_000 + f"\n$ cat /proc/meminfo\n{MEMINFO}"
    shown = list(parts(Log("train.log", text)))

    assert sum(len(one.text) for one in shown) < 3 << 20
    assert shown[-1].where(0) == f"train.log:{text[: text.index('MemTotal')].count(chr(10)) + 1}"
    assert_has(said(text), system__memory__limit=1024e6, system__cpu__user__utilization=0.45)


# --- real machines ----------------------------------------------------------------------------------------


@needs_samples
def test_real_machines_are_read_and_healthy() -> None:
    proc = tree_values(SHARED / "proc_files")
    assert_has(
        proc, system__memory__limit=3742148 * 1024, system__load__per_cpu=0.21 / 8, system__pressure__io__full=0.0034
    )
    assert_has(
        proc,
        system__network__tcp__retransmit__fraction=227 / 54915039,
        system__paging__utilization=1 - 3155360 / 4194300,
    )
    sos = tree_values(SHARED / "sosreport_tree" / "hotsos" / "kubernetes")
    assert_has(
        sos,
        system__memory__limit=4026036 * 1024,
        system__load__per_cpu=0.415,
        system__filesystem__utilization=3590360 / 40454348,
    )
    diagnoser = Diagnoser()
    for path in (SHARED / "proc_files", SHARED / "sosreport_tree"):
        (diagnosis,) = diagnoser.diagnose_files([path])
        assert all(f.rule.severity in ("minor", "moderate") for f in diagnosis.findings)
