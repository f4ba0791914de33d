"""A script read before it runs: what it sets, which patterns it has, and what must not be called one."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.errors import InputError
from advisor.models import Fact, Reading
from advisor.readers.artefact import Artefact
from advisor.readers.recognise import recognise
from advisor.readers.script import read_command, read_script

IMPORTS = "import argparse, gc, os\nimport torch\nfrom torch.utils.data import DataLoader\n"
LOOP = """
for epoch in range(3):
    total = 0
    for batch in train_loader:
        loss = model(batch)
        loss.backward()
        optimizer.step()
        {line}
    print(total / 10, loss.item())
torch.save(model, 'm.pt')
"""


def read(folder: Path, text: str, *arguments: str) -> dict[str, Fact]:
    (folder / "train.py").write_text(textwrap.dedent(text), encoding="utf-8")
    return facts(read_command(["python", "train.py", *arguments], folder))


def facts(reading: Reading | None) -> dict[str, Fact]:
    assert reading is not None
    assert reading.source.state == "ok", reading.source.note
    assert len({f.name for f in reading.facts}) == len(reading.facts)
    return {f.name: f for f in reading.facts}


def value(found: dict[str, Fact], name: str) -> object:
    return found[name].value if name in found else None


# --- settings -------------------------------------------------------------------------


def test_a_loader_with_nothing_set_has_the_defaults_and_its_line(tmp_path: Path) -> None:
    found = read(tmp_path, IMPORTS + "loader = DataLoader(ds)\n")
    names = ("num_workers", "batch_size", "pin_memory", "persistent_workers", "prefetch_factor")
    assert [value(found, f"config.dataloader.{n}") for n in names] == [0, 1, False, False, None]
    fact = found["config.dataloader.num_workers"]
    assert (fact.where, fact.origin) == ("train.py:4", "train.py")


@pytest.mark.parametrize(
    ("line", "workers"),
    [
        ("DataLoader(ds, 8, True, None, None, 3)", 3),
        ("DataLoader(ds, num_workers=WORKERS)", 5),
        ("DataLoader(ds, num_workers=args.workers)", 2),
        ("DataLoader(ds, num_workers=os.cpu_count())", None),
        ("DataLoader(ds, num_workers=0 if debug else 4)", None),
        ("DataLoader(ds, **options)", None),
        ("DataLoader(*everything)", None),
        ("torch.utils.data.DataLoader(ds, num_workers=TWICE)", None),
        ("mine.DataLoader(ds)", None),
    ],
)
def test_arguments_are_resolved_or_left_unknown(tmp_path: Path, line: str, workers: int | None) -> None:
    before = """
parser = argparse.ArgumentParser()
parser.add_argument("--workers", "-j", type=int, default=2)
args = parser.parse_args()
WORKERS: int = 5
TWICE = 1
TWICE = 2
"""
    assert value(read(tmp_path, IMPORTS + before + f"loader = {line}\n"), "config.dataloader.num_workers") == workers


@pytest.mark.parametrize(
    ("arguments", "workers"),
    [
        ((), 2),
        (("--workers", "7"), 7),
        (("--workers=0",), 0),
        (("-j", "4"), 4),
        (("-j4",), None),
        (("--work", "4"), None),
    ],
)
def test_the_command_line_goes_before_a_default(
    tmp_path: Path, arguments: tuple[str, ...], workers: int | None
) -> None:
    script = IMPORTS + "p = argparse.ArgumentParser()\np.add_argument('-j', '--workers', type=int, default=2)\n"
    found = read(
        tmp_path, script + "args = p.parse_args()\nloader = DataLoader(ds, num_workers=args.workers)\n", *arguments
    )
    assert value(found, "config.dataloader.num_workers") == workers


def test_what_was_read_through_a_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(IMPORTS + "N = 0\nloader = DataLoader(ds, num_workers=N)\n")
    reading = read_command(["python3.11", "-u", "train.py"], tmp_path)
    assert reading is not None
    assert "through N" in reading.source.note
    assert "not run" in reading.source.note


def test_exec_may_set_any_global(tmp_path: Path) -> None:
    found = read(tmp_path, IMPORTS + "N = 0\nexec(open('config.py').read())\nloader = DataLoader(ds, num_workers=N)\n")
    assert "config.dataloader.num_workers" not in found


def test_of_several_loaders_the_one_in_the_training_loop_counts(tmp_path: Path) -> None:
    script = """
from torch.utils.data import DataLoader
def fit(model, batches, optimizer):
    for i, (x, y) in enumerate(tqdm(batches)):
        loss = model(x, y)
        loss.backward()
        optimizer.step()
def main():
    first = DataLoader(a, num_workers=1)
    second = DataLoader(b, num_workers=2)
    third = DataLoader(c, num_workers=3)
    fit(model, second, optimizer)
"""
    found = read(tmp_path, script)
    assert value(found, "config.dataloader.num_workers") == 2
    assert found["config.dataloader.num_workers"].where == "train.py:10"


def test_loaders_that_cannot_be_told_apart_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(IMPORTS + "a = DataLoader(x)\nb = DataLoader(y, num_workers=2)\n")
    reading = read_command(["python", "train.py"], tmp_path)
    assert "config.dataloader.num_workers" not in facts(reading)
    assert reading is not None
    assert "Which of the 2 DataLoaders" in reading.source.note


@pytest.mark.parametrize("made", ["transformers import TrainingArguments", "trl import SFTConfig as TrainingArguments"])
def test_trainer_arguments(tmp_path: Path, made: str) -> None:
    script = f"""
from {made}
args = TrainingArguments("out", per_device_train_batch_size=4, gradient_checkpointing=True, bf16=True, fp16=False,
                         torch_compile=False, logging_steps=1, optim="adamw_torch_fused", ddp_bucket_cap_mb=50)
"""
    found = read(tmp_path, script)
    expected = {
        "config.dataloader.num_workers": 0,
        "config.dataloader.pin_memory": True,
        "config.dataloader.batch_size": 4,
        "config.gradient_checkpointing": True,
        "config.precision.compute": "bf16",
        "config.compile.enabled": False,
        "config.logging.interval": 1.0,
        "config.optimizer.implementation": "fused",
        "config.ddp.bucket_cap": 50,
    }
    assert {name: value(found, name) for name in expected} == expected
    assert found["config.ddp.bucket_cap"].unit == "MiBy"


def test_lightning_wrappers_and_switches(tmp_path: Path) -> None:
    script = """
import os
import lightning as L
import torch
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel as DDP
os.environ["CUDA_LAUNCH_BLOCKING"] = "1"
torch.backends.cudnn.benchmark = True
torch.use_deterministic_algorithms(True)
torch.set_default_dtype(torch.float64)
model = torch.compile(DDP(net, find_unused_parameters=True))
trainer = L.Trainer(precision="bf16-mixed", log_every_n_steps=1, detect_anomaly=True)
"""
    found = read(tmp_path, script)
    expected = {
        "config.launch_blocking": True,
        "config.cudnn.benchmark": True,
        "config.deterministic": True,
        "config.model.dtype": "float64",
        "config.compile.enabled": True,
        "config.distributed.strategy": "DDP",
        "config.ddp.find_unused_parameters": True,
        "config.precision.compute": "bf16",
        "config.anomaly_mode": True,
        "config.logging.interval": 1.0,
    }
    assert {name: value(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    "text",
    [
        "if args.debug:\n    torch.autograd.set_detect_anomaly(True)\n",
        "torch.autograd.set_detect_anomaly(args.debug)\n",
        "debug and torch.autograd.set_detect_anomaly(True)\n",
        "torch.autograd.set_detect_anomaly(True)\ntorch.autograd.set_detect_anomaly(False)\n",
    ],
)
def test_a_switch_that_depends_on_the_run_is_not_known(tmp_path: Path, text: str) -> None:
    assert "config.anomaly_mode" not in read(tmp_path, IMPORTS + text)


# --- patterns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("history.append(loss.item())", "host_read"),
        ("bar.set_postfix(loss=loss.detach().cpu().item())", "host_read"),
        ("print(loss)", "host_read"),
        ("print(f'loss {loss:.3f}')", "host_read"),
        ("total += float(loss)", "host_read"),
        ("if not math.isfinite(loss.item()): raise SystemExit", "host_read"),
        ("if rank == 0: print(loss.item())", "host_read"),
        ("torch.cuda.synchronize()", "synchronize"),
        ("torch.cuda.empty_cache()", "cache_flush"),
        ("gc.collect()", "gc_collect"),
        ("total += loss", "graph_kept"),
        ("total = total + loss * 2", "graph_kept"),
        ("losses.append(loss)", "graph_kept"),
        ("self.losses.append(loss)", "graph_kept"),
        ("torch.save(model.state_dict(), path)", "save"),
        ("model.save_pretrained(path)", "save"),
        ("seen = torch.cat([seen, batch])", "tensor_growth"),
        ("for i in range(x.size(0)):\n            for j in range(x.size(1)): y[i, j] = f(x[i, j])", "element_loop"),
    ],
)
def test_a_pattern_in_every_step_is_counted_once_with_its_line(tmp_path: Path, line: str, pattern: str) -> None:
    found = read(tmp_path, IMPORTS + LOOP.format(line=line))
    counted = {n: f.value for n, f in found.items() if n.startswith("code.") and f.value}
    assert counted == {f"code.{pattern}.count": 1}
    where = found[f"code.{pattern}.count"].where
    assert where is not None
    assert where == "train.py:11"


@pytest.mark.parametrize(
    "line",
    [
        "pass",
        "if step % 100 == 0: print(loss.item())",
        "if step % 100 == 0 and rank == 0: torch.save(model, path)",
        "if should_log: print(loss.item())",
        "if step == last: torch.cuda.synchronize()",
        "if step % 50: continue\n        print(loss.item()); gc.collect()",
        "total += loss.detach()",
        "total += loss.item() if step % 10 == 0 else 0",
        "step % 10 or print(loss.item())",
        "with torch.no_grad(): total += loss",
        "aux = 0\n        aux += loss",
        "losses = []\n        losses.append(loss)",
        "hooks.append(lambda: loss.item())",
        "scheduler.step()",
        "names = [n for n in config.items()]",
        "rows.append(np.asarray(labels).tolist())",
        "x = x.to(device)",
        "for group in optimizer.param_groups: group['lr'] = lr",
    ],
)
def test_ordinary_code_is_not_called_slow(tmp_path: Path, line: str) -> None:
    found = read(tmp_path, IMPORTS + LOOP.format(line=line))
    assert value(found, "run.phase") == "training"
    assert {n: f.value for n, f in found.items() if n.startswith("code.") and f.value} == {}


def test_micro_batches_belong_to_the_step_and_evaluation_does_not(tmp_path: Path) -> None:
    script = """
import torch
@torch.no_grad()
def estimate():
    model.eval()
    for k in range(10):
        losses[k] = model(X).item()
while True:
    if it % interval == 0:
        estimate()
        torch.save(state, 'ckpt.pt')
    for micro in range(8):
        loss = model(X, Y) / 8
        scaler.scale(loss).backward()
    scaler.step(optimizer)
    if it % log_interval == 0:
        lossf = loss.item() * 8
    it += 1
"""
    found = read(tmp_path, script)
    assert found["run.phase"].where == "train.py:8"
    assert {n: f.value for n, f in found.items() if n.startswith("code.") and f.value} == {}
    assert "config.grad_enabled_in_inference" not in found


def test_a_step_function_is_a_step_when_a_loop_calls_it(tmp_path: Path) -> None:
    step = "def step(batch):\n    loss = model(batch)\n    loss.backward()\n    return loss.item()\n"
    assert value(read(tmp_path, IMPORTS + step + "step(first)\n"), "code.host_read.count") is None
    assert value(read(tmp_path, IMPORTS + step + "for b in data: step(b)\n"), "code.host_read.count") == 1
    module = "class M:\n    def training_step(self, batch):\n        loss = self(batch)\n"
    module += "        self.all.append(loss)\n        return loss\n"
    assert value(read(tmp_path, IMPORTS + module), "code.graph_kept.count") == 1


def test_a_pinned_batch_copied_with_a_wait(tmp_path: Path) -> None:
    made = "train_loader = DataLoader(ds, pin_memory={pin})\n"
    for pin, line, count in (
        (True, "batch = {k: v.to(device) for k, v in batch.items()}", 1),
        (True, "batch = batch.to(device, non_blocking=True)", 0),
        (False, "batch = batch.to(device)", None),
    ):
        found = read(tmp_path, IMPORTS + made.format(pin=pin) + LOOP.format(line=line))
        assert value(found, "code.blocking_copy.count") == count, line


def test_tokenising_while_loading(tmp_path: Path) -> None:
    collate = "def together(rows):\n    return self.tokenizer({0})\nloader = DataLoader(ds, collate_fn=together)\n"
    assert value(read(tmp_path, IMPORTS + collate.format("rows")), "config.tokenize_on_the_fly") is True
    padding = collate.replace("tokenizer(", "tokenizer.pad(").format("rows")
    assert "config.tokenize_on_the_fly" not in read(tmp_path, IMPORTS + padding)


@pytest.mark.parametrize(
    ("text", "recorded"),
    [
        ("def test():\n    model.eval()\n    for b in data: model(b)\ntest()\n", True),
        ("@torch.no_grad()\ndef test():\n    model.eval()\n    for b in data: model(b)\n", None),
        ("def test():\n    model.eval()\n    with torch.inference_mode():\n        for b in data: model(b)\n", None),
        ("def test():\n    model.eval()\n    for b in data: model(b)\nwith torch.no_grad(): test()\n", None),
        ("def attack():\n    model.eval()\n    for b in data: model(b).backward()\n", None),
        ("def test():\n    for b in data: model(b)\n", None),
    ],
)
def test_evaluation_that_records_gradients(tmp_path: Path, text: str, recorded: bool | None) -> None:
    assert value(read(tmp_path, IMPORTS + text), "config.grad_enabled_in_inference") == recorded


# --- which files ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["python", "train.py"],
        ["/usr/bin/python3.12", "-u", "-X", "dev", "train.py", "other.py"],
        ["python", "-m", "train"],
        ["env", "A=1", "python", "train.py"],
        ["torchrun", "--nproc-per-node", "2", "train.py", "--lr", "1"],
        ["python", "-m", "torch.distributed.run", "--nproc-per-node=2", "train.py"],
        ["accelerate", "launch", "--config_file", "c.yaml", "train.py"],
        ["accelerate", "launch", "-m", "train"],
        ["deepspeed", "--num_gpus=2", "train.py", "--deepspeed"],
        ["./train.py"],
    ],
)
def test_the_script_is_found_in_the_command(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "train.py").write_text(IMPORTS + "loader = DataLoader(ds)\n")
    (tmp_path / "other.py").write_text("")
    assert value(facts(read_command(command, tmp_path)), "config.dataloader.num_workers") == 0


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["sleep", "1"],
        ["bash", "train.sh"],
        ["python", "-c", "import torch"],
        ["python", "gone.py"],
        ["python", "-"],
    ],
)
def test_a_command_without_a_script_gives_nothing(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "train.sh").write_text("python train.py")
    (tmp_path / "train.py").write_text("")
    assert read_command(command, tmp_path) is None


def test_imports_from_the_same_folder_are_followed(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text("import torch\nfrom .data import loader\nimport json, numpy\n")
    (package / "data.py").write_text(IMPORTS + "import pkg.train\nloader = DataLoader(ds)\n")
    (package / "unrelated.py").write_text("import torch\ntorch.autograd.set_detect_anomaly(True)\n")
    found = facts(read_command(["python", "-m", "pkg.train"], tmp_path))
    assert found["config.dataloader.num_workers"].where == "pkg/data.py:5"
    assert "config.anomaly_mode" not in found


def test_reading_is_bounded_and_says_so(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"m{i}.py").write_text("x = 1\n")
    (tmp_path / "train.py").write_text("\n".join(f"import m{i}" for i in range(60)))
    reading = read_script(tmp_path / "train.py", tmp_path)
    assert "50 files" in reading.source.note
    assert "m49.py is beyond the first 50 files" in reading.source.note
    (tmp_path / "m3.py").write_text("x = 1\n" * 400_000)
    assert "m3.py has 2,400,000 bytes" in read_script(tmp_path / "train.py", tmp_path).source.note


def test_a_script_is_known_by_its_name_or_first_lines(tmp_path: Path) -> None:
    for name, text, expected in (
        ("a.py", "", "a Python script"),
        ("a", "#!/usr/bin/env python3\n", "a Python script"),
        ("c", '"""Train."""\nfrom torch import nn\n', "a Python script"),
        ("b", "#!/bin/sh\n", "text"),
        ("log", "Traceback:\n    from torch import nn\nimported from cache\n", "text"),
        ("a.json", "{}", "a profile or diagnosis"),
    ):
        (tmp_path / name).write_text(text)
        kind = recognise(Artefact(name, tmp_path / name))
        assert kind is not None
        assert kind.name == expected


# --- anything at all ------------------------------------------------------------------

WORDS = st.sampled_from(
    "import torch\n|from torch.utils.data import DataLoader\n|loader = DataLoader(ds, |num_workers=|0|x|)|\n|    |"
    "for b in loader:\n|loss.backward()\n|opt.step()\n|loss.item()\n|if a % 2: |continue\n|def f(*a, **k):\n|"
    "while True:\n|total += loss\n|lambda x: x\n|**kw|'é\0'|model.eval()\n|x = x\n|args.x|".split("|")
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300), st.lists(WORDS, max_size=40).map("".join)))
def test_any_file_gives_facts_or_one_sentence(tmp_path: Path, junk: bytes | str) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(junk.encode("utf-8", "surrogatepass") if isinstance(junk, str) else junk)
    said = said_of(path)
    assert "\n" not in said
    run = read_command(["python", "train.py"], tmp_path)
    assert run is not None
    assert (run.source.state, run.source.note) == (("unreadable", f"{said}.") if said else ("ok", run.source.note))


def said_of(path: Path) -> str:
    """The sentence that refuses a file; '' for one that is read."""
    try:
        return read_script(path, path.parent).source.state.removeprefix("ok")
    except InputError as error:
        return str(error)


@pytest.mark.parametrize(
    "text", ["(" * 500, "x = " + "-" * 5000 + "1", "x = " + "1 + " * 20_000 + "1", "f" + "()" * 5000]
)
def test_deep_nesting_is_no_crash(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.py"
    path.write_text(IMPORTS + text + "\n")
    said = said_of(path)
    assert not said or "train.py" in said
