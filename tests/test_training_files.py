"""Event files of TensorBoard, states of the Trainer and profiles of SageMaker -> facts, exactly, and damaged ones."""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.read import opened
from advisor.readers.recognise import recognise
from advisor.readers.tfrecord import masked_crc
from advisor.readers.told import Told

SHARED = Path(__file__).parents[2] / "shared" / "artifacts"
needs_samples = pytest.mark.skipif(not (SHARED / "tfevents").is_dir(), reason="no samples of real artefacts here")
SPECS = kb.load().facts


def told(*data: bytes, names: tuple[str, ...] = ()) -> list[Told]:
    artefacts = [Artefact(names[i] if names else f"file{i}", data=one) for i, one in enumerate(data)]
    kind = recognise(artefacts[0])
    assert kind is not None
    return kind.read(artefacts, no_tick)


def facts(found: Told) -> dict[str, Value]:
    known = {fact.name: fact.value for reading in found.readings for fact in reading.facts}
    assert known.keys() <= SPECS.keys()
    return known


def note(found: Told) -> str:
    return found.readings[0].source.note


# --- event files ------------------------------------------------------------------------


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def event(wall: float, step: int, tag: str, value: float, form: str = "simple") -> bytes:
    if form == "simple":
        content = b"\x15" + struct.pack("<f", value)
    elif form == "content":
        content = message(8, b"\x08\x01" + message(4, struct.pack("<f", value)))
    else:
        content = message(8, b"\x08\x02" + message(6, struct.pack("<d", value)))
    summary = message(1, message(1, tag.encode()) + content)
    return record(b"\x09" + struct.pack("<d", wall) + b"\x10" + varint(step) + message(5, summary))


HEADER = record(b"\x09" + struct.pack("<d", 1.7e9) + message(3, b"brain.Event:2"))


def events(*rows: tuple[float, int, str, float], form: str = "simple") -> bytes:
    return HEADER + b"".join(event(1.7e9 + wall, step, tag, value, form) for wall, step, tag, value in rows)


LOSSES = [(10.0 * i, 20 * i, "train/loss", 2.0) for i in range(1, 11)]


@pytest.mark.parametrize("form", ["simple", "content", "values"])
def test_steps_by_the_clock_of_a_scalar(form: str) -> None:
    found = told(events(*LOSSES, form=form))[0]

    assert facts(found)["ml.step.time"] == pytest.approx(0.5)
    assert facts(found)["ml.step.count"] == 180
    assert facts(found)["run.phase"] == "training"
    assert found.started == 1.7e9 + 10
    assert found.seconds == 90.0
    assert "11 events, 10 values of 1 scalars" in note(found)


def test_a_pause_between_points_is_no_step() -> None:
    rows = [(wall + (500.0 if step > 100 else 0.0), step, tag, value) for wall, step, tag, value in LOSSES]

    assert facts(told(events(*rows))[0])["ml.step.time"] == pytest.approx(0.5)


def test_scalars_that_tell_what_they_are() -> None:
    rows = [(float(i), i, tag, value) for i in range(1, 6) for tag, value in (
        ("perf/step_time_seconds", 2.0), ("perf/per_device_tflops_per_sec", 150.0),
        ("time_metrics/data_loading(s)", 0.5),
        ("mfu(%)", 40.0), ("throughput/device/tokens_per_sec", 5000.0), ("learning/loss", 3.0))]  # fmt: skip
    known = facts(told(events(*rows))[0])

    assert known["ml.step.time"] == 2.0
    assert known["ml.throughput.flops"] == 150e12
    assert known["ml.throughput.tokens"] == 5000
    assert known["ml.mfu"] == pytest.approx(0.4)
    assert known["ml.step.data_wait.fraction"] == pytest.approx(0.25)


def test_scalars_per_epoch_or_over_samples_are_no_clock() -> None:
    rows = [(60.0 * i, i, tag, 1.0) for i in range(1, 6) for tag in ("epoch_loss", "val_loss", "loss vs samples")]

    assert "ml.step.time" not in facts(told(events(*rows))[0])


def test_files_of_one_folder_are_one_run() -> None:
    one, two, other = events(*LOSSES[:5]), events(*LOSSES[5:]), events(*LOSSES)
    runs = told(one, two, other, names=("a/train/x", "a/validation/y", "b/z"))

    assert len(runs) == 2
    assert facts(runs[0])["ml.step.time"] == pytest.approx(0.5)


def test_a_file_that_is_still_written_ends_in_the_middle() -> None:
    whole = events(*LOSSES)
    cut = told(whole[:-7])[0]

    assert "cut off or damaged" in note(cut)
    assert facts(cut)["ml.step.count"] == 160
    broken = bytearray(whole)
    broken[-20] ^= 0xFF
    assert "cut off or damaged" in note(told(bytes(broken))[0])


def test_events_without_scalars_are_a_sentence() -> None:
    with pytest.raises(InputError, match="without scalars"):
        told(HEADER)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_mutated_events_give_facts_or_a_sentence(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(events(*LOSSES, form=chance.choice(["simple", "content", "values"])))
    payload = bytearray(data[len(HEADER) + 12 : len(HEADER) + 12 + 40])
    for _ in range(3):  # with checksums that hold, so that the fields are reached
        payload[chance.randrange(len(payload))] = chance.randrange(256)
    data[chance.randrange(len(HEADER), len(data))] = chance.randrange(256)
    assert ended(lambda: told(HEADER + record(bytes(payload)) + bytes(data[len(HEADER) :])))


def ended(read: Callable[[], list[Told]]) -> bool:
    """Whether reading gave something to say, or one sentence; anything else that is raised fails the test."""
    try:
        return all(isinstance(found, Told) and found.readings for found in read())
    except InputError as error:
        return 0 < len(str(error)) < 1000 and "\n" not in str(error)


# --- states of the Trainer ----------------------------------------------------------------


def state(step: int, *history: dict[str, object]) -> bytes:
    return json.dumps(
        {"epoch": 1.0, "global_step": step, "log_history": history, "logging_steps": 10, "max_steps": 200,
         "train_batch_size": 8, "num_train_epochs": 1}
    ).encode()  # fmt: skip


HISTORY: list[dict[str, object]] = [
    {"loss": 2.0, "step": 10},
    {"eval_a_runtime": 4.0, "step": 100},
    {"eval_b_runtime": 6.0, "step": 100},
    {"eval_a_runtime": 10.0, "step": 200},
    {"train_runtime": 220.0, "train_samples_per_second": 7.5, "step": 200},
]


def test_a_finished_state_and_one_on_the_way() -> None:
    done, before = facts(told(state(200, *HISTORY))[0]), facts(told(state(100, *HISTORY[:3]))[0])

    assert done["ml.step.time"] == 1.0
    assert done["ml.evaluation.fraction"] == pytest.approx(20 / 220)
    assert done["ml.evaluation.count"] == 2
    assert done["ml.evaluation.time"] == 10.0
    assert done["config.evaluation.interval"] == 100
    assert done["ml.throughput.samples.job"] == 7.5
    assert done["ml.microbatch.size"] == 8
    assert "ml.step.time" not in before
    assert before["ml.step.count"] == 100


def test_checkpoints_of_one_run_are_read_once() -> None:
    assert len(told(state(100, *HISTORY[:3]), state(200, *HISTORY))) == 1
    assert len(told(state(200, *HISTORY), state(200, {"loss": 9.0, "step": 10}))) == 2


@pytest.mark.parametrize(
    "data",
    [
        state(200, *HISTORY)[:-9],
        b'{"global_step": 1, "log_history": ' + b"[" * 50_000,
        b'{"global_step": 1, "log_history": 3}',
        b'{"global_step": 1e999, "log_history": [7]}',
    ],
)
def test_damaged_states_are_a_sentence(data: bytes) -> None:
    with pytest.raises(InputError):
        told(data)


# --- SageMaker ------------------------------------------------------------------------------


def sample(kind: str, name: str, dimension: str, value: float, at: float, node: str = "algo-1") -> str:
    fields = {"Type": kind, "Name": name, "Dimension": dimension, "Value": value, "NodeId": node, "Timestamp": at}
    return json.dumps(fields) + "\n"


SYSTEM = "".join(
    sample("cpu", "cpu0", "CPUUtilization", 90.0, 1.6e9 + t)
    + sample("cpu", "cpu1", "CPUUtilization", 10.0, 1.6e9 + t)
    + sample("gpu", "gpu0", "GPUUtilization", 20.0, 1.6e9 + t)
    + sample("gpu", "gpu1", "GPUUtilization", 60.0, 1.6e9 + t)
    for t in range(10)
)
START = (
    '{"name": "process_name", "ph": "M", "pid": 0, "args": {"start_time_since_epoch_in_micros": 1600000000000000}},\n'
)


def timeline(*names: str, gap: int = 100_000) -> str:
    lines = [
        json.dumps({"name": name, "ph": "X", "ts": i * gap, "dur": gap - 1000, "pid": 1})
        for i, name in enumerate(names)
    ]
    return "[\n" + START + ",\n".join(lines) + "\n]\n"


def test_system_metrics() -> None:
    found = told(SYSTEM.encode())[0]
    known = facts(found)

    assert known["system.cpu.utilization"] == 0.5
    assert known["system.cpu.core.utilization.max"] == 0.9
    assert known["system.cpu.logical.count"] == 2
    assert known["hw.gpu.count"] == 2
    assert known["hw.gpu.utilization"] == 0.4
    assert known["hw.gpu.utilization.spread"] == pytest.approx(0.4)
    assert known["hw.gpu.utilization.p95"] == 0.6
    assert found.started == 1.6e9
    assert "40 events of 1 node" in note(found)


def test_a_damaged_line_costs_only_itself() -> None:
    found = told((SYSTEM + '{"Type": "gpu", "Name": "gpu1", "Dimension": "GPU\n').encode())[0]

    assert "40 events of 1 node, 1 damaged left out" in note(found)
    with pytest.raises(InputError):
        told(b'{"Dimension": 1, "NodeId": 2}\n')


def test_timelines_of_steps() -> None:
    found = told(timeline(*["Step:ModeKeys.TRAIN"] * 11, "Step:ModeKeys.EVAL").encode())[0]

    assert facts(found)["ml.step.time"] == pytest.approx(0.1, rel=0.005)
    assert facts(found)["run.phase"] == "training"
    assert found.started == 1.6e9
    assert "12 events" in note(found)


def test_horovods_timeline_left_open() -> None:
    lines = [
        '{"ph": "i", "name": "CYCLE_START", "ts": 10, "s": "g"}',
        '{"ph": "B", "name": "NEGOTIATE_ALLREDUCE", "ts": 20, "pid": 1}',
        '{"ph": "X", "name": "4", "ts": 25, "pid": 1, "dur": 0}',
        '{"ph": "E", "ts": 40, "pid": 1}',
        '{"ph": "B", "name": "ALLREDUCE", "ts": 50, "pid": 1}',
        '{"ph": "X", "na',
    ]
    found = told(("[\n" + ",\n".join(lines)).encode())[0]

    assert "1 events" in note(found)
    assert "1 more with a begin and an end; 1 begun or ended only; 1 damaged left out" in note(found)


def profile(folder: Path) -> Path:
    parts = {
        "run/system/incremental/1.algo-1.json": SYSTEM.encode(),
        "run/framework/pevents/2020/1_1_pythontimeline.json": timeline(*["Step:ModeKeys.TRAIN"] * 5).encode(),
        "run/framework/tensorflow/detailed_profiling/x.trace.json.gz": gzip.compress(
            json.dumps({"traceEvents": [{"ph": "X", "name": "a"}] * 7 + [{"ph": "M"}, {}]}).encode()
        ),
        "run/framework/tensorflow/cProfile/python_stats": b"\xfb\x00\x00",
    }
    for name, data in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_folder_is_one_profile(tmp_path: Path) -> None:
    with opened([profile(tmp_path)]) as found:
        run = found.runs[0]

    known = facts(run)
    assert known["hw.gpu.utilization"] == 0.4
    assert known["ml.step.time"] == pytest.approx(0.1, rel=0.005)
    assert any("7 events" in reading.source.note for reading in run.readings)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_mutated_profiles_give_facts_or_a_sentence(seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(chance.choice([SYSTEM, timeline(*["Step:ModeKeys.TRAIN"] * 9)]).encode())
    for _ in range(10):
        data[chance.randrange(len(data))] = chance.choice(b'{}[]":,0e9-x\n')
    kind = recognise(Artefact("x", data=bytes(data)))
    assert kind is not None  # whatever is changed, it stays text
    if kind.name.startswith("SageMaker"):
        assert ended(lambda: kind.read([Artefact("x", data=bytes(data))], no_tick))


# --- real ones --------------------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1591160699.algo-1.json", "14 events"),
        ("1591160699.algo-1.json.corrupt", "13 events"),
        ("horovod_timeline_small.json", "19 events"),
    ],
)
def test_real_profiles(name: str, said: str) -> None:
    assert said in note(told((SHARED / "sagemaker_profiler" / name).read_bytes())[0])


@needs_samples
def test_real_events() -> None:
    found = told((SHARED / "tfevents" / "events.out.tfevents.1585769947.cvp").read_bytes())[0]

    assert "105 events, 102 values of 6 scalars" in note(found)
    assert facts(found)["ml.step.time"] == pytest.approx(2.013, rel=0.005)
