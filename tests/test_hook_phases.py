"""What the hook sees inside and beside the steps: phases, checkpoints, evaluation, waits for a GPU; real programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_hook_training import Done, Start, line_of, start

from advisor.collect import training

__all__ = ["start"]  # the fixture

# Every wait is a sleep of a known length, so that shares are known whatever else the machine does.
PHASES = """
import time, torch
from torch.utils.data import DataLoader
class Wait(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        time.sleep(0.02)
        return x * 1
    @staticmethod
    def backward(ctx, g):
        time.sleep(0.04)
        return g * 1
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def loss(x):
    return Wait.apply(model(x)).sum()
"""


def process(done: Done) -> dict[str, Any]:
    return next(p for p in done.capture["processes"] if p["ends"] or p["loaders"])


LOOPS = {
    "plain": "for x in data: loss(x).backward(); optimizer.step()",
    "accumulated": "for i, x in enumerate(data):\n    loss(x).backward()\n    if i % 2: optimizer.step()",
    "closure": """
for x in data:
    def closure():
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value
    optimizer.step(closure)
""",
    "two optimizers": """
other = torch.optim.Adam(model.parameters())
for x in data:
    loss(x).backward(); optimizer.step(); loss(x).backward(); other.step()
""",
}


@pytest.mark.parametrize("name", LOOPS)
def test_forward_and_backward_are_told_apart_in_every_kind_of_loop(start: Start, name: str) -> None:
    done = start(PHASES + "data = DataLoader(torch.ones(24, 4), batch_size=1)\n" + LOOPS[name])
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    forward, backward = (done.value(f"ml.step.{phase}.fraction") for phase in ("forward", "backward"))
    assert backward > forward > 0.15
    assert 0.7 < forward + backward <= 1.0
    assert done.value("ml.step.optimizer.fraction") < 0.2


def test_checkpoints_are_counted_and_belong_to_no_step(start: Start) -> None:
    text = (
        PHASES
        + """
import io
class Slowly(io.BytesIO):
    def flush(self):
        time.sleep(0.2)
torch.save({"before": 1}, "cache.pt")      # before the first step: no checkpoint
for i, x in enumerate(DataLoader(torch.ones(20, 4), batch_size=1)):
    model(x).sum().backward()
    optimizer.step()
    if i % 10 == 9:
        torch.save(model.state_dict(), Slowly())
        torch.save(optimizer.state_dict(), "optimizer.pt")
"""
    )
    done = start(text)
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert done.value("ml.checkpoint.count") == 2
    assert 0.2 <= done.value("ml.checkpoint.time") < 0.4
    assert done.facts["ml.checkpoint.time"].where == f"train.py:{line_of(text, 'Slowly())')}"
    share = 2 * done.value("ml.checkpoint.time") / process(done)["seconds"]
    assert done.value("ml.checkpoint.blocking.fraction") == pytest.approx(share)
    assert done.value("ml.step.time") < 0.1


def test_libraries_that_save_are_seen(start: Start, tmp_path: Path) -> None:
    done = start(
        PHASES
        + f"""
from safetensors.torch import save_file        # bound before the hook could replace anything
import torch.distributed.checkpoint as dcp, warnings
warnings.simplefilter("ignore")
for i, x in enumerate(DataLoader(torch.ones(12, 4), batch_size=1)):
    model(x).sum().backward()
    optimizer.step()
    if i == 5:
        save_file(model.state_dict(), "{tmp_path}/model.safetensors")
    if i == 8:
        dcp.save(model.state_dict(), checkpoint_id="{tmp_path}/dcp")
"""
    )
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert done.value("ml.checkpoint.count") == 2
    assert (tmp_path / "model.safetensors").exists()


EVALUATED = (
    PHASES
    + """
train, held_out = DataLoader(torch.ones(10, 4), batch_size=1), DataLoader(torch.ones(8, 4), batch_size=1)
for epoch in range(2):
    model.train()
    for x in train:
        model(x).sum().backward()
        optimizer.step()
    model.eval()
    GRAD
        for x in held_out:
            time.sleep(0.02)
            model(x)
"""
)


@pytest.mark.parametrize(("grad", "recorded"), [("with torch.no_grad():", False), ("if True:", True)])
def test_evaluation_between_epochs(start: Start, grad: str, recorded: bool) -> None:
    text = EVALUATED.replace("GRAD", grad)
    done = start(text)
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    evaluation = done.facts["ml.evaluation.fraction"]
    assert evaluation.value > 2 * 8 * 0.02 / process(done)["seconds"]
    assert evaluation.where == f"train.py:{line_of(text, 'in held_out:')}"
    assert done.value("config.grad_enabled_in_inference") is recorded


@pytest.mark.parametrize(
    ("loop", "phase", "recorded"),
    [
        ("model.eval()\nfor x in data: model(x)", "inference", True),
        ("model.eval()\nfor x in data:\n    with torch.inference_mode(): model(x)", None, None),
        ("model.eval()\nwith torch.no_grad():\n    for x in data: model(x)", "inference", False),
        ("for x in data: model(x).sum().backward()", None, None),  # updated by hand: training of some kind
        ("for x in data: x.mean()", None, None),
    ],
)
def test_inference_with_autograd_on(start: Start, loop: str, phase: str | None, recorded: bool | None) -> None:
    done = start(PHASES + "data = DataLoader(torch.ones(12, 4), batch_size=1)\n" + loop)
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    found = {name: fact.value for name, fact in done.facts.items()}
    assert found.get("run.phase") == phase
    assert found.get("config.grad_enabled_in_inference") is recorded


@pytest.mark.parametrize("workers", [0, 1])
def test_collating_and_epoch_starts(start: Start, workers: int) -> None:
    done = start(
        PHASES
        + f"""
class Slow(torch.utils.data.Dataset):
    def __len__(self):
        return 16
    def __getitem__(self, index):
        time.sleep(0.005)
        return torch.ones(4)
def collate(samples):
    time.sleep(0.06)
    return torch.utils.data.default_collate(samples)
if __name__ == "__main__":
    loader = DataLoader(Slow(), batch_size=4, num_workers={workers}, collate_fn=collate)
    for epoch in range(3):
        for x in loader:
            model(x).sum().backward()
            optimizer.step()
""",
        OMP_NUM_THREADS="1",
    )
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert 0.5 < done.value("ml.dataloader.collate.fraction") < 0.9  # 60 ms of 60 + 4 * 5
    starts, wait = (done.value(f"ml.step.data_wait.{name}fraction") for name in ("epoch_start.", ""))
    assert 0.1 < starts < wait + 0.1
    assert done.facts["ml.step.data_wait.epoch_start.fraction"].where.startswith("train.py:")


FAKE_GPU = """
torch.cuda.is_initialized = lambda: True
torch.cuda.is_current_stream_capturing = lambda: False
torch.cuda.memory_stats = lambda: {}
class Stream:
    def query(self):
        return True
torch.cuda.current_stream = Stream
torch.cuda.synchronize = lambda device=None: time.sleep(0.01)
torch.Tensor.is_cpu = property(lambda self: False)      # every tensor passes for one on the GPU
"""


def test_waits_for_the_gpu_are_counted_with_their_line_and_tensors_are_as_before(start: Start) -> None:
    text = (
        PHASES
        + FAKE_GPU
        + """
names = ("item", "tolist", "cpu", "to", "cuda", "__bool__", "__int__", "__float__", "__index__")
before = [vars(torch.Tensor).get(name) for name in names]
for i, x in enumerate(DataLoader(torch.ones(60, 4), batch_size=1)):
    loss = model(x).sum()
    loss.backward()
    optimizer.step()
    value = loss.item() + float(loss)
    torch.cuda.synchronize()
    try:
        torch.ones(2).item()
    except RuntimeError as error:
        assert error.__traceback__.tb_next is None
assert before == [vars(torch.Tensor).get(name) for name in names]
assert isinstance(value, float) and torch.ones(1).item.__name__ == "item"
"""
    )
    done = start(text)
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert done.value("ml.step.sync.count") == 4
    assert done.value("ml.step.sync.fraction") > 0.3
    assert done.facts["ml.step.sync.fraction"].where == f"train.py:{line_of(text, '    torch.cuda.synchronize()')}"
    assert done.value("ml.step.copy.count") == 0


def test_on_a_cpu_nothing_waits_for_a_gpu(start: Start) -> None:
    done = start(
        PHASES
        + """
for x in DataLoader(torch.ones(60, 4), batch_size=1):
    loss = model(x).sum()
    loss.backward()
    optimizer.step()
    loss.item()
"""
    )
    assert done.value("ml.step.count") > 40
    assert not [name for name in done.facts if "sync" in name or "copy" in name]


COMPILED = (
    PHASES
    + FAKE_GPU
    + """
import json, logging
logging.disable(logging.CRITICAL)
from torch._dynamo.utils import counters
for parameter in model.parameters():  # which branches are taken must not depend on chance
    torch.nn.init.constant_(parameter, 0.1)
@torch.compile(backend="eager")
def forward(x):
    return (model(x).sum() * x.to(torch.float32).cpu().mean()).cpu()
@torch.compile(backend="eager")
def metric(x):
    value = model(x).sum()
    if value > 0:
        return value.item()
    return int(value)
@torch.compile(backend="eager")
def gradient(x):
    return torch.autograd.grad(model(x).sum(), [model.weight])[0]
for x in DataLoader(torch.ones(50, 4), batch_size=1):
    forward(x).backward()
    metric(x)
    gradient(x)
    optimizer.step()
print(json.dumps([counters["frames"], counters["stats"], sum(counters["graph_break"].values())]))
"""
)


def test_torch_compile_makes_the_same_graphs_with_and_without_the_hook(start: Start) -> None:
    plain, hooked = start(COMPILED, hook=False), start(COMPILED)
    assert plain.status == hooked.status == 0, hooked.err
    assert json.loads(plain.out)[0]["ok"] > 3
    assert hooked.out == plain.out
    assert hooked.capture["failures"] == []
    assert hooked.value("ml.step.count") > 20


def test_steps_of_a_compiled_optimizer_are_seen(start: Start) -> None:
    done = start(
        PHASES
        + """
import logging
logging.disable(logging.CRITICAL)
step = torch.compile(optimizer.step, backend="eager")
for x in DataLoader(torch.ones(30, 4), batch_size=1):
    model(x).sum().backward()
    step()
"""
    )
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert process(done)["ends"] == 30


def test_garbage_collection_is_timed(start: Start) -> None:
    done = start(
        PHASES
        + """
import gc
held = [[i] for i in range(200_000)]
for x in DataLoader(torch.ones(40, 4), batch_size=1):
    time.sleep(0.03)
    model(x).sum().backward()
    optimizer.step()
    gc.collect()
"""
    )
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert 0.05 < done.value("process.gc.pause.fraction") < 0.95


TOKENIZING = (
    PHASES
    + """
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")))
words("a b")
def collate(lines):
    if INSIDE:
        return torch.tensor([words(line)["input_ids"] for line in lines]).float()
    return torch.ones(2, 1)
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x in DataLoader(["a", "b"] * 10, batch_size=2, num_workers=WORKERS, collate_fn=collate):
    model(x).sum().backward()
    optimizer.step()
    words("b")
"""
)


@pytest.mark.parametrize(("workers", "inside"), [(0, True), (1, True), (0, False)])
def test_a_tokenizer_in_the_loader_is_found(start: Start, workers: int, inside: bool) -> None:
    done = start(TOKENIZING.replace("WORKERS", str(workers)).replace("INSIDE", str(inside)))
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    found = done.facts.get("config.tokenize_on_the_fly")
    where = f"train.py:{line_of(TOKENIZING, 'words(line)')}"
    assert (found and (found.value, found.where)) == ((True, where) if inside else None)


FRAMEWORKS = {
    "transformers": """
import torch
from transformers import Trainer, TrainingArguments
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x=None, labels=None):
        y = self.layer(x)
        return {"loss": ((y - labels) ** 2).mean(), "logits": y}
data = [{"x": torch.ones(4), "labels": torch.zeros(1)} for _ in range(160)]
arguments = TrainingArguments(
    output_dir="out", per_device_train_batch_size=4, num_train_epochs=2, save_steps=20, eval_strategy="steps",
    eval_steps=20, report_to=[], disable_tqdm=True, use_cpu=True, gradient_accumulation_steps=2)
Trainer(Model(), arguments, train_dataset=data, eval_dataset=data[:32]).train()
""",
    "lightning": """
import torch, lightning, warnings
warnings.simplefilter("ignore")
class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def training_step(self, batch, index):
        return self.layer(batch).mean()
    def validation_step(self, batch, index):
        self.layer(batch)
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
loaders = [torch.utils.data.DataLoader(torch.ones(size, 4), batch_size=4) for size in (80, 40)]
lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False,
                  enable_model_summary=False).fit(Model(), *loaders)
""",
    "accelerate": """
import torch
from accelerate import Accelerator
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model = torch.nn.Linear(4, 1)
parts = accelerator.prepare(model, torch.optim.AdamW(model.parameters()),
                            torch.utils.data.DataLoader(torch.ones(160, 4), batch_size=2))
model, optimizer, loader = parts
for x in loader:
    with accelerator.accumulate(model):
        accelerator.backward(model(x).mean())
        optimizer.step()
        optimizer.zero_grad()
accelerator.save_state("out")
model.eval()
""",
}


@pytest.mark.parametrize(
    ("name", "steps", "batches", "saves", "evaluates"),
    [("transformers", 40, 2, 2, True), ("lightning", 40, 1, 2, True), ("accelerate", 40, 2, 1, False)],
)
def test_frameworks(start: Start, name: str, steps: int, batches: int, saves: int, evaluates: bool) -> None:
    done = start(FRAMEWORKS[name])
    assert (done.status, done.capture["failures"]) == (0, []), done.err
    assert process(done)["ends"] == steps
    assert done.value("ml.step.batches") == pytest.approx(batches, abs=0.15)
    assert done.value("ml.checkpoint.count") == saves
    assert (done.value("ml.evaluation.fraction") > 0) is evaluates
    assert 0 < done.value("ml.step.forward.fraction") + done.value("ml.step.backward.fraction") < 1
    assert done.value("ml.step.optimizer.fraction") < 0.6


# --- failures and bounds -----------------------------------------------------------------

BREAKS = {
    "groups.Step.arrived": "measuring",
    "groups.Step.backward_ended": "measuring",
    "groups.Step.optimizer_ended": "measuring",
    "groups.Group.add": "measuring",
    "loaders.Loader.waited": "measuring",
    "loaders.Loaders.of": "describing",
    "loaders.Loaders.made": "finding",
    "phases.timed": "measuring",
    "steps.Recorder.saved": "measuring",
    "steps.Recorder.asked": "measuring",
    "steps.Recorder.write": "",
    "syncs.Syncs.step": "measuring",
    "syncs.Syncs._begin": "measuring",
    "describe.process": "measuring",
    "describe.autograd_nodes": "measuring",
}
EVERYTHING = (
    PHASES
    + FAKE_GPU
    + """
for epoch in range(2):
    for x in DataLoader(torch.ones(50, 4), batch_size=1):
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        loss.item()
    torch.save(model.state_dict(), "model.pt")
    model.eval()
    for x in DataLoader(torch.ones(7, 4), batch_size=1):
        model(x)
print("done", vars(torch.Tensor).get("item"))
"""
)


@pytest.mark.parametrize("place", BREAKS)
def test_a_failure_anywhere_leaves_the_training_running(start: Start, place: str) -> None:
    module, _, name = place.partition(".")
    breaking = f"""
import sys, torch
owner = sys.modules["_advisor_hook.{module}"]
*path, name = "{name}".split(".")
for part in path:
    owner = getattr(owner, part)
def broken(*args, **kwargs):
    raise ZeroDivisionError("injected")
setattr(owner, name, broken)
"""
    done = start(breaking + EVERYTHING)
    assert (done.status, done.out, done.err) == (0, "done None\n", "")
    assert len(done.capture["failures"]) == 1
    assert BREAKS[place] in done.capture["failures"][0]
    assert "injected" in done.capture["failures"][0]


BOUNDED = """
import gc, json, os, random, sys, types
from _advisor_hook import output, steps
from _advisor_hook.loaders import Loader
torch = types.ModuleType("torch")
torch.is_grad_enabled = lambda: True
sys.modules["torch"] = torch
steps.describe.process = lambda optimizer: {}
class Optimizer: pass
recorder, optimizer, sizes = steps.recorder, Optimizer(), []
recorder.loaders.all.append(Loader(0, {"batch_size": 8}, "train.py:1"))
loader = recorder.loaders.all[0]
real = output.perf_counter
clock = [real()]
steps.perf_counter = lambda: clock[0]
random.seed(0)
for i in range(STEPS):
    clock[0] += random.lognormvariate(-9, 1)
    recorder.waited(loader, clock[0] - 1e-5, clock[0], None)
    recorder.began[steps.get_ident()] = clock[0]
    recorder.step_ends(optimizer)
    if i % 1000 == 0:
        recorder.saved(1e-6)
    if i in (STEPS // 10, STEPS - 1):
        recorder.write()
        gc.collect()
        folder = os.environ["ADVISOR_HOOK_DIR"]
        sizes.append([sys.getallocatedblocks(), os.path.getsize(os.path.join(folder, recorder.name))])
assert recorder.ends == STEPS and sum(g.steps for g in recorder.groups.values()) == STEPS - 1 - 64
print(json.dumps(sizes))
"""


@pytest.mark.parametrize("count", [1_000_000])
def test_memory_and_output_do_not_grow_with_the_steps(tmp_path: Path, count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", BOUNDED.replace("STEPS", str(count))],
        env={"PYTHONPATH": str(training.HOOK), "ADVISOR_HOOK_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (early, early_file), (late, late_file) = json.loads(done.stdout)
    assert late < early + 3_000  # blocks of memory, of every kind
    assert late_file < early_file + 20_000
    assert late_file < 100_000
