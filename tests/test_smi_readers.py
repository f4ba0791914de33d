"""nvidia-smi, rocm-smi and their relatives -> facts: every form, old and new names, noise around it, load and idle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.pipeline import Advisor
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.recognise import recognise
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real captures here")
SPECS = kb.load().facts
MIB = 2.0**20


def told(text: str | bytes) -> Told:
    """What a text says, read as a file or a paste would be; all facts fit the vocabulary."""
    artefact = Artefact("capture.txt", data=text.encode() if isinstance(text, str) else text)
    kind = recognise(artefact)
    assert kind is not None
    (one,) = kind.read([artefact], no_tick)
    for fact in one.readings[0].facts:
        spec = SPECS[fact.name]
        assert fact.unit == spec.unit, fact.name
        if isinstance(fact.value, float):
            assert spec.low is None or fact.value >= spec.low, fact.name
            assert spec.high is None or fact.value <= spec.high, fact.name
    return one


def reading(text: str | bytes) -> Reading:
    (one,) = told(text).readings
    return one


def gpu(text: str | bytes) -> dict[str, Value]:
    """The facts by their names below ``hw.gpu``; numbers rounded."""
    found: dict[str, Value] = {}
    for fact in reading(text).facts:
        value = round(fact.value, 6) if isinstance(fact.value, float) else fact.value
        found[fact.name.removeprefix("hw.gpu.")] = value
    return found


# --- the table -------------------------------------------------------------------------


def row(index: int = 0, util: str = "97%", watts: str = "305W", used: str = "70123MiB", **more: str) -> str:
    ecc, mode, mig, temp, pm = (
        more.get(key, usual)
        for key, usual in {"ecc": "0", "mode": "Default", "mig": "Disabled", "temp": "61C", "pm": "On"}.items()
    )
    bus = f"00000000:{index + 7:02X}:00.0"
    return (
        f"|   {index}  NVIDIA A100-SXM4-80GB          {pm:>3}  | {bus} Off | {ecc:>20} |\n"
        f"| N/A   {temp:<6} P0    {watts:>15} / 400W | {used:>10} / 81920MiB | {util:>7} {mode:>12} |\n"
        f"|                                         |                      | {mig:>20} |\n"
        "+-----------------------------------------+----------------------+----------------------+\n"
    )


HEAD = """+---------------------------------------------------------------------------------------+
| NVIDIA-SMI 535.54.03              Driver Version: 535.54.03    CUDA Version: 12.2     |
|-----------------------------------------+----------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |         Memory-Usage | GPU-Util  Compute M. |
|                                         |                      |               MIG M. |
|=========================================+======================+======================|
"""
PROCESSES = """
+---------------------------------------------------------------------------------------+
| Processes:                                                                            |
|  GPU   GI   CI        PID   Type   Process name                            GPU Memory |
|        ID   ID                                                             Usage      |
|=======================================================================================|
|    0   N/A  N/A     12345      C   /usr/bin/python                          70000MiB |
|    0   N/A  N/A     12346    C+G   ...browser                                  88MiB |
|    1   N/A  N/A     12347      C   /usr/bin/python                            512MiB |
|    1   N/A  N/A     12348    M+C   /usr/bin/python                            512MiB |
+---------------------------------------------------------------------------------------+
"""
TABLE = HEAD + row() + row(1, "40%", "101W", "1234MiB") + PROCESSES
OLD_TABLE = """Fri Feb 16 10:22:41 2018
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 384.111                Driver Version: 384.111                   |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  Tesla V100-SXM2...  Off  | 00000000:1A:00.0 Off |                    0 |
| N/A   44C    P0    72W / 300W |   5484MiB / 16152MiB |     31%      Default |
+-------------------------------+----------------------+----------------------+
|   1  Tesla V100-SXM2...  Off  | 00000000:1B:00.0 Off |                    0 |
| N/A   44C    P0    72W / 300W |   5484MiB / 16152MiB |     33%      Default |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Processes:                                                       GPU Memory |
|  GPU       PID   Type   Process name                             Usage      |
|=============================================================================|
|    0      8123      C   python                                      5474MiB |
+-----------------------------------------------------------------------------+
"""


def test_the_table_gives_means_over_the_gpus_and_extremes_with_the_gpu() -> None:
    facts = gpu(TABLE)

    assert (facts["count"], facts["model"]) == (2, "NVIDIA A100-SXM4-80GB")
    assert (facts["driver.version"], facts["driver.cuda_version"]) == ("535.54.03", "12.2")
    assert (facts["utilization"], facts["utilization.spread"]) == (0.685, 0.57)
    assert (facts["memory.usage"], facts["memory.usage.min"]) == (70123 * MIB, 1234 * MIB)
    assert (facts["power"], facts["power.limit"], facts["power.limit.utilization"]) == (203, 400, 0.7625)
    assert (facts["temperature"], facts["ecc.uncorrectable.volatile"]) == (61, 0)
    assert (facts["persistence_mode"], facts["mig.mode"], facts["compute_mode"]) == (True, False, "default")
    assert facts["process.count"] == 2  # the browser on GPU 0 draws, and is not counted
    assert facts["run.gpu.used"] is True


def test_old_tables_have_three_columns_and_no_mig_line() -> None:
    facts = gpu(OLD_TABLE)

    assert (facts["count"], facts["driver.version"], facts["utilization"]) == (2, "384.111", 0.32)
    assert "driver.cuda_version" not in facts
    assert (facts["persistence_mode"], facts["process.count"]) == (False, 1)


def test_driver_610_calls_its_versions_otherwise() -> None:
    text = TABLE.replace(
        "Driver Version: 535.54.03    CUDA Version: 12.2 ", "KMD Version: 610.57   CUDA UMD Version: 13.3"
    )
    facts = gpu(text)

    assert (facts["driver.version"], facts["driver.cuda_version"]) == ("610.57", "13.3")


def test_windows_shows_the_driver_model_in_place_of_persistence() -> None:
    facts = gpu(TABLE.replace("Persistence-M", " Driver-Model").replace("  On  |", " WDDM  |"))

    assert facts["utilization"] == 0.685
    assert "persistence_mode" not in facts


def test_a_gpu_that_does_not_answer_is_one_of_them() -> None:
    facts = gpu(HEAD + row() + row(1, "ERR!", "ERR!", "ERR!", temp="ERR!"))

    assert (facts["count"], facts["unreadable.count"], facts["utilization"]) == (2, 1, 0.97)


def test_mig_gives_no_utilization_and_counts_instances() -> None:
    mig = "|  0    {}   0   {}  |     12MiB / 19968MiB  | 42      0 |  3   0    2    0    0 |\n"
    text = HEAD + row(0, "N/A", ecc="On", mig="Enabled") + mig.format(1, 0) + mig.format(2, 1)
    facts = gpu(text)

    assert (facts["mig.mode"], facts["mig.instance.count"]) == (True, 2)
    assert not {"utilization", "ecc.uncorrectable.volatile"} & set(facts)


def test_a_table_between_two_looks_may_be_anywhere_in_a_text() -> None:
    plain = gpu(TABLE)
    spoiled: list[str] = [
        f"why is it slow?\n```\n$ nvidia-smi\n{TABLE}```\nthanks",
        "".join(f"> {line}\n" for line in TABLE.splitlines()),
        "".join(f"[rank0]: {line}\n" for line in TABLE.splitlines()),
        "".join(f"2: {line}\n" for line in TABLE.splitlines()),
        "".join(f"2024-03-06 10:00:0{i % 10},123 INFO {line}\n" for i, line in enumerate(TABLE.splitlines())),
        "\n".join(" ".join(line.split()) for line in TABLE.splitlines()),
        TABLE.replace("\n", "\r\n"),
        "\ufeff" + TABLE,
        "\x1b[1m" + TABLE + "\x1b[0m",
        TABLE.replace("|", "│"),
    ]
    for text in spoiled:
        assert gpu(text) == plain, text[:400]
    assert gpu(TABLE.encode("utf-16")) == plain


def test_lines_that_wrapped_at_eighty_columns_are_still_cells() -> None:
    text = "\n".join(line[i : i + 80] for line in TABLE.splitlines() for i in range(0, max(len(line), 1), 80))

    assert gpu(text)["utilization"] == 0.685


def test_lines_after_grep_are_moments_of_gpus_that_nobody_names() -> None:
    line = "| N/A   44C    P0    {:3}W / 300W |   5484MiB / 16130MiB |  {:5}%      Default |\n"
    text = "nvidia-smi -l 1 | grep MiB\n" + "".join(line.format(70 + u, u) for u in (0, 40, 0, 95, 0, 25, 0, 90, 0, 0))
    facts = gpu(text)

    assert (facts["utilization"], facts["utilization.p5"]) == (0.25, 0)
    assert facts["recording.idle.fraction"] == 0.6
    assert not {"count", "utilization.spread"} & set(facts)


def test_a_stale_reading_is_forgotten_when_nobody_holds_memory() -> None:
    text = HEAD + row(used="3MiB", util="100%") + "|  No running processes found      |\n"

    assert "utilization" not in gpu(text)


def test_processes_that_a_container_cannot_see_are_not_none() -> None:
    text = HEAD + row() + "|  No running processes found      |\n"

    assert "process.count" not in gpu(text)


def test_hosts_that_take_turns_are_kept_apart() -> None:
    one, two = (HEAD + row(0, util) + row(1, util) for util in ("90%", "10%"))
    lines = [line for pair in zip(one.splitlines(), two.splitlines(), strict=True) for line in pair]
    text = "".join(f"node{1 + i % 2}: {line}\n" for i, line in enumerate(lines))
    facts = gpu(text)

    assert (facts["count"], facts["utilization"], facts["utilization.spread"]) == (4, 0.5, 0.8)


def test_ranks_that_print_the_same_gpus_count_once() -> None:
    lines = [f"[rank{rank}]: {line}\n" for line in TABLE.splitlines() for rank in range(4)]
    one = reading("".join(lines))

    assert {f.name: f.value for f in one.facts}["hw.gpu.count"] == 2
    assert "4 ranks print it" in one.source.note


# --- load and idle ---------------------------------------------------------------------


def dmon(*utils: int, enc: int = 0) -> str:
    rows = "".join(f"    0    {60 + 5 * u}     60      -  {u:5}     10  {enc:5}      0   2619   1980 \n" for u in utils)
    names = "# gpu    pwr  gtemp  mtemp     sm    mem    enc    dec   mclk   pclk \n"
    return f"{names}# Idx      W      C      C      %      %      %      %    MHz    MHz \n{rows}"


def test_idle_looks_are_left_out_and_never_averaged_in() -> None:
    idle = HEAD + row(0, "0%", "60W", "3MiB")
    for text in (idle + "\nnow it runs\n" + HEAD + row(), HEAD + row() + "$ nvidia-smi\n" + idle):
        one = reading(text)
        facts = {f.name: f.value for f in one.facts}
        assert facts["hw.gpu.utilization"] == pytest.approx(0.97)
        assert facts["hw.gpu.power"] == 305
        assert "idle" in one.source.note


def test_headings_say_what_is_load_even_where_the_numbers_do_not() -> None:
    text = f"# idle ::\n{dmon(0, 0)}\n\n# load ::\n{dmon(0, 8)}"

    assert gpu(text)["utilization"] == 0.04


def test_the_recording_of_most_moments_is_believed_over_a_stale_one() -> None:
    facts = gpu(HEAD + row(0, "100%", "66W") + "\n" + dmon(0, 0, 0, 0, 0))

    assert (facts["utilization"], facts["power"]) == (0, 60)
    assert not {"clock.sm", "power.limit.utilization"} & set(facts)


def test_video_work_is_no_idleness() -> None:
    one = reading(dmon(7, 8, 7, enc=90))

    assert "video encoder works 90%" in one.source.note
    assert {f.name: f.value for f in one.facts}["hw.gpu.encoder.utilization"] == pytest.approx(0.9)


def test_idle_ends_of_a_long_recording_are_cut_and_gaps_inside_are_kept() -> None:
    load = [90, 90, 0, 90, 90, 90, 90, 90, 90, 90]

    facts = gpu(dmon(*[0] * 8, *load, *[0] * 20))
    assert facts["utilization"] == 0.81
    assert facts["recording.idle.fraction"] == 0.1
    assert gpu(dmon(0, *load))["utilization"] == pytest.approx(0.736364)


# --- dmon and pmon ---------------------------------------------------------------------


def test_dmon_columns_are_read_by_their_names() -> None:
    text = """#Date Time gpu pwr gtemp mtemp sm mem enc dec mclk pclk pviol tviol fb bar1 rxpci txpci
#YYYYMMDD HH:MM:SS Idx W C C % % % % MHz MHz % bool MB MB MB/s MB/s
 20260529   09:51:25     0    300     60      -     90     10   0   0   2619   1000    40   0  40960   1   100   20
 20260529   09:51:25     1    100     50      -     30     10   0   0   2619   1980     0   1  20480   1     0    0
 20260529   09:51:35     0    300     62      -     80     10   0   0   2619   1200    20   0  40960   1   300   40
 20260529   09:51:35     1    100     50      -     30     10   0   0   2619   1980     0   1  20480   1     0    0
"""
    facts = gpu(text)

    assert (facts["count"], facts["utilization"], facts["power"], facts["temperature"]) == (2, 0.575, 200, 62)
    assert (facts["throttle.power_cap.fraction"], facts["throttle.thermal.fraction"]) == (0.3, 0)
    assert (facts["clock.sm"], facts["memory.usage"], facts["memory.usage.min"]) == (1.1e9, 40960 * MIB, 20480 * MIB)
    assert (facts["pcie.rx.rate"], facts["pcie.tx.rate"]) == (2e8, 3e7)
    assert told(text).seconds == 10
    csv = "#gpu, pwr, gtemp, sm\n#Idx, W, C, %\n0, 69, 41, 5\n1, 71, 41, 15\n0, 69, 41, 5\n"
    assert (gpu(csv)["count"], gpu(csv)["utilization"], gpu(csv)["power"]) == (2, 0.1, 70)


def test_dmon_of_old_drivers_and_cards_that_tell_little() -> None:
    text = """$ nvidia-smi dmon -s pucvmet
# gpu   pwr  temp    sm   mem   enc   dec  mclk  pclk
# Idx     W     C     %     %     %     %   MHz   MHz
    0     -    50    91    66     0     0  3504  1784
    1     -    47     0     0     0     0  3504  1341
# gpu   pwr  temp    sm   mem   enc   dec  mclk  pclk
# Idx     W     C     %     %     %     %   MHz   MHz
    0     -    51    94    70     0     0  3504  1784
    1     -    47     1     0     0     0  3504  1341
^C
"""
    facts = gpu(text)

    assert (facts["count"], facts["utilization"], facts["clock.sm"], facts["temperature"]) == (2, 0.465, 1.784e9, 51)
    assert "power" not in facts


def test_pmon_counts_the_processes_that_compute() -> None:
    text = """# gpu         pid   type     sm    mem    enc    dec    command
# Idx           #    C/G      %      %      %      %    name
    0       1234     C     97     50      -      -    python
    0       1235     C      1      1      -      -    python
    0       1236     G      -      -      -      -    Xorg
    1          -     -      -      -      -      -    -
    0       1234     C     97     50      -      -    python
    0       1235     C      1      1      -      -    python
"""
    assert gpu(text)["process.count"] == 2


# --- CSV -------------------------------------------------------------------------------

FIELDS = (
    "timestamp, index, name, pci.bus_id, driver_version, pstate, pcie.link.gen.max, pcie.link.gen.gpucurrent, "
    "pcie.link.width.max, pcie.link.width.current, temperature.gpu, utilization.gpu [%], memory.total [MiB], "
    "memory.used [MiB], power.draw [W], enforced.power.limit [W], clocks.current.sm [MHz], clocks.max.sm [MHz], "
    "clocks_event_reasons.active, compute_cap\n"
)


def csv_row(second: int, index: int, link: str, load: str) -> str:
    gpu = f"{index}, NVIDIA H100 80GB HBM3, 00000000:{index + 16}:00.0"
    return f"2024/03/06 10:00:{second:02}.00{index}, {gpu}, 535.54.03, P0, {link}, {load}, 9.0\n"


CSV = (
    FIELDS
    + csv_row(0, 0, "5, 5, 16, 16", "61, 90 %, 81559 MiB, 40000 MiB, 600.00 W, 700.00 W, 1500 MHz, 1980 MHz, 0x04")
    + csv_row(0, 1, "5, 3, 16, 8", "55, 80 %, 81559 MiB, 30000 MiB, 500.00 W, 700.00 W, 1980 MHz, 1980 MHz, 0x00")
    + csv_row(5, 0, "5, 5, 16, 16", "63, 100 %, 81559 MiB, 50000 MiB, 650.00 W, 700.00 W, 1600 MHz, 1980 MHz, 0x60")
    + csv_row(5, 1, "5, 3, 16, 8", "55, 90 %, 81559 MiB, 30000 MiB, 500.00 W, 700.00 W, 1980 MHz, 1980 MHz, 0x00")
)


def test_a_loop_of_csv_is_a_recording() -> None:
    facts = gpu(CSV)

    assert (facts["count"], facts["model"], facts["compute_capability"]) == (2, "NVIDIA H100 80GB HBM3", "9.0")
    assert (facts["utilization"], facts["power"], facts["temperature"]) == (0.9, 562.5, 63)
    assert (facts["memory.peak_utilization"], facts["memory.utilization"]) == (0.613053, 0.551748)
    assert (facts["clock.sm"], facts["clock.sm.max"]) == (1.55e9, 1.98e9)
    assert (facts["pcie.link.gen"], facts["pcie.link.gen.max"], facts["pcie.link.width"]) == (3, 5, 8)
    assert facts["throttle.power_cap.fraction"] == facts["throttle.thermal.fraction"] == 0.5
    assert told(CSV).seconds == 5


def test_csv_without_units_has_them_in_the_first_line() -> None:
    bare = CSV.replace(" %,", ",").replace(" MiB,", ",").replace(" W,", ",").replace(" MHz,", ",")

    assert gpu(bare) == gpu(CSV)


def test_csv_without_names_is_read_only_where_the_command_tells_them() -> None:
    fields = "index,utilization.gpu,memory.used"
    rows = "0, 95 %, 1000 MiB\n1, 85 %, 2000 MiB\n"
    shown = f"$ nvidia-smi --query-gpu={fields} --format=csv,noheader\n{rows}"
    bare = f"nvidia-smi --query-gpu={fields} --format=csv,noheader,nounits -l 1\n0, 95, 1000\n1, 85, 2000\n"

    assert gpu(shown) == gpu(bare)
    assert (gpu(shown)["utilization"], gpu(shown)["memory.usage"]) == (0.9, 2000 * MIB)
    with pytest.raises(InputError, match="nothing is known"):
        told(rows)


def test_csv_of_old_drivers_and_of_fields_that_are_not_supported() -> None:
    text = """name, utilization.gpu [%], power.draw [W], clocks_throttle_reasons.sw_power_cap, \
ecc.errors.uncorrected.volatile.total, persistence_mode
Tesla K80, 99 %, 140.11 W, Active, 0, Enabled
GeForce GT 710, [Not Supported], [Unknown Error], Not Active, [N/A], Disabled
"""
    facts = gpu(text)

    assert (facts["utilization"], facts["ecc.uncorrectable.volatile"]) == (0.99, 0)
    assert facts["throttle.power_cap.fraction"] == 1


def test_csv_with_a_card_that_needs_a_reset() -> None:
    facts = gpu(CSV.replace("55, 90 %", "[GPU requires reset], [GPU requires reset]"))

    assert (facts["unreadable.count"], facts["count"]) == (1, 2)


def test_lists_of_fields_and_help_texts_are_no_measurements() -> None:
    for text in (
        "temperature.gpu\nutilization.gpu\nmemory.used\npower.draw\n[N/A]\n",
        '"utilization.gpu"\nPercent of time over the past sample period during which kernels ran.\n',
        "cmd = ['nvidia-smi', '--query-gpu=utilization.gpu', '--format=csv,noheader']\nprint(cmd)\n",
    ):
        with pytest.raises(InputError):
            told(text)


def test_lists_of_processes_are_counted_per_gpu() -> None:
    head = "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n"
    text = head + "GPU-aa, 11, python, 100 MiB\nGPU-aa, 12, python, 100 MiB\nGPU-bb, 13, a, b, 5 MiB\n"

    assert gpu(text)["process.count"] == 2


# --- the long query --------------------------------------------------------------------

QUERY = """==============NVSMI LOG==============

Timestamp                                 : Wed Mar  6 10:00:00 2024
Driver Version                            : 535.54.03
CUDA Version                              : 12.2

Attached GPUs                             : 2
GPU 00000000:07:00.0
    Product Name                          : NVIDIA A100-SXM4-80GB
    Persistence Mode                      : Disabled
    MIG Mode
        Current                           : Disabled
        Pending                           : Enabled
    GPU Reset Status
        Reset Required                    : No
    PCI
        GPU Link Info
            PCIe Generation
                Max                       : 4
                Current                   : 4
                Device Current            : 4
            Link Width
                Max                       : 16x
                Current                   : 8x
        Bridge Chip
            Type                          : N/A
        Replays Since Reset               : 3
        Tx Throughput                     : 352 KB/s
        Rx Throughput                     : 1500 KB/s
    Fan Speed                             : N/A
    Clocks Throttle Reasons
        Idle                              : Not Active
        Applications Clocks Setting       : Not Active
        SW Power Cap                      : Active
        HW Slowdown                       : Not Active
            HW Thermal Slowdown           : Not Active
            HW Power Brake Slowdown       : Not Active
        Sync Boost                        : Not Active
        SW Thermal Slowdown               : Not Active
    FB Memory Usage
        Total                             : 81920 MiB
        Reserved                          : 617 MiB
        Used                              : 40960 MiB
        Free                              : 40343 MiB
    BAR1 Memory Usage
        Total                             : 131072 MiB
        Used                              : 1 MiB
    Compute Mode                          : Exclusive_Process
    Utilization
        Gpu                               : 96 %
        Memory                            : 51 %
        Encoder                           : 0 %
        Decoder                           : 0 %
    ECC Errors
        Volatile
            SRAM Correctable              : 0
            SRAM Uncorrectable            : 1
            DRAM Correctable              : 0
            DRAM Uncorrectable            : 2
        Aggregate
            SRAM Correctable              : 0
            SRAM Uncorrectable            : 7
            DRAM Correctable              : 0
            DRAM Uncorrectable            : 9
    Retired Pages
        Single Bit ECC                    : N/A
        Double Bit ECC                    : N/A
        Pending Page Blacklist            : N/A
    Remapped Rows
        Correctable Error                 : 0
        Uncorrectable Error               : 4
        Pending                           : Yes
        Remapping Failure Occurred        : No
        Bank Remap Availability Histogram
            Max                           : 640 bank(s)
    Temperature
        GPU Current Temp                  : 70 C
        GPU Shutdown Temp                 : 92 C
        GPU Slowdown Temp                 : 89 C
    Power Readings
        Power Management                  : Supported
        Power Draw                        : 390.10 W
        Power Limit                       : 400.00 W
        Default Power Limit               : 400.00 W
        Enforced Power Limit              : 380.00 W
    Clocks
        Graphics                          : 1200 MHz
        SM                                : 1200 MHz
    Max Clocks
        Graphics                          : 1410 MHz
        SM                                : 1410 MHz
    Processes
        GPU instance ID                   : N/A
        Process ID                        : 1234
            Type                          : C
            Name                          : python
            Used GPU Memory               : 40000 MiB
"""
NEWER = (
    ("Clocks Throttle Reasons", "Clocks Event Reasons"),
    ("    Power Readings", "    GPU Power Readings"),
    ("Power Draw                        :", "Average Power Draw                :"),
    ("Enforced Power Limit              :", "Current Power Limit               :"),
    (
        "SRAM Uncorrectable            : 1",
        "SRAM Uncorrectable Parity     : 0\n            SRAM Uncorrectable SEC-DED    : 1",
    ),
    (
        "SRAM Uncorrectable            : 7",
        "SRAM Uncorrectable Parity     : 3\n            SRAM Uncorrectable SEC-DED    : 4",
    ),
    ("        Power Limit                       : 400.00 W\n", ""),
)


def check_query(facts: dict[str, Value]) -> None:
    assert (facts["count"], facts["model"], facts["compute_mode"]) == (2, "NVIDIA A100-SXM4-80GB", "exclusive_process")
    assert (facts["utilization"], facts["memory.usage"], facts["memory.limit"]) == (0.96, 40960 * MIB, 81920 * MIB)
    assert (facts["power"], facts["power.limit"], facts["power.limit.default"]) == (390.1, 380, 400)
    assert (facts["temperature"], facts["temperature.margin"]) == (70, 19)
    assert (facts["clock.sm"], facts["clock.sm.max"]) == (1.2e9, 1.41e9)
    assert (facts["pcie.link.gen.ratio"], facts["pcie.link.width"], facts["pcie.link.width.ratio"]) == (1, 8, 0.5)
    assert (facts["pcie.tx.rate"], facts["pcie.rx.rate"]) == (352e3, 1.5e6)
    assert (facts["ecc.uncorrectable.volatile"], facts["ecc.sram_uncorrectable.aggregate"]) == (3, 7)
    assert (facts["row_remap.pending"], facts["row_remap.failed"], facts["row_remap.uncorrectable"]) == (True, False, 4)
    assert (facts["throttle.power_cap.fraction"], facts["throttle.thermal.fraction"]) == (1, 0)
    assert (facts["persistence_mode"], facts["mig.mode"], facts["process.count"]) == (False, False, 1)


def test_the_long_query_as_text() -> None:
    check_query(gpu(QUERY))
    newer = QUERY
    for old, new in NEWER:
        assert old in newer
        newer = newer.replace(old, new)
    check_query(gpu(newer))


def test_the_long_query_survives_chats_and_launchers() -> None:
    check_query(gpu("\n".join(line.strip() for line in QUERY.splitlines())))
    check_query(gpu("\n".join(" ".join(line.split()) for line in QUERY.splitlines())))
    check_query(gpu("".join(f"> {line}\n" for line in QUERY.splitlines())))
    check_query(gpu("".join(f"[1,0]<stdout>:{line}\n" for line in QUERY.splitlines())))


def test_errors_of_cards_before_ampere_stand_by_their_size() -> None:
    text = """==============NVSMI LOG==============
Attached GPUs : 1
GPU 0000:05:00.0
    Product Name : Tesla K80
    Ecc Errors
        Volatile
            Single Bit
                Device Memory : 5
                Total         : 5
            Double Bit
                Device Memory : 2
                Total         : 2
        Aggregate
            Single Bit
                Total         : 50
            Double Bit
                Total         : 20
    Retired Pages
        Single Bit ECC : 1
        Double Bit ECC : 2
        Pending : Yes
"""
    facts = gpu(text)

    assert (facts["ecc.uncorrectable.volatile"], facts["retired_pages.count"]) == (2, 3)
    assert facts["retired_pages.pending"] is True


def test_sampled_sections_are_means_over_seconds() -> None:
    text = """==============NVSMI LOG==============
Attached GPUs : 1
GPU 00000000:05:00.0
    Utilization
        Gpu : 100 %
        Memory : 3 %
    GPU Utilization Samples
        Duration : 14.15 sec
        Number of Samples : 71
        Max : 100 %
        Min : 0 %
        Avg : 42 %
    Power Readings
        Power Draw : 60.1 W
"""
    assert gpu(text)["utilization"] == 0.42


def test_mig_devices_do_not_speak_for_the_card() -> None:
    device = """    MIG Device
        Index                             : {}
        ECC Errors
            Volatile
                SRAM Uncorrectable        : 8
        FB Memory Usage
            Total                         : 19968 MiB
            Used                          : 12 MiB
"""
    text = QUERY.replace("        Pending                           : Enabled\n    GPU", "        Pending : Enabled\n"
                         + device.format(0) + device.format(1) + "    Accounting Mode : Disabled\n    GPU")  # fmt: skip
    facts = gpu(text)

    assert (facts["mig.instance.count"], facts["memory.usage"], facts["ecc.uncorrectable.volatile"]) == (
        2,
        40960 * MIB,
        3,
    )


XML = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <timestamp>Wed Mar  6 10:00:00 2024</timestamp>
  <driver_version>535.54.03</driver_version><cuda_version>12.2</cuda_version><attached_gpus>2</attached_gpus>
  <gpu id="00000000:07:00.0">
    <product_name>NVIDIA A100-SXM4-80GB</product_name>
    <persistence_mode>Disabled</persistence_mode>
    <mig_mode><current_mig>Disabled</current_mig><pending_mig>Enabled</pending_mig></mig_mode>
    <mig_devices>None</mig_devices>
    <pci>
      <pci_gpu_link_info>
        <pcie_gen><max_link_gen>4</max_link_gen><current_link_gen>4</current_link_gen></pcie_gen>
        <link_widths><max_link_width>16x</max_link_width><current_link_width>8x</current_link_width></link_widths>
      </pci_gpu_link_info>
      <replay_counter>3</replay_counter><tx_util>352 KB/s</tx_util><rx_util>1500 KB/s</rx_util>
    </pci>
    <clocks_throttle_reasons>
      <clocks_throttle_reason_sw_power_cap>Active</clocks_throttle_reason_sw_power_cap>
      <clocks_throttle_reason_hw_thermal_slowdown>Not Active</clocks_throttle_reason_hw_thermal_slowdown>
      <clocks_throttle_reason_sw_thermal_slowdown>Not Active</clocks_throttle_reason_sw_thermal_slowdown>
      <clocks_throttle_reason_sync_boost>Not Active</clocks_throttle_reason_sync_boost>
    </clocks_throttle_reasons>
    <fb_memory_usage><total>81920 MiB</total><reserved>617 MiB</reserved><used>40960 MiB</used></fb_memory_usage>
    <compute_mode>Exclusive_Process</compute_mode>
    <utilization><gpu_util>96 %</gpu_util><memory_util>51 %</memory_util></utilization>
    <ecc_errors>
      <volatile><sram_uncorrectable>1</sram_uncorrectable><dram_uncorrectable>2</dram_uncorrectable></volatile>
      <aggregate><sram_uncorrectable>7</sram_uncorrectable><dram_uncorrectable>9</dram_uncorrectable></aggregate>
    </ecc_errors>
    <remapped_rows><remapped_row_unc>4</remapped_row_unc><remapped_row_pending>Yes</remapped_row_pending>
      <remapped_row_failure>No</remapped_row_failure></remapped_rows>
    <temperature><gpu_temp>70 C</gpu_temp><gpu_temp_slow_threshold>89 C</gpu_temp_slow_threshold></temperature>
    <power_readings><power_draw>390.10 W</power_draw><power_limit>400.00 W</power_limit>
      <default_power_limit>400.00 W</default_power_limit><enforced_power_limit>380.00 W</enforced_power_limit>
    </power_readings>
    <clocks><graphics_clock>1200 MHz</graphics_clock><sm_clock>1200 MHz</sm_clock></clocks>
    <max_clocks><graphics_clock>1410 MHz</graphics_clock><sm_clock>1410 MHz</sm_clock></max_clocks>
    <processes><process_info><pid>1</pid><type>C</type><process_name>python</process_name></process_info>
      <process_info><pid>2</pid><type>G</type><process_name>Xorg</process_name></process_info></processes>
  </gpu>
</nvidia_smi_log>
"""


def test_the_long_query_as_xml_says_the_same() -> None:
    check_query(gpu(XML))
    check_query(gpu("$ nvidia-smi -q -x\n" + XML + "$ "))
    newer = (
        XML.replace("clocks_throttle_reason", "clocks_event_reason")
        .replace("power_readings>", "gpu_power_readings>")
        .replace("<power_draw>390.10 W</power_draw>", "<average_power_draw>390.10 W</average_power_draw>")
        .replace("<power_limit>400.00 W</power_limit>", "")
        .replace("enforced_power_limit", "current_power_limit")
    )
    check_query(gpu(newer.replace("power_draw>", "power_draw>", 1)))


def test_several_documents_are_moments() -> None:
    idle = XML.replace("96 %", "0 %").replace("390.10", "60.10")

    assert gpu(idle + XML)["utilization"] == 0.96
    assert gpu(XML.replace("96 %", "90 %") + XML)["utilization"] == 0.93


def test_xml_with_entities_is_not_expanded_and_documents_are_never_fetched() -> None:
    bomb = XML.replace(
        '<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">',
        '<!DOCTYPE nvidia_smi_log [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;"><!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ).replace("NVIDIA A100-SXM4-80GB", "&b;&x;")
    with pytest.raises(InputError, match="damaged"):
        told(bomb)
    with pytest.raises(InputError, match="nested"):
        told("<nvidia_smi_log>" + "<a>" * 50 + "</a>" * 50 + "</nvidia_smi_log>")


def test_xml_without_gpus_says_what_to_do() -> None:
    with pytest.raises(InputError, match="lists no GPU"):
        told("<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>")


# --- how GPUs are connected ------------------------------------------------------------

TOPO = """\t\x1b[4mGPU0\tGPU1\tGPU2\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV12\tNV12\tPXB\tSYS\t0-31\t0\t\tN/A
GPU1\tNV12\t X \tSYS\tPXB\tSYS\t0-31\t0\t\tN/A
GPU2\tNV12\tSYS\t X \tSYS\tNODE\t32-63\t1\t\tN/A
NIC0\tPXB\tPXB\tSYS\t X \tSYS
NIC1\tSYS\tSYS\tNODE\tSYS\t X

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)

NIC Legend:

  NIC0: mlx5_0
"""


def test_the_worst_way_between_gpus_and_to_the_nearest_adapter() -> None:
    one = reading("$ nvidia-smi topo -m\n" + TOPO)
    facts = {f.name: (f.value, f.where) for f in one.facts}

    assert facts["hw.gpu.count"][0] == 3
    assert facts["hw.gpu.topology.worst_path"] == ("SYS", "gpu 1, gpu 2")
    assert facts["hw.gpu.nic.worst_path"] == ("NODE", "gpu 2")


def test_a_matrix_of_cut_lines_tells_no_way() -> None:
    cut = "\n".join(line[:16] for line in TOPO.splitlines())
    with pytest.raises(InputError):
        told(cut)


def test_peer_access() -> None:
    matrix = "\tGPU0\tGPU1\nGPU0\tX\t{}\nGPU1\tOK\tX\n\nLegend:\n  OK = Status Ok\n"

    assert gpu(matrix.format("OK"))["p2p.supported"] is True
    assert gpu(matrix.format("CNS"))["p2p.supported"] is False


def test_links_that_are_not_up_and_their_errors() -> None:
    text = """GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-aaaa)
\t Link 0: 25 GB/s
\t Link 1: <inactive>
GPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bbbb)
\t Link 0: <inactive>
\t Link 1: <inactive>
\t Link 0: Replay Errors: 2
\t Link 0: Recovery Errors: 1
\t Link 0: CRC Errors: 9
"""
    facts = gpu(text)

    assert (facts["nvlink.inactive"], facts["nvlink.replay_errors"], facts["count"]) == (2, 3, 2)


def test_the_list_of_gpus_and_their_instances() -> None:
    text = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa)
  MIG 1g.18gb     Device  0: (UUID: MIG-1)
  MIG 1g.18gb     Device  1: (UUID: MIG-2)
"""
    facts = gpu(text)

    assert (facts["count"], facts["model"], facts["mig.instance.count"]) == (1, "NVIDIA H200", 2)


def test_forms_complete_each_other() -> None:
    facts = gpu(f"$ nvidia-smi\n{TABLE}\n$ nvidia-smi topo -m\n{TOPO}\n$ nvidia-smi dmon\n{dmon(80, 90)}")

    assert (facts["utilization"], facts["utilization.spread"]) == (0.625, 0.45)  # gpu 1 from the table
    assert facts["topology.worst_path"] == "SYS"


# --- other tools and what is wrong -----------------------------------------------------


def test_gpustat() -> None:
    text = """node1  Wed Mar  6 10:00:00 2024  535.54.03
[0] NVIDIA RTX A6000 | 61'C,  98 %,  295 / 300 W | 40000 / 49140 MB | anna(39990M) ben(10M)
[1] NVIDIA RTX A6000 | 31'C,   0 % |     5 / 49140 MB |
"""
    facts = gpu(text)

    assert (facts["count"], facts["utilization"], facts["memory.usage"]) == (2, 0.49, 40000 * MIB)
    assert (facts["process.count"], facts["driver.version"], facts["power"]) == (2, "535.54.03", 295)


def test_nvitop_draws_the_same_cells() -> None:
    text = """│ NVITOP 1.3.2      Driver Version: 535.54.03      CUDA Driver Version: 12.2 │
│   0  GeForce RTX 3090    Off  │ 00000000:1A:00.0 Off │                  N/A │ MEM: ██▊ 22.2%   │
│ 30%   62C    P2   278W / 350W │ 6144MiB / 24.00GiB   │     68%      Default │ UTL: ██████ 68% │
"""
    facts = gpu(text)

    assert (facts["count"], facts["utilization"], facts["memory.utilization"], facts["power"]) == (1, 0.68, 0.25, 278)


def test_rocm_smi_as_json_of_several_releases() -> None:
    card = {
        "GPU use (%)": "93", "VRAM Total Memory (B)": "1000", "VRAM Total Used Memory (B)": "250",
        "Temperature (Sensor edge) (C)": "55.0", "Temperature (Sensor junction) (C)": "71.0",
        "sclk clock speed:": "(1500Mhz)", "pcie clock level": "1 (8.0GT/s x16)", "0": "2.5GT/s x8", "1": "16.0GT/s x16",
        "2": "1200Mhz *", "Max Graphics Package Power (W)": "290.0",
    }  # fmt: skip
    old = {**card, "Average Graphics Package Power (W)": "200.0", "Card series": "Instinct MI100"}
    new = {**card, "Current Socket Graphics Package Power (W)": "200.0", "Card Series": "Instinct MI100"}
    for each in (old, new):
        facts = gpu(
            json.dumps({"card0": each, "card1": {**each, "GPU use (%)": "N/A"}, "system": {"Driver version": "6.3.6"}})
        )
        assert (facts["count"], facts["model"], facts["driver.version"]) == (2, "Instinct MI100", "6.3.6")
        assert (facts["utilization"], facts["memory.utilization"], facts["temperature"]) == (0.93, 0.25, 55)
        assert (facts["power"], facts["power.limit"], facts["clock.sm"]) == (200, 290, 1.5e9)
        assert (facts["pcie.link.gen"], facts["pcie.link.gen.max"], facts["pcie.link.width"]) == (3, 4, 16)


def test_amd_smi_as_json_bare_and_wrapped() -> None:
    item = {
        "gpu": 0, "usage": {"gfx_activity": {"value": 88, "unit": "%"}, "umc_activity": "N/A"},
        "power": {"socket_power": {"value": 700, "unit": "W"}},
        "temperature": {"edge": "N/A", "hotspot": {"value": 61, "unit": "C"}},
        "clock": {"gfx_0": {"clk": {"value": 2000, "unit": "MHz"}, "max_clk": {"value": 2100, "unit": "MHz"}}},
        "pcie": {"width": 16, "speed": {"value": 32, "unit": "GT/s"}},
        "mem_usage": {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram": {"value": 1000, "unit": "MB"}},
    }  # fmt: skip
    for document in ([item], {"gpu_data": [item, {"gpu": 1, "usage": "N/A", "mem_usage": "N/A"}]}):
        facts = gpu(json.dumps(document, indent=2))
        assert (facts["utilization"], facts["power"], facts["temperature"]) == (0.88, 700, 61)
        assert (facts["memory.limit"], facts["clock.sm"], facts["clock.sm.max"]) == (196592 * MIB, 2e9, 2.1e9)


def test_rocm_smi_as_text() -> None:
    concise = """======================= ROCm System Management Interface =======================
GPU  Temp (DieEdge)  AvgPwr  SCLK     MCLK     Fan  Perf  PwrCap  VRAM%  GPU%
0    45.0c           236.0W  1500Mhz  1200Mhz  0%   auto  290.0W    40%   95%
1    41.0c           136.0W  300Mhz   1200Mhz  0%   auto  290.0W     0%   75%
============================= End of ROCm SMI Log ==============================
"""
    newer = """Device  Node  IDs   Temp  Power  Partitions  SCLK  MCLK  Fan  Perf  PwrCap  VRAM%  GPU%
              (DID,     GUID)  (Junction)  (Socket)  (Mem, Compute, ID)
0       2     0x74a1,   28851  41.0°C      139.0W    NPS1, SPX, 0   132Mhz  900Mhz  0%  auto  750.0W  0%   85%
"""
    values = "GPU[0]\t\t: GPU use (%): 25\nGPU[1]\t\t: GPU use (%): 75\n"

    facts = gpu(concise)
    assert (facts["count"], facts["utilization"], facts["power"], facts["power.limit"]) == (2, 0.85, 186, 290)
    assert gpu(newer)["utilization"] == 0.85
    assert (gpu(values)["utilization"], gpu(values)["utilization.spread"]) == (0.5, 0.5)


def test_a_gpu_that_the_driver_lost() -> None:
    facts = gpu(
        "$ nvidia-smi\nUnable to determine the device handle for GPU 0000:3B:00.0: GPU is lost.  Reboot the system\n"
    )

    assert (facts["count.missing"], facts["unreadable.count"]) == (1, 1)


def test_output_that_says_only_that_it_failed_says_what_to_do() -> None:
    with pytest.raises(InputError, match="driver"):
        told("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")


def test_json_that_is_cut_off_or_empty_ends_in_a_sentence() -> None:
    for text in ('{"card0": {"GPU use (%)": "93",', '{"card0": {"GPU ID": "0x1"}}', '[{"gpu": 0, "usage": "N/A"}]'):
        with pytest.raises(InputError):
            told(text)


FORMS: tuple[Callable[[], str], ...] = (
    lambda: TABLE, lambda: OLD_TABLE, lambda: QUERY, lambda: XML, lambda: CSV, lambda: dmon(1, 50, 99), lambda: TOPO,
)  # fmt: skip


def safely(text: str) -> str:
    """What came of a text: "facts", "not known", or the sentence that says why there are none."""
    try:
        if recognise(Artefact("capture.txt", data=text.encode())) is None:
            return "not known"
        told(text)
    except InputError as error:
        return str(error)
    return "facts"


def cuts() -> Iterator[str]:
    for form in FORMS:
        text = form()
        yield from (text[:end] for end in range(0, len(text), max(1, len(text) // 60)))
        lines = text.splitlines(keepends=True)
        yield from ("".join(lines[:i]) for i in range(1, len(lines)))
        yield from ("".join(lines[i:]) for i in range(1, len(lines)))


def test_output_that_is_cut_anywhere_tells_the_rest_or_ends_in_a_sentence() -> None:
    outcomes = {safely(text) for text in cuts()}

    assert "facts" in outcomes
    assert [o for o in outcomes if "\n" in o] == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(range(len(FORMS))), st.data())
def test_damaged_output_never_ends_in_anything_else(form: int, data: st.DataObject) -> None:
    text = FORMS[form]()
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(len(text), at + 30)))
        new = data.draw(st.text(st.sampled_from("0123456789.-|%:,[]<>& \n\tMiBWNA/gGPU\u20ac\u0000"), max_size=12))
        text = text[:at] + new + text[end:]
    assert "\n" not in safely(text)


@pytest.mark.parametrize(
    "hostile",
    [
        "| " * 20_000, "NVIDIA-SMI 535.54.03    Driver Version: " + "9" * 50_000, "# gpu " + "sm " * 20_000 + "\n0 1\n",
        "==NVSMI LOG==\n" + "GPU 00000000:07:00.0\n" * 5_000, "utilization.gpu [%]\n" + "9" * 30_000,
        "GPU0\tGPU1\n" + "GPU0 " + "X " * 20_000, HEAD * 200, ("Link 0: 25 GB/s " * 2000 + "(UUID: GPU-a)\n") * 3,
        "MiB / 1MiB |" * 5_000, "utilization.gpu," * 5_000, "GPU[0]: a: " * 5_000, "--query-gpu=a" * 3_000,
    ],
)  # fmt: skip
def test_hostile_text_is_read_in_a_moment(hostile: str) -> None:
    began = time.process_time()

    assert "\n" not in safely(hostile)
    assert time.process_time() - began < 10


# --- real captures ---------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize(
    ("name", "util", "encoder", "watts"),
    [
        ("linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01", 1.0, 0.0, 630),
        ("linux-x86_64__nvidia-l40s__595.80", 0.10, 0.67, 109),
        ("linux-x86_64__nvidia-geforce-rtx-4080-super__595.71.05", 0.07, 0.69, 83),
        ("windows-x86_64__nvidia-geforce-rtx-2080-super__591.86", 0.08, 1.0, 98),
    ],
)
def test_captures_tell_of_their_load(name: str, util: float, encoder: float, watts: float) -> None:
    facts = gpu((SHARED / "nvidia_smi_text" / "captures" / f"{name}.txt").read_bytes())

    assert facts["utilization"] == pytest.approx(util, abs=0.011)
    assert facts["encoder.utilization"] == pytest.approx(encoder, abs=0.05)
    assert facts["power"] == pytest.approx(watts, rel=0.015)


@needs_samples
def test_no_capture_of_a_healthy_machine_gives_a_serious_finding(tmp_path: Path) -> None:
    advisor = Advisor(data=tmp_path)
    folders = ("nvidia_smi_text/captures", "nvidia_smi_xml", "rocm_smi_json")
    for path in (p for folder in folders for p in sorted((SHARED / folder).iterdir())):
        (diagnosis,) = advisor.diagnose_files([path])
        assert not [f.rule.id for f in diagnosis.findings if f.rule.severity in ("serious", "critical")], path.name
