"""Logs of NCCL and tables of its tests -> facts, exactly, in the spelling of every version, with noise around."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.log import read
from advisor.readers.log.nccl_lines import path_name
from advisor.readers.recognise import TEXT, recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real logs here")
SPECS = kb.load().facts
GBIT, GB = 1e9 / 8, 1e9


def told(text: str) -> Told:
    artefact = Artefact("pasted", data=text.encode())
    kind = recognise(artefact)
    assert kind is not None
    assert kind.name == TEXT
    return read([artefact], no_tick)[0]


def facts(text: str) -> dict[str, Value]:
    """Facts of all readings, the first of a name, each in its unit or one that converts, and in its range."""
    found: dict[str, Value] = {}
    for reading in told(text).readings:
        for fact in reading.facts:
            spec = SPECS[fact.name]
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact.name
                assert spec.high is None or fact.value <= spec.high, fact.name
            found.setdefault(fact.name, fact.value)
    return found


def line(text: str, host: str = "n1", rank: int = 0) -> str:
    return f"{host}:{100 + rank}:{200 + rank} [{rank}] NCCL INFO {text}"


def job(*lines: str, hosts: int = 2, ranks: int = 4) -> str:
    """A log in which every rank says that it is ready."""
    each = ranks // hosts
    ready = [
        line(f"comm 0x7f rank {r} nranks {ranks} cudaDev {r % each} busId 1{r}000 - Init COMPLETE", f"n{r // each}", r)
        for r in range(ranks)
    ]
    return "\n".join([*lines, *ready]) + "\n"


# --- NCCL: what was chosen ------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("P2P/IPC", "P2P/IPC"),
        ("P2P/IPC/read", "P2P/IPC"),
        ("P2P/CUMEM/read", "P2P/CUMEM"),
        ("P2P/direct pointer/read", "P2P/direct pointer"),
        ("P2P/direct pointer comm 0x55 nRanks 08", "P2P/direct pointer"),
        ("direct shared memory", "SHM"),
        ("SHM/direct/direct", "SHM"),
        ("NET/Socket/0", "NET/Socket"),
        ("NET/Socket/1/Shared", "NET/Socket"),
        ("NET/IB/0", "NET/IB"),
        ("NET/IB/0/GDRDMA", "NET/IB/GDRDMA"),
        ("NET/IB/0(3)/GDRDMA/Shared", "NET/IB/GDRDMA"),
        ("NET/IB/2/GDRDMA(PCI)", "NET/IB/GDRDMA"),
        ("NET/IBext_v8/0/GDRDMA", "NET/IB/GDRDMA"),
        ("NET/AWS Libfabric/3/GDRDMA", "NET/OFI/GDRDMA"),
        ("NET/FastSocket/0", "NET/FastSocket"),
        ("", "unknown"),
    ],
)
def test_paths_of_all_versions_have_few_names(said: str, name: str) -> None:
    assert path_name(said) == name


@pytest.mark.parametrize(
    "hop",
    [
        "Channel 00 : 0[1c000] -> 2[88000] [send] via NET/IB/0/GDRDMA",
        "Channel 00/0 : 0[0] -> 2[0] [send] via NET/IB/0/GDRDMA",
        "Ring 00 : 1 -> 2 [receive] via NET/IB/0/GDRDMA",
    ],
)
def test_the_slowest_path_of_a_job_counts(hop: str) -> None:
    fast = facts(job(line(hop), line("Channel 00 : 0[0] -> 1[1] via P2P/IPC")))
    assert (fast["comm.transport"], fast["comm.gdr.enabled"]) == ("NET/IB/GDRDMA", True)

    detour = facts(job(line(hop), line("Channel 01 : 3[0] -> 1[1] [send] via NET/IB/1")))
    assert (detour["comm.transport"], detour["comm.gdr.enabled"]) == ("NET/IB", False)

    slow = facts(job(line(hop), line("Channel 01 : 3[0] -> 1[1] [send] via NET/Socket/1")))
    assert (slow["comm.transport"], slow["comm.gdr.enabled"]) == ("NET/Socket", False)


def test_inside_a_node_shared_memory_is_the_slower_path() -> None:
    hops = [line("Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM"), line("Channel 00 : 1[1] -> 0[0] via SHM/direct/direct")]
    found = facts(job(*hops, hosts=1))
    assert found["comm.transport"] == "SHM"
    assert "comm.gdr.enabled" not in found
    assert facts(job(hops[0], hosts=1))["comm.transport"] == "P2P/CUMEM"


def test_ranks_nodes_and_channels() -> None:
    found = facts(job(line("24 coll channels, 0 collnet channels, 16 nvls channels"), ranks=6, hosts=3))

    assert found["config.distributed.world_size"] == 6
    assert found["config.distributed.nodes"] == 3
    assert found["config.distributed.local_world_size"] == 2
    assert found["comm.channels"] == 24
    assert found["comm.backend"] == "nccl"
    assert found["comm.error.count"] == 0


def test_the_log_of_one_rank_tells_nodes_only_where_nccl_says_so() -> None:
    one = line("comm 0x7f rank 3 nranks 16 cudaDev 3 busId 1000 - Init COMPLETE")
    assert facts(one)["config.distributed.world_size"] == 16
    assert "config.distributed.nodes" not in facts(one)

    new = line("comm 0x7f rank 3 nRanks 16 nNodes 2 localRanks 8 localRank 3 MNNVL 0")
    found = facts(new)
    assert (found["config.distributed.nodes"], found["config.distributed.local_world_size"]) == (2, 8)


def test_without_paths_the_chosen_network_counts_between_nodes_only() -> None:
    chosen = line("Using network Socket")
    assert facts(job(chosen))["comm.transport"] == "NET/Socket"
    assert "comm.transport" not in facts(job(chosen, hosts=1))


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("NET/Socket : Using [0]eth0:10.0.0.1<0>", "eth0"),
        ("NET/Socket : Using [0]docker0:172.17.0.1<0> [1]eth0:10.0.0.1<0>", "docker0, eth0"),
        ("NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/RoCE [RO]; OOB ib0:10.0.0.1<0>", "mlx5_0, mlx5_1"),
        ("NET/FastSocket : Using [0]ens1:10.0.0.1<0>", "ens1"),
        ("NET/OFI Selected Provider is efa (found 4 nics)", "efa"),
        ("NET : Using interface eth3:10.1.1.1<0>", "eth3"),
    ],
)
def test_interfaces(said: str, names: str) -> None:
    assert facts(line(said))["comm.interface"] == names


def test_the_interface_is_that_of_the_network_in_use() -> None:
    both = [
        line("NET/Socket : Using [0]eth0:10.0.0.1<0>"),
        line("NET/IB : Using [0]mlx5_0:1/IB ; OOB eth0:10.0.0.1<0>"),
    ]
    hop = line("Channel 00 : 0[0] -> 2[0] [send] via NET/IB/0/GDRDMA")
    assert facts(job(*both, hop))["comm.interface"] == "mlx5_0"


def test_settings_version_and_times() -> None:
    found = facts(
        "NCCL version 2.21.5+cuda12.4\n"
        + line("NCCL_SOCKET_IFNAME set by environment to eth0\n")
        + line("NCCL_IB_DISABLE set by environment to 1.\n")
        + line("NVLS multicast support is not available on dev 0\n")
        + line("Init timings: rank 0 nranks 8 total 1.08 (kernels 0.51, bootstrap 0.22)\n")
        + line("Init timings - ncclCommInitRank: rank 1 nranks 8 total 2.50 (kernels 1.0, alloc 0.5)\n")
    )

    assert found["comm.nccl.version"] == "2.21.5"
    assert found["config.nccl.env"] == "NCCL_IB_DISABLE=1 NCCL_SOCKET_IFNAME=eth0"
    assert found["comm.nvls.enabled"] is False
    assert found["comm.init.time"] == 2.5


# --- NCCL: what went wrong ------------------------------------------------------------

TIMEOUT = (
    "[Rank {0}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum={1}, OpType=ALLREDUCE, NumelIn=1, "
    "NumelOut=1, Timeout(ms)=600000) ran for 600{0}17 milliseconds before timing out."
)


def test_a_timeout_is_counted_once_per_rank_and_collective() -> None:
    lines = [f"[rank{r}]:[E1003 18:37:01 ProcessGroupNCCL.cpp:607] {TIMEOUT.format(r, 7)}" for r in (0, 1, 2)]
    again = (
        f"  what():  [PG 0 (default_pg) Rank 1] NCCL watchdog thread terminated with exception: {TIMEOUT.format(1, 7)}"
    )
    found = facts("\n".join([*lines, again]))

    assert found["comm.timeout.count"] == 3
    assert found["comm.timeout.limit"] == 600
    assert (found["comm.backend"], found["run.gpu.used"]) == ("nccl", True)


@pytest.mark.parametrize(
    "said",
    [
        "[Rank 2] Watchdog caught collective operation timeout: WorkNCCL(OpType=BROADCAST, Timeout(ms)=150000)",
        "[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1, OpType=_ALLGATHER_BASE, "
        "TensorShape=[20], Timeout(ms)=150000) ran for 150123 milliseconds before timing out.",
    ],
)
def test_old_timeouts(said: str) -> None:
    assert facts(said)["comm.timeout.count"] == 1
    assert facts(said)["comm.timeout.limit"] == 150


def test_errors_are_counted_by_what_they_say() -> None:
    warning = "n1:1:2 [0] transport/net.cc:1 NCCL WARN Call to connect returned Connection refused"
    stamped = "[2025-06-01 10:00:00] n2:3:4 [1] net_ib.cc:9 NCCL WARN NET/IB : Got completion from peer with error 12"
    found = facts(f"{warning}\n{warning}\n{stamped}\n")
    assert found["comm.error.count"] == 2

    raised = facts("NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error, NCCL version 2.18.1\n")
    assert (raised["comm.error.count"], raised["comm.nccl.version"]) == (1, "2.18.1")


def test_full_shared_memory_is_no_fault_of_the_network() -> None:
    said = "n1:1:2 [0] misc/shmutils.cc:1 NCCL WARN Error: failed to extend /dev/shm/nccl-Abc to 9637892 bytes"
    assert facts(said)["system.filesystem.shm.errors"] == 1


# --- noise ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["", "0: ", "[1,0]<stdout>:", "[rank3]: ", "2024-05-01T10:00:00Z ", "> ", "worker-0 | "]
)
def test_prefixes_do_not_matter(prefix: str) -> None:
    text = job(line("NET/Socket : Using [0]eth0:10.0.0.1<0>"), line("Channel 00 : 0 -> 1 [send] via NET/Socket/0"))
    wrapped = "why is it slow?\n\n```\n" + "".join(f"{prefix}{x}\n" for x in text.splitlines()) + "```\n"
    assert facts(wrapped) == facts(text)


def test_a_log_may_end_anywhere() -> None:
    text = job(line("NET/IB : Using [0]mlx5_0:1/IB ; OOB ib0:1<0>"), line("Channel 00 : 0 -> 1 [send] via NET/IB/0"))
    for end in range(20, len(text)):
        told_or_nothing(text[:end])


def told_or_nothing(text: str) -> None:
    """Either facts, or one sentence."""
    artefact = Artefact("pasted", data=text.encode("utf-8", "replace"))
    kind = recognise(artefact)
    if kind is None or kind.name != TEXT:
        return
    with contextlib.suppress(InputError):
        facts(text)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_damaged_logs_and_tables_give_facts_or_a_sentence(data: st.DataObject) -> None:
    text = job(line("Channel 00 : 0 -> 1 [send] via NET/IB/0"), TIMEOUT.format(1, 2)) + TABLE
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + data.draw(st.integers(0, 12)) :]
    told_or_nothing(text)


def test_long_lines_take_no_long_time() -> None:
    told_or_nothing("a" * 300_000 + " NCCL INFO Channel 00 : " + "0[" * 200_000 + " busbw " + "1 " * 100_000)
    told_or_nothing("NCCL INFO " + "x:1:2 " * 100_000 + "Watchdog caught collective operation timeout: Work" * 2000)


# --- bandwidth ------------------------------------------------------------------------

TABLE = """# nThread 1 nGpus 8 minBytes 33554432 maxBytes 134217728 step: 2(factor) warmup iters: 5 iters: 20
# Using devices
#  Rank  0 Group  0 Pid   10 on a device  0 [0x0f] NVIDIA H100 80GB HBM3
#  Rank  1 Group  0 Pid   11 on a device  1 [0x15] NVIDIA H100 80GB HBM3
#  Rank  2 Group  0 Pid   12 on b device  0 [0x0f] NVIDIA H100 80GB HBM3
#  Rank  3 Group  0 Pid   13 on b device  1 [0x15] NVIDIA H100 80GB HBM3
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
    33554432       8388608     float     sum      -1    400.0   80.00  120.00      0    410.0   82.00  123.00      0
    67108864      16777216     float     sum      -1    600.0  100.00  150.00      0    610.0  102.00  153.00      0
   134217728      33554432     float     sum      -1    900.0  120.00  180.00      0    910.0  122.00  183.00    N/A
# Out of bounds values : 0 OK
# Avg bus bandwidth    : 151.5
#
"""


def test_a_table_of_large_messages_tells_its_average() -> None:
    found = facts(TABLE)

    assert found["comm.busbw"] == 151.5 * GB
    assert found["comm.busbw.average"] == 151.5 * GB
    assert found["comm.algbw"] == 121 * GB
    assert found["comm.busbw.message_size"] == 134217728
    assert (found["config.distributed.world_size"], found["config.distributed.nodes"]) == (4, 2)
    assert found["hw.gpu.model"] == "NVIDIA H100 80GB HBM3"


def test_of_a_sweep_the_largest_message_counts() -> None:
    small = "  1024  256  float  sum  -1    20.00    0.05    0.07      0    20.00    0.05    0.07      0\n"
    found = facts(TABLE.replace("    33554432 ", small + "    33554432 ", 1).replace("151.5", "113.6"))
    assert (found["comm.busbw"], found["comm.busbw.average"]) == (181.5 * GB, 113.6 * GB)


def test_without_a_last_line_the_average_is_computed() -> None:
    assert facts(TABLE[: TABLE.index("# Out of")])["comm.busbw"] == pytest.approx(151.5 * GB)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (
            "#      size     count   type   redop     time   algbw   busbw  error     time   algbw   busbw  error",
            "  67108864  16777216  float     sum    600.0  100.00  150.00  2e-07    610.0  102.00  152.00    N/A",
        ),
        (
            "#     bytes         N   type      op     time   algbw   busbw    res     time   algbw   busbw    res",
            "  67108864  16777216  float     sum    0.600  100.00  150.00  1e-06    0.610  102.00  152.00  0e+00",
        ),
        (
            "#      size     count   type   redop   root    time   algbw   busbw",
            "  67108864  16777216   bf16    none      0   600.0  101.00  151.00",
        ),
    ],
)
def test_layouts_of_other_versions(header: str, row: str) -> None:
    assert facts(f"{header}\n{row}\n")["comm.busbw"] == 151 * GB


def test_several_tables_are_several_readings_in_order() -> None:
    second = TABLE.replace("151.5", "75.25").replace(" on b ", " on c ")
    readings = told(f"# one\n{TABLE}\ntwo:\n{second}").readings
    assert [next(f.value for f in r.facts if f.name == "comm.busbw") for r in readings] == [151.5 * GB, 75.25 * GB]
    assert [r.source.note[:12] for r in readings] == ["table 1 of 2", "table 2 of 2"]


def test_tables_of_several_sizes_tell_what_scale_costs() -> None:
    more = TABLE.replace("Rank  3", "Rank 63").replace("180.00", " 60.00").replace("183.00", " 61.00")
    assert facts(TABLE + more)["comm.busbw.scaling.ratio"] == pytest.approx(60.5 / 181.5)
    other = more.replace("NVIDIA H100 80GB HBM3", "NVIDIA L4")
    assert "comm.busbw.scaling.ratio" not in facts(TABLE + other)
    assert "comm.busbw.scaling.ratio" not in facts(TABLE + TABLE)


@pytest.mark.parametrize("prefix", ["0: ", "[1,0]<stdout>:", "  > "])
def test_tables_with_prefixes(prefix: str) -> None:
    assert facts("".join(f"{prefix}{x}\n" for x in TABLE.splitlines())) == facts(TABLE)


def test_benchmarks_of_pytorch() -> None:
    mean = (
        "[node:0]:The average bandwidth of all_reduce with a 4.0GB payload (5 trials, 16 ranks):\n"
        "[node:0]: algbw: 44.947 GBps (std: 0.1) (359.6 Gbps)\n[node:0]: busbw: 84.275 GBps (674.2 Gbps)\n"
    )
    found = facts(mean)
    assert (found["comm.busbw"], found["comm.algbw"]) == (pytest.approx(84.275e9), pytest.approx(44.947e9))
    assert found["config.distributed.world_size"] == 16

    table = "| payload |    busbw   |    algbw   |\n| ------: | ---------: | ---------: |\n"
    rows = "|   32KiB |   0.92GBps |   0.48GBps |\n|   16GiB |  91.69GBps |  47.32GBps |\n"
    found = facts(table + rows)
    assert (found["comm.busbw"], found["comm.busbw.message_size"]) == (pytest.approx(91.69e9), 16 * 2**30)


def test_reports_of_mixed_ranks_end_with_the_last() -> None:
    text = "0 data size: 4.0 GB\n1 data size: 4.0 GB\n"
    for algo, bus in ((10.5, 10.0), (100.0, 95.0), (101.0, 96.0)):
        text += f"ignore me 7\n1:\n duration: 0.7 sec\n algo throughput: {algo * 1e9:.4f} bps, {algo:.4f} Gbps\n"
        text += f"ignore me 7\n busbw: {bus:.4f}  Gbps\n"
    found = facts(text)
    assert (found["comm.busbw"], found["comm.algbw"]) == (96 * GBIT, 101 * GBIT)
    assert (found["config.distributed.world_size"], found["comm.busbw.message_size"]) == (2, 4e9)


# --- real logs ------------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize(
    ("name", "algo", "bus", "ranks", "nodes", "transport"),
    [
        ("all_reduce_bench-32gb-n4.txt", 90.3, 84.7, 16, 4, "NET/IB"),
        ("all_reduce_bench-a100-n4.txt", 41.8, 40.5, 32, 4, "NET/IB"),
        ("n16_32gb_all_reduce_bench.txt", 55.1, 54.2, 64, 16, "NET/IB"),
        ("n1_32gb_all_reduce_bench.txt", 1323.6, 992.7, 4, 1, "P2P/IPC"),
    ],
)
def test_real_benchmark_logs(name: str, algo: float, bus: float, ranks: int, nodes: int, transport: str) -> None:
    found = facts((SHARED / "nccl_log" / name).read_text(errors="replace"))

    assert found["comm.algbw"] == pytest.approx(algo * GBIT, rel=0.005)
    assert found["comm.busbw"] == pytest.approx(bus * GBIT, rel=0.005)
    assert (found["config.distributed.world_size"], found["config.distributed.nodes"]) == (ranks, nodes)
    assert found["comm.transport"] == transport


@needs_samples
def test_real_tables() -> None:
    readings = told((SHARED / "nccl_tests" / "coreweave_README.md").read_text()).readings
    level = [next(f.value for f in r.facts if f.name == "comm.busbw") for r in readings]
    assert level == [pytest.approx(v * GB) for v in (373.187, 745.53, 688.487, 297.808)]
