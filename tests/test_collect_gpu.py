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

HERE = Path(__file__).parent
HEALTHY = (HERE / "nvml/healthy.txt").read_text(encoding="utf-8")
Watch = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, "-o", folder / "libnvidia-ml.so.1", HERE / "nvml/standin.c"], check=True)
    return folder


def _run(code: list[str], driver: Path, tmp_path: Path, text: str = "") -> subprocess.CompletedProcess[str]:
    env = os.environ | {"LD_LIBRARY_PATH": str(driver), "STANDIN_NVML": str(tmp_path / "answers.txt")}
    env["PYTHONPATH"] = str(HERE.parent)
    return subprocess.run([sys.executable, *code], input=text, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def watch(driver: Path, tmp_path: Path) -> Watch:
    """A call with one text per sample, a second apart; each text is lines over HEALTHY."""

    def run(*changes: str, pid: int | None = None) -> dict[str, Any]:
        steps = [json.dumps({"answers": f"{HEALTHY}{change}\n", "t": 10.0 + i}) for i, change in enumerate(changes)]
        args = [] if pid is None else [str(pid)]
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
    assert value["hw.gpu.pcie.rx.rate"] == pytest.approx(2.5e9)
    assert value["hw.gpu.persistence_mode"] is True
    assert value["hw.gpu.mig.mode"] is False
    assert value["hw.gpu.process.count"] == 0
    throttles = {name: v for name, v in value.items() if ".throttle." in name}
    assert len(throttles) == 7
    assert set(throttles.values()) == {0}
    assert found["series"] == ["hw.gpu.utilization"]
    assert found["note"] == ""


def test_every_fact_is_in_the_vocabulary_with_its_unit(watch: Watch) -> None:
    vocabulary = yaml.safe_load((HERE.parent / "knowledge/facts.yaml").read_text(encoding="utf-8"))["facts"]
    units = {f["name"]: f["unit"] for f in vocabulary}
    found = watch("* proc 4242 1000", "", pid=os.getpid())
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


def test_pcie_width_degraded_on_one_gpu(watch: Watch) -> None:
    found = watch("5 width 4", "5 width 4")
    assert found["value"]["hw.gpu.pcie.link.width.ratio"] == 0.25
    assert (found["value"]["hw.gpu.pcie.link.width"], found["value"]["hw.gpu.pcie.link.width.max"]) == (4, 16)
    assert found["where"]["hw.gpu.pcie.link.width.ratio"] == "gpu 5"


def test_mig_hides_utilization_and_nothing_is_guessed(watch: Watch) -> None:
    mig = "* mig 1\n* util !3\n* reasons 0x4"
    found = watch(mig, mig)
    value = found["value"]
    assert value["hw.gpu.mig.mode"] is True
    guessed = ("hw.gpu.utilization", "hw.gpu.throttle.", "hw.gpu.clock.")
    assert [n for n in value if n.startswith(guessed)] == ["hw.gpu.clock.sm.max"]
    assert value["hw.gpu.memory.usage"] == 64424509440
    assert found["note"] == ""  # not supported is no trouble


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
"""
    done = _run(["-c", program], driver, tmp_path)
    assert done.stdout.split() == ["1", "1", "2", "2", "3"], done.stderr
