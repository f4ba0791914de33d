"""The GPU collector through the real NVML binding, against a stand-in driver library compiled here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from nvml.machine import Machine

from advisor.pipeline import Advisor

HERE = Path(__file__).parent
HEALTHY = (HERE / "nvml/healthy.txt").read_text(encoding="utf-8")
Watch = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, "-o", folder / "libnvidia-ml.so.1", *(HERE / "nvml").glob("*.c")], check=True)
    return folder


def _run(code: list[str], driver: Path, tmp_path: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    env = os.environ | {"LD_LIBRARY_PATH": str(driver), "STANDIN_NVML": str(tmp_path / "answers.txt")}
    env["PYTHONPATH"] = str(HERE.parent)
    return subprocess.run([sys.executable, *code], input=text, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def watch(driver: Path, tmp_path: Path) -> Watch:
    """A call with one text per sample, a second apart; each text is lines over HEALTHY, or over `base`."""

    def run(*changes: str, pid: int | None = None, proc: Path | str = "/proc", base: str = HEALTHY) -> dict[str, Any]:
        steps = [json.dumps({"answers": f"{base}{change}\n", "t": 10.0 + i}) for i, change in enumerate(changes)]
        args = ["-" if pid is None else str(pid), str(proc), str(tmp_path / "sys")]
        done = _run([str(HERE / "nvml/watch.py"), *args], driver, tmp_path, "\n".join(steps))
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        facts = found["facts"]
        assert len({f["name"] for f in facts}) == len(facts), "a fact is given twice"
        return (
            found
            | {"value": {f["name"]: f["value"] for f in facts}}
            | {"where": {f["name"]: f["where"] for f in facts}}
        )

    return run


def test_eight_healthy_gpus(watch: Watch) -> None:
    found = watch("", "", "")
    value = found["value"]
    assert value["hw.gpu.count"] == 8
    assert value["hw.gpu.model"] == "NVIDIA H100 80GB HBM3"
    assert value["hw.gpu.compute_capability"] == "9.0"
    assert value["hw.gpu.driver.cuda_version"] == "13.0"
    assert value["hw.gpu.utilization"] == pytest.approx(0.97)
    assert value["hw.gpu.utilization.spread"] == 0
    assert value["hw.gpu.power"] == 560
    assert value["hw.gpu.power.limit.utilization"] == pytest.approx(0.8)
    assert value["hw.gpu.temperature.margin"] == 27
    assert value["hw.gpu.clock.sm"] == pytest.approx(1935e6)
    assert value["hw.gpu.clock.sm.ratio"] == pytest.approx(1935 / 1980)
    assert value["hw.gpu.memory.utilization"] == pytest.approx(64424509440 / 85520809984)
    assert value["hw.gpu.pcie.link.width.ratio"] == 1
    assert value["hw.gpu.pcie.rx.rate"] == pytest.approx(2000 * 2**20)
    assert value["hw.gpu.compute_mode"] == "default"
    assert value["hw.gpu.nvlink.inactive"] == 0
    assert value["hw.gpu.topology.worst_path"] == "NV18"
    assert value["hw.gpu.p2p.supported"] is True
    assert (value["hw.gpu.xid.last"], value["hw.gpu.xid.count"]) == (0, 0)
    assert value["hw.gpu.persistence_mode"] is True
    assert value["hw.gpu.mig.mode"] is False
    assert value["hw.gpu.process.count"] == 0
    throttles = {name: v for name, v in value.items() if ".throttle." in name}
    assert len(throttles) == 9
    assert set(throttles.values()) == {0}
    assert found["series"] == ["hw.gpu.utilization"]
    assert found["note"] == ""


def test_every_fact_is_in_the_vocabulary_with_its_unit(watch: Watch) -> None:
    vocabulary = yaml.safe_load((HERE.parent / "knowledge/facts.yaml").read_text(encoding="utf-8"))["facts"]
    units = {f["name"]: f["unit"] for f in vocabulary}
    old = f"* field.29 1 0\n* field.30 1 0\n* field.31 1 0\n* proc {os.getpid()} 1000\n4 mig 1\n* margin 20"
    found = watch(old, old, old, pid=os.getpid())
    assert {f["name"]: f["unit"] for f in found["facts"]}.items() <= units.items()


def test_one_gpu_throttled_by_heat(watch: Watch) -> None:
    hot = "3 reasons 0x60\n3 temperature 88\n3 sm_clock 1200"
    found = watch("", hot, hot, hot)
    value, where = found["value"], found["where"]
    assert value["hw.gpu.throttle.hw_thermal.fraction"] == pytest.approx(0.75)
    assert value["hw.gpu.throttle.sw_thermal.fraction"] == pytest.approx(0.75)
    assert value["hw.gpu.throttle.thermal.fraction"] == pytest.approx(0.75)
    assert value["hw.gpu.throttle.power_cap.fraction"] == 0
    assert value["hw.gpu.temperature"] == 88
    assert value["hw.gpu.temperature.margin"] == 1
    slow = (1935 + 3 * 1200) / 4
    assert value["hw.gpu.clock.spread"] == pytest.approx((1935 - slow) / 1935)
    assert value["hw.gpu.clock.sm"] == pytest.approx(slow * 1e6)
    for name in ("throttle.hw_thermal.fraction", "temperature", "clock.spread", "clock.sm.ratio"):
        assert where[f"hw.gpu.{name}"] == "gpu 3"


def test_idle_samples_do_not_count_as_throttled_or_degraded(watch: Watch) -> None:
    idle = "* util 3\n* reasons 0x24\n* sm_clock 345\n* gen 1"
    value = watch(idle, idle, "")["value"]
    assert value["hw.gpu.throttle.power_cap.fraction"] == 0
    assert value["hw.gpu.clock.sm.ratio"] == pytest.approx(1935 / 1980)
    assert value["hw.gpu.pcie.link.gen.ratio"] == 1
    never_busy = watch(idle, idle)["value"]
    for name in ("clock.sm.ratio", "pcie.link.gen.ratio", "throttle.power_cap.fraction", "clock.sm"):
        assert f"hw.gpu.{name}" not in never_busy


def test_power_cap_below_the_factory_limit(watch: Watch) -> None:
    capped = "* power_limit 400000\n* power 399000\n* reasons 0x4"
    value = watch(capped, capped)["value"]
    assert value["hw.gpu.throttle.power_cap.fraction"] == 1
    assert (value["hw.gpu.power.limit"], value["hw.gpu.power.limit.default"]) == (400, 700)
    assert value["hw.gpu.power.limit.utilization"] == pytest.approx(399 / 400)


def test_pcie_facts_come_from_the_gpu_with_the_worst_link(watch: Watch) -> None:
    # GPU 5 has a quarter of the lanes, GPU 2 half the rate, GPU 7 the most traffic: 5 is the worst.
    bad = "5 width 4\n2 gen 4\n7 gpm.20 9000\n5 gpm.20 100\n5 gpm.21 300"
    found = watch(bad, bad)
    value, where = found["value"], found["where"]
    assert [value[f"hw.gpu.pcie.link.{k}"] for k in ("width", "width.max", "width.ratio")] == [4, 16, 0.25]
    assert [value[f"hw.gpu.pcie.link.{k}"] for k in ("gen", "gen.max", "gen.ratio")] == [5, 5, 1]
    assert [value[f"hw.gpu.pcie.{k}.rate"] for k in ("tx", "rx")] == [100 * 2**20, 300 * 2**20]
    assert {where[name] for name in value if name.startswith("hw.gpu.pcie.") and "replay" not in name} == {"gpu 5"}


def test_of_equally_good_links_the_busiest_is_told(watch: Watch) -> None:
    busiest = "7 gpm.20 9000\n3 gpm.21 5000"
    found = watch(busiest, busiest)
    assert found["value"]["hw.gpu.pcie.tx.rate"] == 9000 * 2**20
    assert found["value"]["hw.gpu.pcie.rx.rate"] == 2000 * 2**20
    assert found["where"]["hw.gpu.pcie.link.width"] == "gpu 7"


def test_mig_hides_utilization_and_nothing_is_guessed(watch: Watch) -> None:
    mig = "* mig 1\n* util !3\n* reasons 0x4\n3 mig.0 MIG-a\n3 mig.2 MIG-b"
    found = watch(mig, mig)
    value = found["value"]
    assert value["hw.gpu.mig.mode"] is True
    guessed = ("hw.gpu.utilization", "hw.gpu.throttle.", "hw.gpu.clock.")
    assert [n for n in value if n.startswith(guessed)] == ["hw.gpu.clock.sm.max"]
    assert value["hw.gpu.memory.usage"] == 64424509440
    assert value["hw.gpu.mig.instance.count"] == 2
    assert not any(name.endswith(".active") for name in value)
    split = "split by MIG, whose parts have no utilization, clocks or links to judge"
    assert found["note"] == f"gpu 0, 1, 2, 3, 4, 5, 6, 7: {split}"  # and no call that is not supported is trouble


def test_one_call_that_fails_costs_one_number(watch: Watch) -> None:
    found = watch("2 power !999", "2 power !999")
    assert found["value"]["hw.gpu.power"] == 560
    assert found["value"]["hw.gpu.utilization"] == pytest.approx(0.97)
    assert found["note"] == "gpu 2: nvmlDeviceGetPowerUsage failed (Unknown Error)"


def test_a_lost_gpu_is_named_and_the_others_are_judged(watch: Watch) -> None:
    found = watch("6 handle !15")
    assert found["value"]["hw.gpu.count"] == 8
    assert found["value"]["hw.gpu.utilization"] == pytest.approx(0.97)
    assert found["note"] == "gpu 6: nvmlDeviceGetHandleByIndex failed (GPU is lost)"


def test_only_the_gpus_of_the_job_are_judged(watch: Watch) -> None:
    me = os.getpid()
    job = f"0 util 5\n1 proc {me} 30000000000\n2 proc {me} 30000000000\n2 proc 1 7000000000\n2 util 77"
    found = watch(job, job, pid=me)
    value = found["value"]
    assert value["hw.gpu.utilization"] == pytest.approx((0.97 + 0.77) / 2)
    assert value["hw.gpu.utilization.spread"] == pytest.approx(0.20)
    assert found["where"]["hw.gpu.utilization.spread"] == "gpu 2"
    assert value["hw.gpu.process.count"] == 2
    assert value["hw.gpu.process.foreign_memory"] == 7e9
    assert value["hw.gpu.count"] == 8
    assert found["note"] == "judged: the GPUs that the job computes on (1, 2)"


def test_processes_of_another_namespace_are_not_called_foreign(watch: Watch) -> None:
    found = watch("* proc 1 7000000000", pid=os.getpid())
    assert "hw.gpu.process.foreign_memory" not in found["value"]
    assert found["note"] == "NVML lists no process of this job on any GPU, so all GPUs are judged"


def test_every_reason_for_lower_clocks_by_itself(watch: Watch) -> None:
    bits = {"power_cap": 4, "hw_slowdown": 8, "sync_boost": 16, "sw_thermal": 32, "hw_thermal": 64}
    bits |= {"power_brake": 128, "app_clocks": 2, "display_clocks": 256}
    value = watch("\n".join(f"{i} reasons {bit}" for i, bit in enumerate(bits.values())))["value"]
    assert {name: value[f"hw.gpu.throttle.{name}.fraction"] for name in bits} == dict.fromkeys(bits, 1)
    one = watch("3 reasons 0x10")["value"]
    assert [name for name in bits if one[f"hw.gpu.throttle.{name}.fraction"]] == ["sync_boost"]


def test_the_thermal_margin_is_to_the_devices_nearest_limit(watch: Watch) -> None:
    assert watch("* gpu_max 87")["value"]["hw.gpu.temperature.margin"] == 25
    assert watch("* gpu_max 87\n3 margin 11")["value"]["hw.gpu.temperature.margin"] == 11  # the driver's own count


def test_retired_pages_and_compute_mode(watch: Watch) -> None:
    old = "* field.29 1 0\n* field.30 1 0\n* field.31 1 0\n5 field.29 1 3\n5 field.30 1 4\n6 field.31 1 1"
    found = watch(f"{old}\n2 compute_mode 3")
    assert found["value"]["hw.gpu.retired_pages.count"] == 7
    assert found["value"]["hw.gpu.retired_pages.pending"] is True
    assert found["where"]["hw.gpu.retired_pages.pending"] == "gpu 6"
    assert found["value"]["hw.gpu.compute_mode"] == "exclusive_process"
    assert "hw.gpu.retired_pages.count" not in watch("")["value"]  # a card that remaps rows


def test_health_counters_and_replays(watch: Watch) -> None:
    found = watch("", "4 ecc 2\n4 remapped 0 3 1 0\n7 replays 30")
    value, where = found["value"], found["where"]
    assert (value["hw.gpu.ecc.uncorrectable.volatile"], where["hw.gpu.ecc.uncorrectable.volatile"]) == (2, "gpu 4")
    assert (value["hw.gpu.row_remap.pending"], value["hw.gpu.row_remap.failed"]) == (True, False)
    assert value["hw.gpu.row_remap.uncorrectable"] == 3
    assert value["hw.gpu.pcie.replay.rate"] == pytest.approx(30 * 60)


def test_a_driver_without_gpus_is_a_fact(watch: Watch) -> None:
    found = watch("- count 0")
    assert found["value"]["hw.gpu.count"] == 0
    assert found["note"] == "the NVIDIA driver shows no GPU"


@pytest.mark.parametrize(
    ("code", "state", "note"),
    [
        (9, "absent", "the NVIDIA driver is installed but not loaded"),
        (4, "denied", "the NVIDIA driver may not be used by this user"),
        (999, "unreadable", "NVML could not be read: nvmlInit failed (Unknown Error)"),
    ],
)
def test_init_failures_are_states(driver: Path, tmp_path: Path, code: int, state: str, note: str) -> None:
    (tmp_path / "answers.txt").write_text(f"- init !{code}\n", encoding="utf-8")
    program = (
        "from advisor.collect.sampler import Sampler; from advisor.collect.gpu import Gpu\n"
        "s = Sampler([Gpu()]); s.start(); s.stop(); r = s.readings()[0].source; print(r.state, r.note, sep='|')"
    )
    done = _run(["-c", program], driver, tmp_path)
    assert done.stdout.strip() == f"{state}|{note}", done.stderr


def links(gpus: str, count: int, kind: str = "2 0000:05:00.0", on: int = 1) -> str:
    return "\n".join(f"{gpus} link.{n} {on} {kind}" for n in range(count))


def test_nvlink_traffic_is_the_sum_of_all_links_over_the_whole_time(watch: Watch) -> None:
    steps = [f"2 field.138 3 {1000 + n * 50000}\n2 field.138.4 3 {1000 + n * 70000}" for n in range(3)]
    found = watch(*(f"* gpm.61 !3\n{step}" for step in steps))
    assert found["value"]["hw.gpu.nvlink.tx.rate"] == pytest.approx((17 * 50000 + 70000) * 1024)
    assert found["where"]["hw.gpu.nvlink.tx.rate"] == "gpu 2"


def test_nvlink_traffic_from_the_newest_counters_and_else_from_the_metrics(watch: Watch) -> None:
    none = "* field.138 !3"
    newest = [f"{none}\n* gpm.61 !3\n* field.202 3 {n * 1000}" for n in range(2)]
    assert watch(*newest)["value"]["hw.gpu.nvlink.tx.rate"] == pytest.approx(18 * 1000)
    for silent in (none, ""):  # a counter that is not there, and one that stands still
        assert watch(silent, silent)["value"]["hw.gpu.nvlink.tx.rate"] == pytest.approx(50000 * 2**20)
    nothing = f"{none}\n* gpm 0"
    assert "hw.gpu.nvlink.tx.rate" not in watch(nothing, nothing)["value"]


def test_links_that_are_off_and_links_with_errors(watch: Watch) -> None:
    off = "4 link.17 0"
    found = watch(off, off, f"{off}\n6 field.163.3 3 250\n1 field.161.0 3 2\n1 field.162.9 3 1")
    value, where = found["value"], found["where"]
    assert (value["hw.gpu.nvlink.inactive"], where["hw.gpu.nvlink.inactive"]) == (1, "gpu 4")
    assert (value["hw.gpu.nvlink.crc_errors.rate"], where["hw.gpu.nvlink.crc_errors.rate"]) == (125, "gpu 6")
    assert (value["hw.gpu.nvlink.replay_errors"], where["hw.gpu.nvlink.replay_errors"]) == (3, "gpu 1")
    assert (value["hw.gpu.topology.worst_path"], where["hw.gpu.topology.worst_path"]) == ("NV17", "gpu 0, gpu 4")


def test_errors_before_watching_began_are_history(watch: Watch) -> None:
    old = "* field.161 3 40\n* field.163 3 100000"
    value = watch(old, old)["value"]
    assert (value["hw.gpu.nvlink.replay_errors"], value["hw.gpu.nvlink.crc_errors.rate"]) == (0, 0)


def test_totals_over_all_links_where_a_card_has_them(watch: Watch) -> None:
    none = "* field.161 !3\n* field.162 !3\n* field.163 !3"
    steps = [f"{none}\n* field.38 3 {n * 7}\n* field.52 3 {n * 2}\n* field.59 3 {n}" for n in range(2)]
    value = watch(*steps)["value"]
    assert (value["hw.gpu.nvlink.crc_errors.rate"], value["hw.gpu.nvlink.replay_errors"]) == (7, 3)


def test_a_counter_that_one_link_lacks_is_missing_and_not_too_small(watch: Watch) -> None:
    lacks = "* field.163.5 !2"
    value = watch(lacks, lacks)["value"]
    assert "hw.gpu.nvlink.crc_errors.rate" not in value
    assert value["hw.gpu.nvlink.replay_errors"] == 0


def test_a_failed_call_for_fields_costs_the_link_counters(watch: Watch) -> None:
    found = watch("3 fields !999", "3 fields !999")
    assert found["value"]["hw.gpu.utilization"] == pytest.approx(0.97)
    assert found["note"] == "gpu 3: nvmlDeviceGetFieldValues failed (Unknown Error)"


L4 = HEALTHY + "* link.0 !3\n* field.91 !3\n* gpm 0\n* p2p.2 5\n"


def test_cards_without_nvlink(watch: Watch) -> None:
    found = watch("", "", base=L4)
    value = found["value"]
    assert value["hw.gpu.topology.worst_path"] == "SYS"
    quiet = ("nvlink.inactive", "nvlink.tx.rate", "nvlink.crc_errors.rate", "nvlink.replay_errors")
    assert {value[f"hw.gpu.{name}"] for name in quiet} == {0}
    assert not any(name.endswith(".active") for name in value)
    assert value["hw.gpu.pcie.rx.rate"] == pytest.approx(2.5e9)  # from nvmlDeviceGetPcieThroughput
    assert found["note"] == ""


@pytest.mark.parametrize(
    ("level", "name"), [(0, "PIX"), (10, "PIX"), (20, "PXB"), (30, "PHB"), (40, "NODE"), (50, "SYS")]
)
def test_ways_without_nvlink_have_the_names_of_nvidia_smi(watch: Watch, level: int, name: str) -> None:
    found = watch(f"* ancestor 10\n2 ancestor@6 {level}", base=L4)
    assert found["value"]["hw.gpu.topology.worst_path"] == name
    if name != "PIX":
        assert found["where"]["hw.gpu.topology.worst_path"] == "gpu 2, gpu 6"


def test_one_pair_without_nvlink_is_the_worst(watch: Watch) -> None:
    found = watch("1 p2p.2@5 5\n1 ancestor@5 30\n1 p2p.0@5 3")
    assert (found["value"]["hw.gpu.topology.worst_path"], found["value"]["hw.gpu.p2p.supported"]) == ("PHB", False)
    assert found["where"]["hw.gpu.p2p.supported"] == "gpu 1, gpu 5"


def test_the_way_between_gpus_that_are_not_the_jobs_does_not_matter(watch: Watch) -> None:
    apart = f"* ancestor 50\n5 p2p.2 5\n2 proc {os.getpid()} 1000\n7 proc {os.getpid()} 1000"
    found = watch(apart, pid=os.getpid())
    assert found["value"]["hw.gpu.topology.worst_path"] == "NV18"
    assert found["where"]["hw.gpu.topology.worst_path"] == "gpu 2, gpu 7"


def test_links_that_could_not_be_asked_are_unknown(watch: Watch) -> None:
    failing = "- count 1\n" + "\n".join(f"0 link.{n} !999" for n in range(18))
    found = watch(failing, failing)
    assert not any(".nvlink." in name for name in found["value"] if name != "hw.gpu.nvlink.tx.rate")
    assert found["value"]["hw.gpu.nvlink.tx.rate"] == pytest.approx(50000 * 2**20)  # from the metrics
    assert found["note"] == "gpu 0: nvmlDeviceGetNvLinkState failed (Unknown Error)"


def test_links_straight_from_gpu_to_gpu(watch: Watch) -> None:
    bridged = "\n".join(("- count 2", links("0", 12, "0 0000:2a:00.0"), links("1", 12, "0 0000:18:00.0")))
    rest = "\n".join(f"* link.{n} 0" for n in range(12, 18))
    value = watch(f"{bridged}\n{rest}")["value"]
    assert (value["hw.gpu.topology.worst_path"], value["hw.gpu.nvlink.inactive"]) == ("NV12", 6)


def test_a_way_that_is_not_told_is_no_worst_way(watch: Watch) -> None:
    value = watch("3 ancestor@4 !999\n3 p2p.2@4 5")["value"]
    assert "hw.gpu.topology.worst_path" not in value
    assert value["hw.gpu.p2p.supported"] is True


def test_one_gpu_has_no_way_to_another(watch: Watch) -> None:
    value = watch("- count 1")["value"]
    assert not {"hw.gpu.topology.worst_path", "hw.gpu.p2p.supported"} & value.keys()


def test_performance_metrics_are_means_over_the_gpus(watch: Watch) -> None:
    value = watch("", "1 gpm.2 8.5", "1 gpm.2 8.5")["value"]
    assert value["hw.gpu.sm.active"] == pytest.approx((7 * 0.885 + 0.085) / 8)
    names = ("tensor.active", "dram.active", "fp64.active", "sm.occupancy")
    assert [value[f"hw.gpu.{name}"] for name in names] == pytest.approx([0.55, 0.62, 0.0, 0.4])
    assert "hw.gpu.sm.active" not in watch("")["value"]  # one sample has nothing to compare


def test_a_metric_that_is_not_offered_is_missing(watch: Watch) -> None:
    value = watch("* gpm.11 !3\n* gpm.20 !3", "* gpm.11 !3\n* gpm.20 !3", "* gpm.11 !3\n* gpm.20 !3")["value"]
    assert "hw.gpu.fp64.active" not in value
    assert value["hw.gpu.sm.active"] == pytest.approx(0.885)
    assert value["hw.gpu.pcie.tx.rate"] == pytest.approx(1.5e9)  # asked for by itself then


def test_metrics_that_are_denied_are_named_once_and_the_rest_goes_on(watch: Watch) -> None:
    denied = "5 gpm_get !4"
    found = watch(denied, denied, denied)
    assert found["value"]["hw.gpu.sm.active"] == pytest.approx(0.885)
    assert found["note"] == "gpu 5: nvmlGpmSampleGet failed (Insufficient Permissions)"


def test_buffers_of_the_driver_are_given_back(driver: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text(HEALTHY, encoding="utf-8")
    program = """
import gc, pynvml
from advisor.collect.gpu import Gpu
g = Gpu(); g.read(); g.read()
print(pynvml.nvmlLib.standin_live_samples())
del g; gc.collect()
print(pynvml.nvmlLib.standin_live_samples())
"""
    done = _run(["-c", program], driver, tmp_path)
    assert done.stdout.split() == ["16", "0"], done.stderr


def test_link_counters_keep_to_their_share_of_time(driver: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text(HEALTHY, encoding="utf-8")
    program = """
import pynvml, time
from advisor.collect import gpu_counters
from advisor.collect.gpu_nvml import Nvml
nvml = Nvml()
gpu_counters.LINK_BUDGET = 1e-9
counters = gpu_counters.LinkCounters(nvml, "gpu 0", pynvml.nvmlDeviceGetHandleByIndex(0), [0, 1])
print(*(sorted(counters.read()) for _ in range(3)), sep="|")
"""
    done = _run(["-c", program], driver, tmp_path)
    assert done.stdout.strip() == "['crc', 'replay', 'tx']|['crc', 'replay', 'tx']|[]", done.stderr


def test_xids_while_watching(watch: Watch) -> None:
    found = watch("", "2 xid 31", "2 xid 31\n6 xid 79\n6 xid 154\n6 xid 45")
    assert found["value"]["hw.gpu.xid.last"] == 79  # 154 and 45 only follow from it
    assert found["where"]["hw.gpu.xid.last"] == "gpu 6"
    assert found["value"]["hw.gpu.xid.count"] == 4


def test_xids_of_gpus_that_are_not_the_jobs(watch: Watch) -> None:
    job = f"1 proc {os.getpid()} 1000"
    value = watch(job, f"{job}\n6 xid 79", pid=os.getpid())["value"]
    assert (value["hw.gpu.xid.last"], value["hw.gpu.xid.count"]) == (0, 0)


@pytest.mark.parametrize("refusal", ["* events 0", "* register !4", "* events !3"])
def test_where_xids_cannot_be_watched_they_are_unknown(watch: Watch, refusal: str) -> None:
    found = watch(refusal, f"{refusal}\n2 xid 79")
    assert not {"hw.gpu.xid.last", "hw.gpu.xid.count"} & found["value"].keys()
    assert found["note"] == ""


def test_no_xid_is_only_said_when_every_gpu_is_watched(watch: Watch) -> None:
    assert "hw.gpu.xid.last" not in watch("4 events 0")["value"]
    assert watch("4 events 0", "4 events 0\n5 xid 13")["value"]["hw.gpu.xid.last"] == 13


UUID = [f"GPU-{str(i) * 8}-0000-1111-2222-333333333333" for i in range(8)]
JOB = 4321


@pytest.fixture
def proc(tmp_path: Path) -> Callable[..., Path]:
    """A call that makes a /proc with the processes of a job, given the environment of the first one."""

    def make(children: int = 0, **environ: str) -> Path:
        root = tmp_path / "proc"
        for pid in range(JOB, JOB + 1 + children):
            (root / str(pid)).mkdir(parents=True, exist_ok=True)
            (root / str(pid) / "stat").write_text(f"{pid} (python) S {JOB if pid > JOB else 1} 0", encoding="utf-8")
        text = "\0".join(f"{name}={value}" for name, value in {"HOME": "/root", **environ}.items())
        (root / str(JOB) / "environ").write_text(text + "\0", encoding="utf-8")
        return root

    return make


@pytest.mark.parametrize(
    ("environ", "gpus"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2,5"}, "2, 5"),
        ({"CUDA_VISIBLE_DEVICES": "6,1,-1,3"}, "1, 6"),  # CUDA stops at the first invalid one
        ({"CUDA_VISIBLE_DEVICES": f"{UUID[3]},GPU-7"}, "3, 7"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-a1b2"}, "4"),
        ({"CUDA_VISIBLE_DEVICES": f"MIG-{UUID[6]}/7/0"}, "6"),
        ({"NVIDIA_VISIBLE_DEVICES": f"{UUID[0]},{UUID[1]}"}, "0, 1"),
        ({"NVIDIA_VISIBLE_DEVICES": "4,5,6", "CUDA_VISIBLE_DEVICES": "0,2"}, "4, 6"),
        ({"NVIDIA_VISIBLE_DEVICES": "all", "CUDA_VISIBLE_DEVICES": "7"}, "7"),
    ],
)
def test_gpus_by_the_environment_where_nvml_lists_no_process_of_the_job(
    watch: Watch, proc: Callable[..., Path], environ: dict[str, str], gpus: str
) -> None:
    used = "".join(f"{i} util 55\n" for i in gpus.split(", ")) + "4 mig 1\n4 mig.3 MIG-a1b2-c3"
    found = watch(used, used, pid=JOB, proc=proc(**environ))
    assert found["value"]["hw.gpu.utilization"] == pytest.approx(0.55)
    name = "CUDA_VISIBLE_DEVICES" if "CUDA_VISIBLE_DEVICES" in environ else "NVIDIA_VISIBLE_DEVICES"
    silence = "NVML lists no process of this job on any GPU, so"
    assert found["note"].split("; ")[0] == f"{silence} those that {name} gives it are judged ({gpus})"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CUDA_VISIBLE_DEVICES": "12"},
        {"CUDA_VISIBLE_DEVICES": "GPU-dead"},
        {"CUDA_VISIBLE_DEVICES": "GPU-"},  # fits all of them
        {"NVIDIA_VISIBLE_DEVICES": "1,9"},  # numbers of the host, seen inside the container
        {"NVIDIA_VISIBLE_DEVICES": "void"},
    ],
)
def test_an_environment_that_does_not_fit_is_not_believed(
    watch: Watch, proc: Callable[..., Path], environ: dict[str, str]
) -> None:
    found = watch("", pid=JOB, proc=proc(**environ))
    assert found["value"]["hw.gpu.memory.usage"] > 0
    assert found["note"] == "NVML lists no process of this job on any GPU, so all GPUs are judged"


def test_numbers_are_not_believed_where_cuda_may_count_in_another_order(
    watch: Watch, proc: Callable[..., Path]
) -> None:
    mixed = "3 name NVIDIA T4"
    assert "all GPUs" in watch(mixed, pid=JOB, proc=proc(CUDA_VISIBLE_DEVICES="3"))["note"]
    ordered = proc(CUDA_VISIBLE_DEVICES="3", CUDA_DEVICE_ORDER="PCI_BUS_ID")
    assert watch(mixed, pid=JOB, proc=ordered)["value"]["hw.gpu.model"] == "NVIDIA T4"


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_job_that_may_use_no_gpu(watch: Watch, proc: Callable[..., Path], value: str) -> None:
    found = watch("", "", pid=JOB, proc=proc(CUDA_VISIBLE_DEVICES=value))
    assert not any(name.startswith(("hw.gpu.util", "hw.gpu.clock", "hw.gpu.memory")) for name in found["value"])
    assert found["value"]["hw.gpu.count"] == 8
    assert found["note"].endswith("none is judged: CUDA_VISIBLE_DEVICES hides all of them from it")


def test_a_process_seen_once_decides_over_the_environment(watch: Watch, proc: Callable[..., Path]) -> None:
    root = proc(CUDA_VISIBLE_DEVICES="1")
    found = watch("", f"6 proc {JOB} 1000\n6 util 12", "", pid=JOB, proc=root)
    assert found["where"]["hw.gpu.clock.sm"] == "gpu 6"
    assert found["note"] == "judged: the GPUs that the job computes on (6)"


def test_memory_and_number_of_the_jobs_and_of_other_processes(watch: Watch) -> None:
    me = os.getpid()
    job = f"1 proc {me} 3000\n1 proc 1 500\n1 proc 2 200\n2 proc {me} 7000"
    value = watch(job, job, pid=me)["value"]
    assert value["hw.gpu.process.memory"] == 7000
    assert (value["hw.gpu.process.foreign_memory"], value["hw.gpu.process.foreign_count"]) == (700, 2)


def test_memory_that_the_driver_does_not_tell_is_not_zero(watch: Watch) -> None:
    unknown = 2**64 - 1
    job = f"* proc {os.getpid()} {unknown}\n1 proc 1 {unknown}"
    value = watch(job, pid=os.getpid())["value"]
    assert value["hw.gpu.process.foreign_count"] == 1
    assert "hw.gpu.process.memory" not in value
    assert value["hw.gpu.process.foreign_memory"] == 0  # on the GPUs without others


def test_gpus_on_the_bus_and_adapters_beside_them(watch: Watch, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for bus, node in (("18", 0), ("2a", 0), ("9a", 1)):
        machine.gpu(f"pci0000:{bus}/0000:{bus}:01.0/0000:{bus}:00.0", node)
    machine.adapter("pci0000:18/0000:18:02.0/0000:19:00.0", "mlx5_0")
    found = watch("- count 2", proc=machine.proc)
    value, where = found["value"], found["where"]
    assert (value["hw.gpu.count.missing"], where["hw.gpu.count.missing"]) == (1, "0000:9a:00.0")
    assert (value["hw.gpu.nic.worst_path"], where["hw.gpu.nic.worst_path"]) == ("NODE", "gpu 1")
    assert found["note"] == "NVML does not list these GPUs on the PCI bus: 0000:9a:00.0"
    machine.within("pid:[4026532838]", "/")
    given = watch("- count 2", proc=machine.proc)
    assert "hw.gpu.count.missing" not in given["value"]
    assert given["note"].startswith("NVML lists 2 of 3 GPUs on the PCI bus; the others may be kept from this")


def test_the_stand_in_rejects_what_nvml_rejects(driver: Path, tmp_path: Path) -> None:
    (tmp_path / "answers.txt").write_text(HEALTHY + "0 power !3\n", encoding="utf-8")
    program = """
import ctypes, pynvml as n
def code(f, *a):
    try: f(*a)
    except n.NVMLError as e: return e.value
    return 0
n.nvmlInit(); h = n.nvmlDeviceGetHandleByIndex(0); n.nvmlShutdown()
print(code(n.nvmlDeviceGetCount), code(n.nvmlDeviceGetName, h))
n.nvmlInit()
print(code(n.nvmlDeviceGetHandleByIndex, 8), code(n.nvmlDeviceGetClockInfo, h, 9), code(n.nvmlDeviceGetPowerUsage, h))
f = n.nvmlDeviceGetFieldValues(h, [91, 999, 5])
print([v.nvmlReturn for v in f], code(n.nvmlDeviceGetFieldValues, h, []))
print(*(code(n.nvmlDeviceGetNvLinkState, h, link) for link in (99, 18)), code(n.nvmlDeviceGetP2PStatus, h, h, 9))
g = n.c_nvmlGpmMetricsGet_t(); a, b = n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()
def metrics(version, count, older, newer):
    g.version, g.numMetrics, g.sample1, g.sample2 = version, count, older, newer
    return code(n.nvmlGpmMetricsGet, g)
never = metrics(1, 1, a, b); n.nvmlGpmSampleGet(h, a); n.nvmlGpmSampleGet(h, b)
print(never, metrics(2, 1, a, b), metrics(1, 0, a, b), metrics(1, 1, b, a), metrics(1, 1, a, b))
print(g.metrics[0].nvmlReturn)
e = n.nvmlEventSetCreate()
print(code(n.nvmlEventSetWait, e, 0), *(code(n.nvmlDeviceRegisterEvents, h, types, e) for types in (0, 1 << 40)))
print(code(n.nvmlDeviceGetMigDeviceHandleByIndex, h, 0))
"""
    done = _run(["-c", program], driver, tmp_path)
    said = ["1 1", "2 2 3", "[0, 2, 3] 2", "2 2 2", "2 25 2 2 0", "2", "10 2 3", "3"]
    assert done.stdout.splitlines() == said, done.stderr


RANKS = "\n".join(f"{i} proc {JOB + i} 60000000000" for i in range(8))
SINGLE: dict[str, Any] = {"config.model.dtype": "float32", "config.input.dtype": "float32"}
TRAINING = {
    "run.phase": "training",
    "run.gpu.used": True,
    "run.duration": 120,
    "config.distributed.local_world_size": 8,
}
EXPOSED = {**TRAINING, "trace.comm.exposed.fraction": 0.4}
PCIE_ONLY = "* p2p.2 5\n* ancestor 30"
UNUSED = "* gpm.20 9000\n* gpm.61 0"
RULES = {  # per rule what the driver says at each of three moments, and what else is known of the run
    "nvlink-errors": (["", "3 field.163.2 3 300", "3 field.163.2 3 600"], {}),
    "nvlink-inactive-links": (["4 link.17 0\n4 link.16 0"] * 3, {}),
    "nvlink-unused": ([UNUSED] * 3, EXPOSED),
    "tp-over-pcie": ([PCIE_ONLY] * 3, {**EXPOSED, "config.tensor_parallel.size": 4}),
    "xid-critical": (["", "6 xid 79", "6 xid 79\n6 xid 154"], {}),
    "gpu-util-misleading": (["* gpm.2 18"] * 3, {}),
    "fp64-accidental": (["* gpm.11 35"] * 3, {**TRAINING, **SINGLE}),
    "memory-bandwidth-bound": (["* gpm.10 78\n* gpm.5 12"] * 3, TRAINING),
    "compute-bound-healthy": (["* gpm.5 70"] * 3, {**TRAINING, "trace.gpu.idle.fraction": 0.02}),
    "pcie-link-degraded": (["5 width 4\n5 gpm.21 6000"] * 3, TRAINING),
    "pcie-saturated": (["5 gpm.21 52000"] * 3, {**TRAINING, "trace.gpu.idle.fraction": 0.3}),
    "pcie-replay-rate": (["", "2 replays 40", "2 replays 80"], TRAINING),
    "thermal-throttle": (["3 reasons 0x40\n3 sm_clock 1200"] * 3, TRAINING),
    "power-brake": (["3 reasons 0x80\n3 sm_clock 1200"] * 3, TRAINING),
    "power-cap-throttle": (["* reasons 0x4\n* sm_clock 1200\n* power_limit 400000"] * 3, TRAINING),
    "clocks-locked-low": (["* reasons 0x2\n* sm_clock 1200"] * 3, TRAINING),
    "ecc-uncorrectable": (["4 ecc 2"] * 3, {}),
    "row-remap": (["4 remapped 0 3 1 0"] * 3, {}),
    "gpu-memory-foreign-process": (["2 proc 1 9000000000"] * 3, TRAINING),
    "wrong-device": (["\n".join(f"0 proc {JOB + i} 1000000000" for i in range(1, 8))] * 3, TRAINING),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_fires_on_what_the_driver_says_and_not_on_healthy_gpus(
    watch: Watch, proc: Callable[..., Path], rule: str
) -> None:
    answers, known = RULES[rule]

    def outcome(*changes: str) -> str:
        measured = watch(*(f"{RANKS}\n{change}" for change in changes), pid=JOB, proc=proc(children=7))["value"]
        diagnosis = Advisor().diagnose({"facts": {**measured, **known}})
        assert [source.note for source in diagnosis.profile.sources] == []
        found = {f.rule.id for f in diagnosis.findings}
        return "matched" if rule in found else "cleared" if rule in diagnosis.cleared else "neither"

    assert outcome(*answers) == "matched"
    assert outcome(*(f"* field.138 3 {moment * 1000000}" for moment in range(3))) == "cleared"
