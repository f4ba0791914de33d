"""The sampler: states, isolation of failing and hanging sources, bounded memory, captures that replay."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from advisor.collect.base import Facts, NotYet, Parsed, Sample, rate, times
from advisor.collect.sampler import KEPT, Collector, Sampler, _Watch, default_collectors, replay, sample
from advisor.models import Reading

CAPTURE = Path(__file__).parent / "captures/writer.json"


class Source:
    """A collector that does what a test says; it counts its reads and gives their growth as a fact."""

    kind = "host"
    origin = "made up"

    def __init__(self, act: Callable[[int], Any] = lambda n: n) -> None:
        self.act, self.reads = act, 0

    def read(self) -> Sample:
        self.reads += 1
        return {"n": self.act(self.reads)}

    def parse(self, samples: Sequence[Sample]) -> Parsed:
        facts = Facts(self.origin)
        facts.add("system.disk.read.rate", rate(times(samples), [s["n"] for s in samples]), "By/s")
        return facts.all(), {}


def run(*collectors: Collector, seconds: float = 0.3, timeout_s: float = 0.2) -> tuple[Reading, ...]:
    sampler = Sampler(collectors, interval_s=0.05, timeout_s=timeout_s)
    sampler.start()
    time.sleep(seconds)
    sampler.stop()
    return sampler.readings()


def failing(error: Exception) -> Callable[[int], Any]:
    def act(_: int) -> Any:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "state", "note"),
    [
        (FileNotFoundError("there is no such thing here"), "absent", "there is no such thing here"),
        (PermissionError(13, "Permission denied", "/proc/1/io"), "denied", "/proc/1/io: Permission denied"),
        (OSError(5, "Input/output error", "/x"), "unreadable", "made up could not be read: /x: Input/output error"),
        (ValueError("odd"), "unreadable", "made up could not be read: odd"),
    ],
)
def test_a_failing_source_has_a_state_and_stops_no_other(error: Exception, state: str, note: str) -> None:
    bad, good = run(Source(failing(error)), Source())
    assert (bad.source.state, bad.source.note, bad.facts) == (state, note, ())
    assert good.source.state == "ok"
    assert good.facts


def test_a_hanging_source_times_out_alone_and_stop_returns() -> None:
    release = threading.Event()
    began = time.monotonic()
    never, soon_never = Source(lambda _: release.wait(30)), Source(lambda n: n if n < 3 else release.wait(30))
    hung, late, good = run(never, soon_never, Source())
    assert time.monotonic() - began < 5
    release.set()
    assert (hung.source.state, hung.source.note) == ("timeout", "made up did not answer within 0.2 s")
    assert late.source.state == "ok"
    assert late.source.note == "made up did not answer within 0.2 s; what was read before is used"
    assert good.source.state == "ok"


def test_only_failures_that_may_pass_are_tried_again() -> None:
    def later(n: int) -> int:
        if n < 3:
            raise NotYet("not there yet")
        return n

    coming, absent = Source(later), Source(failing(FileNotFoundError("no")))
    first, second = run(coming, absent)
    assert first.source.state == "ok"
    assert coming.reads > 3
    assert (second.source.state, absent.reads) == ("absent", 1)


def test_a_source_that_fails_now_and_then_says_so() -> None:
    def sometimes(n: int) -> int:
        if n == 2:
            raise OSError("hiccup")
        return n

    reading = run(Source(sometimes))[0]
    assert reading.source.state == "ok"
    assert reading.source.note.startswith("1 of ")
    assert reading.source.note.endswith("hiccup")


def test_output_that_cannot_be_parsed_is_unreadable() -> None:
    odd, good = run(Source(lambda _: None), Source())
    assert odd.source.state == "unreadable"
    assert "was not understood" in odd.source.note
    assert good.source.state == "ok"


def test_readings_while_running_and_before_anything_was_read() -> None:
    release = threading.Event()
    sampler = Sampler([Source(), Source(lambda _: release.wait(30))], interval_s=0.05, timeout_s=5)
    assert [r.source.state for r in sampler.readings()] == ["absent", "absent"]
    sampler.start()
    time.sleep(0.2)
    assert [r.source.state for r in sampler.readings()] == ["ok", "absent"]
    release.set()
    sampler.stop()
    assert [r.source.state for r in sampler.readings()] == ["ok", "ok"]


def test_stop_takes_a_last_sample_of_the_end() -> None:
    source = Source(lambda _: time.monotonic())
    sampler = Sampler([source], interval_s=60)
    sampler.start()
    time.sleep(0.2)
    sampler.stop()
    assert source.reads == 2
    assert float(sampler.readings()[0].facts[0].value) == pytest.approx(1.0, rel=0.1)


def test_a_source_that_does_not_change_is_read_once() -> None:
    source = Source()
    source.once = True  # type: ignore[attr-defined]
    run(source)
    assert source.reads == 1


def test_long_runs_are_thinned_evenly_and_rates_stay_right() -> None:
    watch = _Watch(Source(), interval_s=1.0, timeout_s=1.0)
    t, pauses = 0.0, []
    while t < 20_000:
        watch._keep({"n": 7 * t, "t": t}, last=False)
        t += watch._pause
        pauses.append(watch._pause)
    kept = watch.capture()["samples"]
    assert len(kept) <= KEPT
    assert kept[0]["t"] == 0
    assert pauses == sorted(pauses)
    gaps = {b["t"] - a["t"] for a, b in pairwise(kept)}
    assert gaps == {pauses[-1]}
    assert Source().parse(kept)[0][0].value == pytest.approx(7)


def test_a_capture_of_this_machine_replays_to_the_same_readings() -> None:
    sampler = Sampler(default_collectors(), interval_s=0.1)
    sampler.start()
    time.sleep(0.5)
    sampler.stop()
    captures = json.loads(json.dumps(sampler.captures()))
    for live, again in zip(sampler.readings(), replay(captures), strict=True):
        assert live.facts == again.facts
        assert live.source == again.source
        assert live.series.keys() == again.series.keys()


def test_the_recorded_capture_of_a_writing_job() -> None:
    readings = replay(json.loads(CAPTURE.read_text(encoding="utf-8")))
    value = {f.name: f.value for r in readings for f in r.facts}
    assert {r.source.kind: r.source.state for r in readings}["nvml"] == "absent"
    assert value["process.disk.write.rate"] == pytest.approx(527.65e6, rel=1e-3)
    assert value["system.disk.write.rate"] == pytest.approx(529.2e6, rel=1e-3)
    assert value["system.disk.utilization"] == pytest.approx(0.509, rel=1e-2)
    assert value["system.pressure.io.full"] == pytest.approx(0.0458, rel=1e-2)
    assert value["container.cpuset.count"] == 2


def test_the_made_up_capture_of_a_cluster_node() -> None:
    """Two sockets, four NDR ports, NFS, version-2 groups under a pod, a bond, an Xid: what this machine may lack."""
    readings = replay(json.loads((CAPTURE.parent / "cluster-node.json").read_text(encoding="utf-8")))
    assert {r.source.state for r in readings} == {"ok"}
    found = {f.name: (f.value, f.where) for r in readings for f in r.facts}
    assert found["config.numa_bound"] == (False, "process 11")
    assert found["system.numa.remote.fraction"][0] == pytest.approx(0.3)
    assert found["hw.network.rdma.port.rate.ratio"] == (0.5, "mlx5_3/1")
    assert found["nfs.client.rpc.rtt"] == (pytest.approx(0.006), "/data set")
    assert found["hw.network.bond.degraded"] == (True, "bond0: eth1")
    assert found["hw.gpu.xid.last"] == (79, "0000:9b:00, 60 min ago")
    pod, job = "/kubepods.slice/pod1.slice", "/kubepods.slice/pod1.slice/job.scope"
    assert found["container.cpu.limit"] == (4, pod)
    assert found["container.cpu.throttled.fraction"] == (pytest.approx(0.75), pod)
    assert found["container.memory.limit"] == (32000, job)
    assert found["container.memory.utilization"] == (pytest.approx(0.875), job)
    assert found["container.pids.utilization"][0] == pytest.approx(0.4)
    stalls = {name: found[f"container.pressure.{name}"] for name in ("cpu.some", "memory.full", "io.full")}
    assert stalls == {"cpu.some": (0.4, job), "memory.full": (0.3, job), "io.full": (0.6, job)}


def test_captures_of_unknown_or_broken_kind_are_unreadable() -> None:
    captures = [
        {"kind": "tpu", "origin": "libtpu", "state": "ok", "note": "", "samples": [{"t": 0.0}]},
        {"kind": "disk", "origin": "/proc/diskstats", "state": "ok", "note": "", "samples": [{"t": 0.0}, {"t": 1.0}]},
    ]
    assert [r.source.state for r in replay(captures)] == ["unreadable", "unreadable"]


def test_sample_reports_progress_and_all_sources() -> None:
    heard: list[float] = []
    readings = sample(0.6, progress=heard.append)
    assert heard == sorted(heard)
    assert (heard[0] < 0.5, heard[-1]) == (True, 1.0)
    assert len(readings) == len(default_collectors())
    assert {r.source.kind for r in readings} == {"host", "environment", "cgroup", "disk", "network", "process", "nvml"}
    states = {r.source.origin: r.source.state for r in readings}
    assert states["/proc"] == "ok"
    assert states["/proc/pid"] == "absent"
