"""Active probes: they measure something real within their bounds, and leave nothing behind, also after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from advisor.collect.base import Collector
from advisor.collect.probe import Budget, DiskProbe, LoaderProbe, MatmulProbe, MemoryProbe, NetworkProbe
from advisor.collect.probe.budget import MIB
from advisor.collect.sampler import read_now, replay
from advisor.errors import InputError
from advisor.models import Reading, Value
from advisor.pipeline import Advisor

SMALL = Budget(seconds=2.0, size=16 * MIB)
TOO_MUCH = Budget(size=1 << 60)
TRAINING = """
import atexit, os, signal, sys, time, torch
from torch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __len__(self):
        return 100_000
    def __getitem__(self, i):
        time.sleep(0.005)
        return torch.ones(4)

def keep(name):
    open(os.path.join(sys.argv[1], name), "w").close()

def main():
    atexit.register(keep, "at-exit")
    signal.signal(signal.SIGTERM, lambda *_: keep("at-sigterm"))
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    try:
        for step, x in enumerate(DataLoader(Slow(), batch_size=4, num_workers=int(sys.argv[2]))):
            if step == 1:
                keep("checkpoint")
            model(x).sum().backward()
            optimizer.step()
            print("step", step, flush=True)
    except KeyboardInterrupt:
        keep("at-interrupt")

main()
"""


def values(reading: Reading) -> dict[str, Value]:
    return {f.name: f.value for f in reading.facts}


def number(reading: Reading, fact: str) -> float:
    value = values(reading)[fact]
    assert isinstance(value, float)
    return value


def replayed(probe: Collector) -> tuple[Reading, Reading]:
    """The reading of one sample, directly and through a stored capture."""
    sample = json.loads(json.dumps({**probe.read(), "t": 0.0}))
    capture = {"kind": probe.kind, "origin": probe.origin, "state": "ok", "note": sample["note"], "samples": [sample]}
    (again,) = replay([capture])
    return Reading(again.source, probe.parse([sample])[0]), again


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAINING)
    return path


@pytest.fixture
def no_torch(tmp_path: Path) -> str:
    """A Python without site-packages."""
    path = tmp_path / "python-without-torch"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    path.chmod(0o755)
    return str(path)


# --- disk ---


def test_the_disk_probe_measures_a_file_of_its_own_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reading, again = replayed(DiskProbe(None, SMALL))

    assert number(reading, "probe.disk.read.rate") > 1e5
    assert number(reading, "probe.disk.random_read.ops") > 1
    assert reading.facts == again.facts
    assert "removed again" in again.source.note
    assert str(tmp_path) in again.source.note
    assert os.listdir(tmp_path) == []


def test_existing_data_is_only_read(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i}.bin").write_bytes(os.urandom(20_000 + i))
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()}

    sample = DiskProbe(tmp_path, SMALL).read()

    size = sum(length for _, length in before.values())
    assert sample["ordered"][0] == size, "every byte is read in order, once"
    assert sample["files"] == 100
    assert all(latency > 0 for latency in sample["latencies"])
    assert sample["written"] == 0
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in tmp_path.iterdir()} == before


def test_memory_is_not_taken_for_storage() -> None:
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK) or not os.path.ismount(folder):
        pytest.skip("no /dev/shm here")
    file = folder / f"advisor-test-{os.getpid()}"
    try:
        file.write_bytes(bytes(2 * MIB))
        assert "memory, not storage" in read_now(DiskProbe(file, SMALL)).source.note
    finally:
        file.unlink()


REFUSED: list[tuple[Callable[[Path], Collector], str]] = [
    (lambda _: DiskProbe(None, TOO_MUCH), "give existing files with --data"),
    (lambda _: MemoryProbe(sys.executable, TOO_MUCH), "MiB of memory are free"),
    (lambda _: MatmulProbe(sys.executable, TOO_MUCH), "MiB of memory are free"),
    (lambda p: DiskProbe(p / "missing", SMALL), "is no file or folder"),
    (lambda p: DiskProbe(p, SMALL), "holds no file that this user can read"),
    (lambda p: MatmulProbe(str(p / "python"), SMALL), "give the interpreter with --python"),
    (lambda _: NetworkProbe((), SMALL), "--peer HOST:PORT"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED)
def test_a_probe_that_cannot_start_says_why(
    make: Callable[[Path], Collector], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.chdir(tmp_path)
    reading = read_now(make(tmp_path))

    assert reading.source.state == "absent"
    assert said in reading.source.note
    assert "\n" not in reading.source.note
    assert reading.facts == ()
    assert os.listdir(tmp_path) == []


def test_a_file_too_small_to_measure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "few").write_bytes(b"x" * 100)
    assert "too few to measure" in read_now(DiskProbe(tmp_path, SMALL)).source.note


# --- memory and matmul ---


def test_host_memory_is_copied_at_a_rate_that_memory_has(no_torch: str) -> None:
    reading, again = replayed(MemoryProbe(no_torch, Budget(seconds=2.0, size=64 * MIB)))

    assert 1e8 < number(reading, "probe.memory.copy.rate") < 1e13
    assert values(reading).keys() == {"probe.memory.copy.rate"}
    assert "cannot import torch" in again.source.note
    assert reading.facts == again.facts


def test_of_several_gpus_the_slowest_counts() -> None:
    gpus = [
        {"where": "gpu 0 (A)", "pinned": 25e9, "pageable": 6e9},
        {"where": "gpu 1 (A)", "pinned": 12e9, "pageable": 7e9},
    ]
    facts, _ = MemoryProbe().parse([{"copy": 8e9, "gpus": gpus, "t": 0.0}])
    found = {f.name: (f.value, f.where) for f in facts}

    assert found["probe.gpu.h2d.rate"] == (12e9, "gpu 1 (A)")
    assert found["probe.gpu.h2d.pageable.rate"] == (6e9, "gpu 0 (A)")


def test_matrices_are_multiplied_by_the_users_torch() -> None:
    reading, again = replayed(MatmulProbe(sys.executable, Budget(seconds=2.0, size=16 * MIB)))

    assert number(reading, "probe.matmul.fp32.rate") > 1e8
    assert number(reading, "probe.matmul.bf16.rate") > 1e6
    assert reading.facts[0].where is not None
    assert "torch" in again.source.note
    assert reading.facts == again.facts


FAKE_TORCH = """
import time
__version__, float32, bfloat16, uint8 = "9.9", type("D", (), {"itemsize": 4})(), type("D", (), {"itemsize": 2})(), 1
class version: cuda = "13.0"
class device:
    def __init__(self, kind, index=None): self.type, self.index = kind, index
class Tensor:
    def __init__(self, pinned=True): self.pinned = pinned
    def copy_(self, source, non_blocking): time.sleep(0.001 if source.pinned else 0.002)
class cuda:
    free = [100 << 30, 1 << 20, 50 << 30]
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 3)
    synchronize = staticmethod(lambda device: None)
    get_device_name = staticmethod(lambda device: "Made up")
    mem_get_info = staticmethod(lambda i: (cuda.free[i], 100 << 30))
def empty(*size, **how): return Tensor()
def ones(*size, dtype, pin_memory): return Tensor(pin_memory)
def randn(*size, **how): return Tensor()
def mm(a, b, out): time.sleep(0.001)
"""


def test_full_gpus_are_left_alone_and_shared_ones_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    memory, matmul = (read_now(p(sys.executable, Budget(seconds=1.0))) for p in (MemoryProbe, MatmulProbe))

    assert values(memory).keys() >= {"probe.gpu.h2d.rate", "probe.gpu.h2d.pageable.rate"}
    assert number(memory, "probe.gpu.h2d.rate") > number(memory, "probe.gpu.h2d.pageable.rate")
    assert {f.where for f in (*memory.facts[1:], *matmul.facts)} <= {"gpu 0 (Made up)", "gpu 2 (Made up)"}
    for reading in (memory, matmul):
        assert "gpu 1 has only 1 MiB of memory free and was left alone" in reading.source.note
        assert "gpu 2 is in use by others" in reading.source.note
    assert number(matmul, "probe.matmul.bf16.rate") > 1e12, "8192 x 8192 in a millisecond"


def test_a_python_without_torch_is_absent(no_torch: str) -> None:
    reading = read_now(MatmulProbe(no_torch, SMALL))

    assert reading.source.state == "absent"
    assert "cannot import torch; give the interpreter that has it with --python" in reading.source.note


# --- network ---


def test_a_round_trip_is_measured_whether_the_port_accepts_or_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as closed:
        open_port, closed_port = server.getsockname()[1], closed.getsockname()[1]
        closed.close()
        peers = (f"127.0.0.1:{open_port}", f"127.0.0.1:{closed_port}")
        sample = NetworkProbe(peers, SMALL).read()
    assert set(sample["trips"]) == set(peers)
    assert all(0 < trip < 1 for trips in sample["trips"].values() for trip in trips)
    slow = {**sample, "trips": {"near": [1e-5, 3e-5, 2e-5], "far": [1e-3, 9e-3, 2e-3]}}
    ((fact,), _) = NetworkProbe(peers, SMALL).parse([slow])
    assert (fact.name, fact.value, fact.where) == ("system.network.rtt", 2e-3, "far")


def test_the_master_of_the_job_is_the_peer_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))
        assert values(read_now(NetworkProbe((), SMALL))).keys() == {"system.network.rtt"}


def test_a_peer_that_does_not_answer_is_named() -> None:
    reading = read_now(NetworkProbe(("no-such-host.invalid:80",), SMALL))

    assert reading.source.state == "absent"
    assert "no-such-host.invalid:80 did not answer" in reading.source.note
    with pytest.raises(InputError, match="write HOST:PORT"):
        NetworkProbe(("somewhere",), SMALL)


# --- loader ---


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_is_read_alone_and_the_program_ends_before_it_writes(
    workers: int, program: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = (sys.executable, str(program), str(out), str(workers))
    reading, again = replayed(LoaderProbe(command, Budget(seconds=1.5)))

    # Four samples of 5 ms each, shared by the workers: never faster than that.
    assert 0.02 / max(1, workers) * 0.9 < number(reading, "ml.dataloader.alone.batch.time") < 1.0
    where = reading.facts[0].where
    assert where is not None
    assert "train.py:" in where
    assert reading.facts == again.facts
    printed = capfd.readouterr()
    assert printed.out == "", "stdout belongs to the diagnosis"
    assert [line for line in printed.err.splitlines() if line.startswith("step")] == ["step 0"]
    assert os.listdir(out) == [], "no checkpoint, no handler"
    assert not _running(str(program))


def test_a_program_that_trains_without_a_loader_is_ended_soon(tmp_path: Path) -> None:
    text = """
import sys, time, torch
import torch.utils.data
weight = torch.ones(1, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.1)
while True:
    weight.sum().backward()
    optimizer.step()
    time.sleep(0.05)
"""
    file = tmp_path / "endless.py"
    file.write_text(text)
    reading = read_now(LoaderProbe((sys.executable, str(file)), SMALL))

    assert reading.source.state == "absent"
    assert "something else than a PyTorch DataLoader" in reading.source.note
    assert not _running(str(file))


def test_a_program_that_only_infers_is_said_so(tmp_path: Path) -> None:
    text = """
import sys, torch
from torch.utils.data import DataLoader, TensorDataset
with torch.no_grad():
    for batch in DataLoader(TensorDataset(torch.ones(20_000, 1)), batch_size=2):
        pass
open(sys.argv[1], "w").close()
"""
    end = tmp_path / "end"
    reading = read_now(LoaderProbe((sys.executable, "-c", text, str(end)), Budget(seconds=0.2)))

    assert values(reading).keys() == {"ml.dataloader.alone.batch.time"}
    assert "taken for inference" in reading.source.note
    assert not end.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print('no training here')", "ended (exit status 0) before it had made a step"),
        ("raise SystemExit(7)", "exit status 7"),
    ],
)
def test_a_program_that_does_not_train_is_said_so(text: str, said: str) -> None:
    reading = read_now(LoaderProbe((sys.executable, "-c", text), SMALL))

    assert reading.source.state == "absent"
    assert said in reading.source.note


@pytest.mark.parametrize(("good", "state"), [(8, "absent"), (12, "ok")])
def test_a_data_set_that_fails_alone_is_said_so(good: int, state: str, tmp_path: Path) -> None:
    text = TRAINING.replace("time.sleep(0.005)", f"assert i < {good}, 'sample is broken'")
    (tmp_path / "train.py").write_text(text)
    reading = read_now(LoaderProbe((sys.executable, str(tmp_path / "train.py"), str(tmp_path), "0"), SMALL))

    assert reading.source.state == state, "the third batch is the first that is read alone"
    assert "failed: AssertionError: sample is broken" in reading.source.note
    assert len(reading.facts) == (state == "ok")


# --- the command ---


def advisor(*args: str | Path, cwd: Path, home: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "ADVISOR_DATA": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), env.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "advisor", "diagnose", *map(str, args)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Where the command runs, and where it may keep things."""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    return work, home


def _running(name: str) -> list[int]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if name in command.split("\0"):
            found.append(int(pid))
    return found


def _until(true: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


def _probe_file_is_open(pid: int, folder: Path) -> bool:
    try:
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any("(deleted)" in link and link.startswith(f"{folder}/") for link in links)


def test_ctrl_c_during_the_disk_probe_leaves_no_file(folders: tuple[Path, Path]) -> None:
    work, home = folders
    with advisor("--seconds", "0.1", "--probe", "disk", cwd=work, home=home) as process:
        _until(lambda: _probe_file_is_open(process.pid, work), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert os.listdir(work) == []


def test_ctrl_c_during_the_loader_probe_ends_the_program_without_its_handlers(
    folders: tuple[Path, Path], program: Path
) -> None:
    work, home = folders
    args = ["--seconds", "0.1", "--probe", "loader", "--", sys.executable, program, work, "2"]
    with advisor(*args, cwd=work, home=home) as process:
        _until(lambda: any(pid != process.pid for pid in _running(str(program))), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "advisor" not in said.partition("Traceback")[2], "the only traceback may be the program's own"
    assert "ends it at once" in said, "what it does is said before it is done"
    assert os.listdir(work) == []
    assert not [name for name in os.listdir(home) if name.startswith("advisor-probe-")]
    assert not _running(str(program))


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_probes_add_to_the_facts_of_a_run(folders: tuple[Path, Path]) -> None:
    work, home = folders
    facts = {"run.phase": "training", "ml.step.data_wait.exposed.fraction": 0.4, "process.disk.read.rate": 1e12}
    profile = work / "run.json"
    profile.write_text(json.dumps({"subject": "python train.py", "facts": facts}))
    (work / "data.bin").write_bytes(os.urandom(4 * MIB))

    args = [profile, "--probe", "disk", "--probe-seconds", "2", "--data", work / "data.bin", "--json"]
    status, out, err = finished(advisor(*args, cwd=work, home=home))

    assert status == 0, err
    document = json.loads(out)
    assert document["profile"]["subject"] == "python train.py"
    assert "storage-rate-reached" in {f["rule"] for f in document["findings"]}
    assert [s["origin"] for s in document["profile"]["sources"] if s["kind"].endswith("probe")] == ["disk probe"]
    assert "reads up to 256 MiB of" in err
    assert sorted(os.listdir(work)) == ["data.bin", "run.json"]


def test_the_loader_alone_is_compared_with_the_steps_of_a_run(program: Path, tmp_path: Path) -> None:
    run = {"run.phase": "training", "ml.step.time": 0.5, "ml.step.batches": 1.0, "ml.dataloader.batch.time": 0.5}
    advised = Advisor(data=tmp_path)
    before = advised.diagnose({"subject": "python train.py", "facts": run})
    out = tmp_path / "out"
    out.mkdir()
    probe = LoaderProbe((sys.executable, str(program), str(out), "0"), Budget(seconds=1.0))
    plans: list[str] = []

    (after,) = advised.probe([probe], plans.append, [before])

    alone = after.profile.facts["ml.dataloader.alone.batch.time"].value
    ratio = after.profile.facts["ml.preprocess.samples.rate.ratio"].value
    assert isinstance(alone, float)
    assert ratio == pytest.approx(0.5 / alone)
    assert after.profile.id == before.profile.id
    assert after.profile.facts["ml.step.time"].value == 0.5
    assert "no later checkpoint" in plans[0]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--probe", "loader"], "belong together"),
        (["--", "python", "train.py"], "belong together"),
        (["--probe", "loader", "--", "no-such-program"], "no-such-program is not a program"),
        (["--probe", "tea"], "'tea' is not a probe"),
        (["--probe", "network", "--peer", "x"], "write HOST:PORT"),
    ],
)
def test_what_cannot_be_probed_is_one_sentence_at_once(
    args: Sequence[str], said: str, folders: tuple[Path, Path]
) -> None:
    status, out, err = finished(advisor(*args, cwd=folders[0], home=folders[1]))

    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
