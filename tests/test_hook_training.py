"""The training hook in real processes with real torch: what it measures, and that programs do not notice it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from advisor.collect import training
from advisor.derive.loading import loader_cpu_share
from advisor.models import Fact, Reading

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

SLOW_DATA = """
import sys, time, torch
from torch.utils.data import DataLoader, Dataset

class Slow(Dataset):
    def __init__(self, size=48, seconds=0.005):
        self.size, self.seconds = size, seconds
    def __len__(self):
        return self.size
    def __getitem__(self, index):
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return torch.ones(4), torch.zeros(1)

model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

def train(x, y):
    torch.nn.functional.mse_loss(model(x), y).backward()
"""


@dataclass(frozen=True)
class Done:
    """A program that ran under the hook."""

    status: int
    out: str
    err: str
    capture: dict[str, Any]
    reading: Reading

    @property
    def facts(self) -> dict[str, Fact]:
        return {fact.name: fact for fact in self.reading.facts}

    def value(self, name: str) -> Any:
        return self.facts[name].value


Start = Callable[..., Done]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Run a script (text or command) under the hook, in `tmp_path`."""

    def run(script: str | list[str], hook: bool = True, **extra: str) -> Done:
        environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ADVISOR_HOOK_DIR")} | extra
        output = tmp_path / "hook output"
        output.mkdir(exist_ok=True)
        if isinstance(script, str):
            (tmp_path / "train.py").write_text(script)
            script = [sys.executable, "train.py"]
        if hook:
            environ = training.hook_environment(output, environ)
        done = subprocess.run(
            script, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
        )
        capture = training.read(output)
        return Done(done.returncode, done.stdout, done.stderr, capture, training.parse(capture))

    return run


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


# --- what is measured -------------------------------------------------------------------


def test_starved_example_waits_for_data_and_names_the_line(start: Start) -> None:
    script = EXAMPLES / "starved_loader.py"
    done = start([sys.executable, str(script), "--steps", "7"])
    assert done.status == 0, done.err
    assert done.reading.source.state == "ok"
    assert done.value("ml.step.data_wait.fraction") > 0.5
    assert done.value("ml.step.data_wait.exposed.fraction") == done.value("ml.step.data_wait.fraction")
    workers = done.facts["config.dataloader.num_workers"]
    assert workers.value == 0
    assert workers.where == f"{script}:{line_of(script.read_text(), 'loader = DataLoader(')}"
    wait = done.facts["ml.step.data_wait.fraction"]
    assert wait.where == f"{script}:{line_of(script.read_text(), 'in loader:')}"
    assert 3 <= done.value("ml.step.count") <= 5
    step, waited, computed = (done.value(f"ml.step.{n}time") for n in ("", "data_wait.", "compute."))
    assert step == pytest.approx(waited + computed)
    assert done.value("run.phase") == "training"
    assert done.value("config.dataloader.batch_size") == 32
    assert done.value("config.dataloader.dataset") == "CompressedImages"
    assert done.value("ml.throughput.samples") == pytest.approx(32 / step)
    assert done.value("ml.dataloader.batch.time") == pytest.approx(waited, rel=0.5)
    assert done.value("run.gpu.used") is False
    assert len(done.reading.series["ml.step.time"].t) == done.value("ml.step.count")


def test_healthy_example_does_not_wait(start: Start) -> None:
    done = start([sys.executable, str(EXAMPLES / "healthy_loader.py"), "--steps", "10"])
    assert done.status == 0, done.err
    assert done.value("ml.step.data_wait.fraction") < 0.02
    assert done.value("config.dataloader.num_workers") == 0


@pytest.mark.parametrize(("context", "workers", "epochs"), [("fork", 2, 2), ("spawn", 1, 1)])
def test_workers_report_what_a_batch_costs_them(start: Start, context: str, workers: int, epochs: int) -> None:
    # Module level runs again in spawned workers; a second epoch replaces the workers.
    text = (
        SLOW_DATA
        + f"""
if __name__ == "__main__":
    loader = DataLoader(Slow(), batch_size=8, num_workers={workers}, multiprocessing_context="{context}")
    for _ in range({epochs}):
        for x, y in loader:
            train(x, y)
            optimizer.step()
            time.sleep(0.02)
"""
    )
    done = start(text, OMP_NUM_THREADS="1")
    assert done.status == 0, done.err
    assert done.err == ""
    assert done.value("config.dataloader.num_workers") == workers
    assert done.value("config.dataloader.prefetch_factor") == 2
    assert done.facts["config.dataloader.num_workers"].where == f"train.py:{line_of(text, 'loader = ')}"
    assert 0.03 < done.value("ml.dataloader.batch.cpu_time") < 0.08  # 8 samples of 5 ms
    assert done.value("ml.dataloader.batch.time") >= done.value("ml.dataloader.batch.cpu_time")
    assert len(done.capture["workers"]) == workers  # one file per worker slot, all epochs in it
    assert (
        sum(w["batches"] for w in done.capture["workers"]) == 6 * epochs - workers * epochs
    )  # the first of every process is apart
    assert 0 < done.value("ml.step.data_wait.fraction") < 1


def test_accumulation_is_summed_and_evaluation_left_out(start: Start) -> None:
    text = (
        SLOW_DATA
        + """
loader = DataLoader(Slow(400, 0.001), batch_size=2)
held_out = DataLoader(Slow(8, 0.02), batch_size=2)
for i, (x, y) in enumerate(loader):
    train(x, y)
    if i % 4 == 3:
        optimizer.step()
    if i % 40 == 39:
        with torch.no_grad():
            for x, y in held_out:
                model(x)
"""
    )
    done = start(text)
    assert done.status == 0, done.err
    assert done.value("ml.step.batches") == 4
    assert 30 <= done.value("ml.step.count") <= 50 - 2 - 4
    assert "4 steps with another loader" in done.reading.source.note
    assert done.facts["config.dataloader.num_workers"].where == f"train.py:{line_of(text, 'loader = ')}"


def test_waits_hidden_behind_queued_gpu_work_are_not_exposed(start: Start) -> None:
    done = start(
        SLOW_DATA
        + """
class Stream:
    def query(self):
        return IDLE
torch.cuda.is_initialized = lambda: True
torch.cuda.is_current_stream_capturing = lambda: False
torch.cuda.current_stream = Stream
torch.cuda.memory_stats = lambda: {"allocated_bytes.all.peak": 60, "reserved_bytes.all.peak": 100, "num_ooms": 0}
IDLE = False
for epoch in range(2):
    for i, (x, y) in enumerate(DataLoader(Slow(), batch_size=2)):
        train(x, y)
        IDLE = i % 4 == 0
        optimizer.step()
"""
    )
    assert done.status == 0, done.err
    wait, exposed = (done.value(f"ml.step.data_wait.{n}fraction") for n in ("", "exposed."))
    assert wait > 0.5
    assert exposed == pytest.approx(wait / 4, rel=0.4)
    assert done.value("torch.cuda.memory.allocated.peak") == 60
    assert done.value("torch.cuda.memory.reserved_unused.fraction") == pytest.approx(0.4)


def test_two_ranks_are_kept_apart(start: Start, tmp_path: Path) -> None:
    done = start(
        SLOW_DATA
        + f"""
import torch.distributed as dist, torch.multiprocessing as mp
def rank(number):
    dist.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=number, world_size=2)
    for x, y in DataLoader(Slow(48, 0.002 * (1 + 3 * number)), batch_size=4):
        train(x, y)
        optimizer.step()
    dist.destroy_process_group()
if __name__ == "__main__":
    mp.start_processes(rank, nprocs=2, start_method="fork")
""",
        OMP_NUM_THREADS="1",
    )
    assert done.status == 0, done.err
    ranks = dict(training.parse_ranks(done.capture))
    assert list(ranks) == ["rank 0", "rank 1"]
    facts = [{f.name: f.value for f in reading.facts} for reading in ranks.values()]
    assert [f["run.rank"] for f in facts] == [0, 1]
    assert all(f["config.distributed.world_size"] == 2 == f["config.distributed.local_world_size"] for f in facts)
    assert all(5 <= f["ml.step.count"] <= 10 for f in facts)  # on a busy machine warm-up may take longer
    # A batch of the second rank sleeps 24 ms longer; what a busy machine adds, it adds to both.
    assert facts[1]["ml.step.data_wait.time"] > facts[0]["ml.step.data_wait.time"] + 0.012
    assert done.value("run.rank") == 0
    assert "2 processes trained" in done.reading.source.note


CROWDED = """
import os, subprocess
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
rivals = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(3)]

class Sleepy(Slow):
    def __getitem__(self, index):
        time.sleep(self.seconds)
        return torch.ones(4), torch.zeros(1)

try:
    for x, y in DataLoader(LOADED, batch_size=8, num_workers=WORKERS):
        train(x, y)
        optimizer.step()
finally:
    for rival in rivals:
        rival.kill()
        rival.wait()
"""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("dataset", "computes"), [("Slow(48)", True), ("Sleepy(48)", False)])
def test_waiting_for_a_crowded_cpu_is_no_waiting_for_data(
    start: Start, workers: int, dataset: str, computes: bool
) -> None:
    text = SLOW_DATA + CROWDED.replace("LOADED", dataset).replace("WORKERS", str(workers))
    done = start(text, OMP_NUM_THREADS="1")
    assert done.status == 0, done.err
    names = ("cpu_time", "time", "run_delay")
    cpu, wall, delay = (done.value(f"ml.dataloader.batch.{name}") for name in names)
    assert cpu + delay <= 1.1 * wall
    share = loader_cpu_share(cpu, wall, delay)
    assert share is not None
    if computes:
        assert cpu / wall < 0.5 < share  # rules take a half for the border, and three others want the same CPU
    else:
        assert share < 0.5


def test_inference_is_told_from_training(start: Start) -> None:
    done = start(
        SLOW_DATA
        + """
with torch.no_grad():
    for x, y in DataLoader(Slow(), batch_size=8):
        model(x)
"""
    )
    assert done.value("run.phase") == "inference"
    assert "ml.step.time" not in done.facts
    assert done.value("ml.dataloader.batch.cpu_time") > 0.03


# --- programs do not notice it ------------------------------------------------------------

NOISY = (
    SLOW_DATA
    + """
import inspect, traceback, warnings
class Broken(Slow):
    def __getitem__(self, index):
        raise ValueError("damaged sample")
class Counted(torch.utils.data.IterableDataset):
    def __repr__(self):
        return "Counted"
    def __len__(self):
        return 1
    def __iter__(self):
        return iter([torch.ones(1)] * 3)
if __name__ == "__main__":
    print(sys.path[1:], "sitecustomize" in sys.modules)
    print(inspect.signature(DataLoader), inspect.signature(DataLoader.__init__), [n for n in vars(DataLoader)])
    counted = DataLoader(Counted(), batch_size=None)
    print(len(counted), len(list(counted)))              # warns with the caller's line
    try:
        next(iter(DataLoader(Broken(), num_workers=1)))  # the worker's traceback arrives as text
    except ValueError:
        traceback.print_exc()
    try:
        DataLoader(Slow(), num_workers=-1)
    except ValueError:
        traceback.print_exc()
    wrapped = DataLoader.__init__                        # as frameworks do for a while
    DataLoader.__init__ = lambda self, *args, **kwargs: wrapped(self, *args, **kwargs)
    DataLoader(Slow())
    DataLoader.__init__ = wrapped
    for x, y in DataLoader(Slow(8), batch_size=2):
        train(x, y)
        optimizer.step()
        print(len(x))
    print([type(f) for f in sys.meta_path])
    for x, y in DataLoader(Broken(), batch_size=2):
        train(x, y)
"""
)


def test_output_tracebacks_and_warnings_are_the_same_with_and_without_the_hook(start: Start) -> None:
    plain, hooked = start(NOISY, hook=False), start(NOISY)
    assert plain.status == 1
    assert "damaged sample" in plain.err
    assert "Length of IterableDataset" in plain.err
    assert hooked.out == plain.out
    assert hooked.err == plain.err
    assert hooked.status == plain.status
    assert hooked.value("config.dataloader.num_workers") == 0
    assert hooked.capture["failures"] == []


def test_the_programs_own_sitecustomize_still_runs(start: Start, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/sitecustomize.py").write_text("print('mine', __name__, __spec__.name, __file__)\nvalue = 7\n")
    text = "import sitecustomize, sys\nprint(sitecustomize.value, [p for p in sys.path if 'hook' in p])"
    path = str(tmp_path / "own")
    plain, hooked = start(text, hook=False, PYTHONPATH=path), start(text, PYTHONPATH=path)
    assert "mine sitecustomize sitecustomize" in plain.out
    assert (hooked.out, hooked.err, hooked.status) == (plain.out, plain.err, 0)


def test_a_failing_sitecustomize_fails_as_without_the_hook(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("raise RuntimeError('broken site')\n")
    plain, hooked = (start("print('on')", hook=h, PYTHONPATH=str(tmp_path)) for h in (False, True))
    assert "broken site" in plain.err
    assert (hooked.out, hooked.err, hooked.status) == (plain.out, plain.err, 0)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ([sys.executable, "-I", "-c", "print('hello'); raise SystemExit(3)"], "No Python in this run loaded the hook"),
        (["/bin/sh", "-c", "echo hello; exit 3"], "No Python in this run loaded the hook"),
        ([sys.executable, "-c", "print('hello'); raise SystemExit(3)"], "did not use a PyTorch DataLoader"),
    ],
)
def test_a_run_without_steps_says_why(start: Start, command: list[str], expected: str) -> None:
    done = start(command)
    assert (done.status, done.out, done.err) == (3, "hello\n", "")
    assert done.reading.source.state == "absent"
    assert expected in done.reading.source.note
    assert done.reading.facts == ()


# --- a torch that is not what the hook expects -------------------------------------------------

STAND_IN = {
    "torch/__init__.py": "import torch.utils.data.dataloader, torch.optim.optimizer\n",
    "torch/utils/__init__.py": "",
    "torch/utils/data/__init__.py": "",
    "torch/utils/data/_utils/__init__.py": "",
    "torch/utils/data/_utils/fetch.py": """
class _MapDatasetFetcher:
    def fetch(self, index): return index
class _IterableDatasetFetcher(_MapDatasetFetcher):
    pass
    def fetch(self, index): return index
""",
    "torch/utils/data/dataloader.py": """
from torch.utils.data._utils import fetch
class DataLoader:
    def __init__(self, n): self.n = n
    def __iter__(self): return _BaseDataLoaderIter(self)
class _BaseDataLoaderIter:
    def __init__(self, loader): self.left = loader.n
    def __next__(self):
        self.left -= 1
        if self.left < 0: raise StopIteration
        return self.left
    def __iter__(self): return self
""",
    "torch/optim/__init__.py": "",
    "torch/optim/optimizer.py": """
class Optimizer:
    def __init__(self): self.param_groups = []
class Plain(Optimizer):
    def step(self): return "stepped"
""",
}
STAND_IN_USE = """
import torch
from torch.utils.data.dataloader import DataLoader
optimizer = torch.optim.optimizer.Plain()
for batch in DataLoader(3):
    print(batch, optimizer.step())
"""


def stand_in(folder: Path, file: str, change: tuple[str, str]) -> None:
    for name, text in STAND_IN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert name != file or change[0] in text
        (folder / name).write_text(text.replace(*change) if name == file else text)


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("torch/utils/data/dataloader.py", ("_BaseDataLoaderIter", "_Other"), "_BaseDataLoaderIter"),
        ("torch/utils/data/_utils/fetch.py", ("_IterableDatasetFetcher", "_Other"), "_IterableDatasetFetcher"),
        (
            "torch/utils/data/dataloader.py",
            ("self.left = loader.n", "self.left = loader.n; torch = 0"),
            "is_grad_enabled",
        ),
        ("torch/optim/optimizer.py", ("def __init__(self): self.param_groups = []", "groups = ()"), "__init__"),
    ],
)
def test_an_unexpected_torch_runs_untouched_and_the_note_says_why(
    start: Start, tmp_path: Path, file: str, change: tuple[str, str], reason: str
) -> None:
    stand_in(tmp_path, file, change)
    done = start(STAND_IN_USE)
    assert (done.out, done.err, done.status) == ("2 stepped\n1 stepped\n0 stepped\n", "", 0)
    assert done.reading.source.state in ("ok", "unreadable")
    assert "gave up" in done.reading.source.note
    assert reason in done.reading.source.note


def test_a_torch_without_global_optimizer_hooks_is_measured_too(start: Start, tmp_path: Path) -> None:
    enough = "is_grad_enabled = lambda: True\nclass version: cuda = None\n"
    stand_in(tmp_path, "torch/__init__.py", ("import", enough + "import"))
    done = start(STAND_IN_USE)
    assert (done.out, done.err, done.status) == ("2 stepped\n1 stepped\n0 stepped\n", "", 0)
    assert done.capture["failures"] == []
    assert done.value("run.phase") == "training"
    assert done.value("ml.step.count") == 1


def test_every_hook_file_is_python_3_8() -> None:
    files = sorted(training.HOOK.rglob("*.py"))
    assert len(files) > 3
    for file in files:
        ast.parse(file.read_text(), str(file), feature_version=(3, 8))
    importable = {p.name for p in training.HOOK.iterdir()} - {"__pycache__"}
    assert importable == {"sitecustomize.py", "_advisor_hook"}
