"""Stacks and memory snapshots -> what threads were doing and who holds the memory; nothing in a pickle is run."""

from __future__ import annotations

import contextlib
import json
import pickle
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import kb
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.readers.artefact import Artefact, no_tick
from advisor.readers.read import opened
from advisor.readers.recognise import recognise
from advisor.readers.snapshot.plain import AsksForCode, Damaged, loads

SHARED = Path(__file__).parents[2] / "shared" / "artifacts" / "pyspy_dump"
needs_samples = pytest.mark.skipif(not SHARED.is_dir(), reason="no samples of real stacks here")
SPECS = kb.load().facts
MIB = 2**20


def readings(data: bytes | str) -> Sequence[Reading]:
    artefact = Artefact("pasted", data=data.encode() if isinstance(data, str) else data)
    kind = recognise(artefact)
    assert kind is not None
    told = kind.read([artefact], no_tick)
    return [r for t in told for r in (*t.readings, *(r for _, r in t.ranks))]


def facts(data: bytes | str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for reading in readings(data):
        for fact in reading.facts:
            spec = SPECS[fact.name]
            if isinstance(fact.value, float):
                assert spec.low is None or fact.value >= spec.low, fact.name
                assert spec.high is None or fact.value <= spec.high, fact.name
            found.setdefault(fact.name, fact.value)
    return found


def place(data: bytes | str, name: str) -> str | None:
    return next(f.where for r in readings(data) for f in r.facts if f.name == name)


# --- dumps ----------------------------------------------------------------------------

WAITS = """Thread 12 (idle): "MainThread"
    poll (multiprocessing/connection.py:257)
    get (multiprocessing/queues.py:113)
    _try_get_data (torch/utils/data/dataloader.py:1133)
    _next_data (torch/utils/data/dataloader.py:1329)
    __next__ (torch/utils/data/dataloader.py:631)
    train (jobs/train.py:31)
    <module> (jobs/train.py:77)
Thread 13 (idle): "QueueFeederThread"
    wait (threading.py:320)
    _bootstrap (threading.py:973)
"""
REDUCES = """Thread 0x7F21 (active+gil): "MainThread"
    synchronize (torch/cuda/__init__.py:792)
    overlapping_partition_gradients_reduce_epilogue (deepspeed/runtime/zero/stage_1_and_2.py:863)
    backward (deepspeed/runtime/engine.py:1993)
    <module> (train.py:9)
"""
IDLE_WORKER = """Thread 21 (idle): "MainThread"
    select (selectors.py:415)
    get (multiprocessing/queues.py:107)
    _worker_loop (torch/utils/data/_utils/worker.py:275)
    run (multiprocessing/process.py:108)
    _bootstrap (multiprocessing/process.py:315)
    <module> (<string>:1)
"""
BUSY_WORKER = """Thread 22 (active): "MainThread"
    __getitem__ (jobs/data.py:14)
    <listcomp> (torch/utils/data/_utils/fetch.py:51)
    fetch (torch/utils/data/_utils/fetch.py:51)
    _worker_loop (torch/utils/data/_utils/worker.py:308)
    <module> (<string>:1)
"""
HANDLER = """Fatal Python error: Segmentation fault

Thread 0x00007f1 (most recent call first):
  File "/usr/lib/python3.10/threading.py", line 320 in wait
  File "/usr/lib/python3.10/threading.py", line 973 in _bootstrap

Current thread 0x00007f2 (most recent call first):
  File "/usr/lib/python3.10/site-packages/torch/distributed/distributed_c10d.py", line 2050 in all_reduce
  File "/home/u/train.py", line 31 in step
  File "/home/u/train.py", line 77 in <module>
"""


def test_a_dump_tells_what_the_main_thread_waits_for() -> None:
    found = facts(f"it hangs, py-spy dump says\n{WAITS}")

    assert found["process.stack.samples"] == 1
    assert (found["process.stack.state"], found["process.stack.data_wait.fraction"]) == ("data wait", 1)
    assert found["process.stack.collective.fraction"] == 0
    assert place(WAITS, "process.stack.state") == "jobs/train.py:31 in train"
    assert "one instant" in readings(WAITS)[0].source.note


def test_waiting_for_the_gpu_inside_a_reduction_is_a_collective() -> None:
    assert facts(REDUCES)["process.stack.state"] == "collective"
    plain = REDUCES.replace("overlapping_partition_gradients_reduce_epilogue", "step").replace("deepspeed/runtime", "x")
    assert facts(plain)["process.stack.state"] == "device synchronisation"


def test_faulthandler_and_gdb() -> None:
    found = facts(HANDLER)
    assert (found["process.stack.samples"], found["process.stack.state"]) == (1, "collective")
    assert place(HANDLER, "process.stack.state") == "/home/u/train.py:31 in step"
    gdb = 'Traceback (most recent call first):\n  File "/w/a.py", line 5, in f\n  File "/w/a.py", line 9, in <module>\n'
    assert facts(gdb)["process.stack.samples"] == 1


def test_dumps_add_up_and_workers_stand_for_themselves() -> None:
    found = facts(WAITS + "\n$ py-spy dump --pid 13\n" + REDUCES + IDLE_WORKER + BUSY_WORKER + BUSY_WORKER)

    assert found["process.stack.samples"] == 2
    assert (found["process.stack.data_wait.fraction"], found["process.stack.collective.fraction"]) == (0.5, 0.5)
    assert found["process.stack.worker.samples"] == 3
    assert found["process.stack.worker.idle.fraction"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("prefix", ["0: ", "[rank3]: ", "> "])
def test_dumps_with_prefixes(prefix: str) -> None:
    assert facts("".join(f"{prefix}{x}\n" for x in WAITS.splitlines())) == facts(WAITS)


# --- sampled --------------------------------------------------------------------------

LOOP = "<module> (/w/train.py:9);"
FOLDED = (
    f"{LOOP}smooth (/w/train.py:4) 30\n"
    f"{LOOP}__next__ (torch/utils/data/dataloader.py:725);_next_data (torch/utils/data/dataloader.py:1505) 50\n"
    f"{LOOP}step (/env/lib/python3.11/site-packages/torch/optim/adam.py:7) 20\n"
    "_bootstrap (threading.py:1002);run (threading.py:9);feed (/w/side.py:3) 900\n"
)


def test_folded_stacks_give_shares() -> None:
    found = facts(FOLDED)
    assert found["process.stack.samples"] == 100
    assert (found["process.stack.state"], found["process.stack.data_wait.fraction"]) == ("data wait", 0.5)
    assert found["process.code.hotspot.fraction"] == pytest.approx(0.3)
    assert place(FOLDED, "process.code.hotspot.fraction") == "/w/train.py:4 in smooth"


def test_a_worker_carries_no_frames_of_its_parent() -> None:
    text = (
        f'process 1:"python";process 2:"python";{LOOP}__iter__ (torch/utils/data/dataloader.py:438);'
        "BaseProcess._bootstrap (multiprocessing/process.py:314);_worker_loop (torch/utils/data/_utils/worker.py:374);"
        "fetch (torch/utils/data/_utils/fetch.py:54);D.__getitem__ (data.py:8) 60\n"
    )
    found = facts(text)
    assert "process.stack.samples" not in found
    assert (found["process.stack.worker.samples"], found["process.stack.worker.idle.fraction"]) == (60, 0)
    assert place(text, "ml.dataloader.hotspot.fraction") == "data.py:8 in D.__getitem__"


def test_json_of_py_spy_and_speedscope() -> None:
    frames = [
        {"name": "_next_data", "filename": "/x/site-packages/torch/utils/data/dataloader.py",
         "short_filename": "torch/utils/data/dataloader.py", "line": 1505},
        {"name": "<module>", "filename": "/w/train.py", "short_filename": "train.py", "line": 9},
    ]  # fmt: skip
    threads = [
        {"pid": 1, "thread_id": 1, "thread_name": "MainThread", "active": False, "owns_gil": False, "frames": frames},
        {"pid": 1, "thread_id": 2, "thread_name": "feeder", "active": False, "owns_gil": False, "frames": frames[:1]},
    ]
    found = facts(json.dumps(threads, indent=2))
    assert (found["process.stack.samples"], found["process.stack.state"]) == (1, "data wait")

    shared = [{"name": f["name"], "file": f["short_filename"], "line": f["line"]} for f in frames]
    scope = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "profiles": [{"type": "sampled", "name": 'Process 1 Thread 1 "MainThread"', "samples": [[1, 0], [1], [1, 0]],
                      "weights": [0.01] * 3}],
        "shared": {"frames": shared},
    }  # fmt: skip
    found = facts(json.dumps(scope))
    assert (found["process.stack.samples"], found["process.stack.data_wait.fraction"]) == (3, pytest.approx(2 / 3))


@pytest.mark.parametrize("text", ['[{"pid": 1, "owns_gil": true, "frames": []}]', '[{"pid": 1, "owns_gil": true, "fra'])
def test_empty_and_cut_json_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"pasted (holds no stacks|is JSON that is damaged)"):
        facts(text)


# --- snapshots ------------------------------------------------------------------------


def frame(file: str, line: int, name: str = "f") -> dict[str, Any]:
    return {"filename": file, "line": line, "name": name}


def block(size: int, state: str = "active_allocated", file: str = "/w/model.py", line: int = 5) -> dict[str, Any]:
    library = frame("/env/lib/python3.11/site-packages/torch/nn/functional.py", 9)
    return {"address": 1, "size": size, "requested_size": size - 4, "state": state,
            "frames": [library, frame(file, line), frame("/w/train.py", 70, "<module>")]}  # fmt: skip


def snapshot(**more: Any) -> dict[str, Any]:
    blocks = [block(60 * MIB), block(10 * MIB, "inactive"), block(20 * MIB, line=9)]
    segment = {"device": 0, "address": 7, "total_size": 100 * MIB, "allocated_size": 80 * MIB, "active_size": 80 * MIB,
               "stream": 0, "segment_type": "large", "segment_pool_id": (0, 0), "blocks": blocks}  # fmt: skip
    empty = {**segment, "allocated_size": 0, "active_size": 0, "total_size": 60 * MIB,
             "blocks": [block(60 * MIB, "inactive")]}  # fmt: skip
    return {"segments": [segment, empty], "device_traces": [[], []], "allocator_settings": {"a": 0.5}, **more}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_snapshot_tells_who_holds_what(protocol: int) -> None:
    data = pickle.dumps(snapshot(), protocol=protocol)
    found = facts(data)

    assert found["torch.cuda.memory.reserved.peak"] == 160 * MIB
    assert found["torch.cuda.memory.allocated.peak"] == 80 * MIB
    assert found["torch.cuda.memory.reserved_unused.fraction"] == 0.5
    assert found["torch.cuda.memory.inactive_split.fraction"] == 20 / 160
    assert found["torch.cuda.memory.free_block.max"] == 60 * MIB
    assert found["torch.cuda.memory.allocation.max"] == 60 * MIB
    assert found["torch.cuda.memory.hotspot.fraction"] == 0.75
    assert place(data, "torch.cuda.memory.hotspot.fraction") == "/w/model.py:5 in f"
    assert "torch.cuda.memory.ooms" not in found


def test_the_trace_tells_the_peak_and_the_failures() -> None:
    trace = [
        {"action": "alloc", "addr": 1, "size": 30 * MIB, "frames": []},
        {"action": "free_requested", "addr": 1, "size": 30 * MIB, "frames": []},
        {"action": "free_completed", "addr": 1, "size": 30 * MIB, "frames": []},
        {"action": "oom", "device_free": 5 * MIB, "size": 900 * MIB, "frames": [frame("/w/loss.py", 3, "loss")]},
    ]
    data = pickle.dumps(snapshot(device_traces=[trace]))
    found = facts(data)

    assert found["torch.cuda.memory.allocated.peak"] == 110 * MIB
    assert (found["torch.cuda.memory.ooms"], found["hw.gpu.memory.free"]) == (1, 5 * MIB)
    assert found["hw.gpu.memory.allocation.request"] == 900 * MIB
    assert place(data, "torch.cuda.memory.ooms") == "/w/loss.py:3 in loss"


def test_old_snapshots_are_lists_with_histories() -> None:
    old = snapshot()["segments"]
    for held in old[0]["blocks"]:
        held["history"] = [{"addr": 1, "real_size": held["size"], "frames": held.pop("frames")}]
    assert facts(pickle.dumps(old))["torch.cuda.memory.hotspot.fraction"] == 0.75


def test_the_gpu_that_holds_most_is_told_and_ranks_apart() -> None:
    both = snapshot()
    both["segments"][0]["device"] = 3
    assert "GPU 3 of 2" in readings(pickle.dumps(both))[0].source.note
    artefacts = [Artefact(f"rank{i}.pickle", data=pickle.dumps(snapshot())) for i in range(2)]
    kind = recognise(artefacts[0])
    assert kind is not None
    assert [name for name, _ in kind.read(artefacts, no_tick)[0].ranks] == ["rank 0", "rank 1"]


class Evil:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_that_asks_to_run_code_is_not_opened(protocol: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="asks to run code and was not opened"):
        facts(pickle.dumps([1, Evil()], protocol=protocol))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", [1, "x", [], {}, [{"a": 1}], {"segments": []}, {"segments": [{"total_size": -1}]}])
def test_other_pickles_are_one_sentence(value: Any) -> None:
    with pytest.raises(InputError, match=r"no snapshot|no memory is reserved"):
        facts(pickle.dumps(value))


def test_plain_data_comes_back_as_it_was() -> None:
    value = [
        None,
        True,
        False,
        0,
        -1,
        255,
        65536,
        2**40,
        -(2**63),
        1.5,
        "ü" * 300,
        (),
        (1,),
        (1, 2, 3, 4),
        {"a": []},
    ]
    value.append(value[-1])
    for protocol in (2, 3, 4, 5):
        assert loads(pickle.dumps(value, protocol=protocol)) == value
    assert loads(pickle.dumps(b"x" * 300, protocol=4)) == b"x" * 300


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04" + b"]" * 100_000 + b".",  # what is left on the stack is no matter
        b"\x80\x04)" + b"\x85" * 200_000 + b"}\x94h\x00N\x73.",
        b"\x80\x04}" + b")" + b"\x85" * 200_000 + b"Ns.",  # a key whose hash would never end
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04\x8a\xff" + b"\1" * 255 + b".",
        b"\x80\x04(((((.",
        b"\x80\x04",
        b"\x80\x09N.",
    ],
)
def test_hostile_pickles_end(data: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(Damaged, AsksForCode):
        loads(data)

    assert time.process_time() - began < 5


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_snapshots_give_facts_or_a_sentence(data: st.DataObject) -> None:
    raw = bytearray(pickle.dumps(snapshot()))
    for _ in range(data.draw(st.integers(1, 8))):
        raw[data.draw(st.integers(2, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        facts(bytes(raw[: data.draw(st.integers(3, len(raw)))]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_dumps_give_facts_or_a_sentence(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from([WAITS + IDLE_WORKER, HANDLER, FOLDED]))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.text(max_size=6)) + text[at + data.draw(st.integers(0, 12)) :]
    artefact = Artefact("pasted", data=text.encode("utf-8", "replace"))
    kind = recognise(artefact)
    if kind is not None and kind.name == "text":
        with contextlib.suppress(InputError):
            facts(text)


# --- weights --------------------------------------------------------------------------


def test_weights_are_known_and_said_to_be_that(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pt"
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02}.")
        archive.writestr("model/version", "3\n")
        archive.writestr("model/data/0", b"\0" * 64)
    tensors = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensors.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    (tmp_path / "m.gguf").write_bytes(b"GGUF\3\0\0\0" + b"\0" * 64)
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + b"\0" * 64)
    for name, what in (
        ("model.pt", "PyTorch checkpoint"),
        ("model.safetensors", "safetensors"),
        ("m.gguf", "GGUF"),
        ("a.npy", "NumPy"),
    ):
        with pytest.raises(InputError, match=f"{what}.* says nothing about speed"), opened([tmp_path / name]):
            pass


# --- real dumps -----------------------------------------------------------------------


@needs_samples
@pytest.mark.parametrize(
    ("name", "fact", "value"),
    [
        ("generated_dataloader_starved_main.txt", "process.stack.state", "data wait"),
        ("ms-swift_1817_nccl_hang.txt", "process.stack.state", "collective"),
        ("lhotse_666_worker_idle.txt", "process.stack.worker.idle.fraction", 1),
        ("generated_dataloader_starved.raw", "process.stack.state", "data wait"),
    ],
)
def test_real_dumps(name: str, fact: str, value: Value) -> None:
    assert facts((SHARED / name).read_text())[fact] == value
