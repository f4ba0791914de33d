"""What the hook sees of the model, of torch.compile and of the batches, in real processes with real torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hooked import run_hooked

from advisor.collect import training
from advisor.collect.base import Facts
from advisor.collect.training_model import model_facts

TOKENS = """
import torch, sys
from collections import UserDict
from torch.utils.data import DataLoader, Dataset
from torch.utils.checkpoint import checkpoint

class Texts(Dataset):
    def __len__(self):
        return 128
    def __getitem__(self, index):
        ids = torch.zeros(64, dtype=torch.long)
        ids[: 16 + index % 33] = torch.randint(20, 1000, (16 + index % 33,))
        return ids

embedding, head = torch.nn.Embedding(1000, 8), torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD([*embedding.parameters(), *head.parameters()], lr=0.1)
"""


def test_autocast_checkpointing_and_masked_batches(tmp_path: Path) -> None:
    script = """
def collate(samples):
    ids = torch.stack(samples)
    return UserDict({"labels": ids.clone(), "attention_mask": (ids != 0).long(), "input_ids": ids})
for i, batch in enumerate(DataLoader(Texts(), batch_size=8, collate_fn=collate)):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = checkpoint(head, embedding(batch["input_ids"]), use_reentrant=False).mean()
    loss.backward()
    if i % 2:
        optimizer.step()
"""
    done = run_hooked(tmp_path, TOKENS + script)
    assert (done.status, done.err, done.lost) == (0, "", [])
    found = done.values
    assert found["config.precision.compute"] == "bf16"
    assert found["config.model.dtype"] == "float32"
    assert found["config.gradient_checkpointing"] is True
    assert found["config.compile.enabled"] is False
    assert found["config.distributed.strategy"] == "none"
    assert found["ml.gradient_accumulation.steps"] == 2
    assert "config.no_sync" not in found
    assert found["ml.padding.fraction"] == pytest.approx(0.5, abs=0.06)
    assert found["ml.sequence_length.max"] == 48
    assert found["ml.sequence_length.mean"] == pytest.approx(32, abs=4)
    assert found["ml.batch.tokens.cv"] == 0
    assert found["ml.throughput.tokens"] == pytest.approx(64 * found["ml.throughput.samples"])
    assert found["ml.dataloader.batch.bytes"] == 3 * 8 * 64 * 8  # three tensors of 8 rows and 64 values of 8 bytes
    assert "padding-waste" in done.found()


def test_padding_is_seen_without_a_mask_and_float64_is_an_accident_on_the_cpu_too(tmp_path: Path) -> None:
    script = """
class Pairs(Texts):
    def __getitem__(self, index):
        return super().__getitem__(index), torch.ones(64, dtype=torch.float64)
embedding.double(), head.double()
for ids, target in DataLoader(Pairs(), batch_size=8):
    (head(embedding(ids)).squeeze(2) - target).pow(2).mean().backward()
    optimizer.step()
"""
    done = run_hooked(tmp_path, TOKENS + script)
    assert (done.status, done.err, done.lost) == (0, "", [])
    found = done.values
    assert found["ml.padding.fraction"] == pytest.approx(0.5, abs=0.06)
    assert found["config.model.dtype"] == found["config.input.dtype"] == "float64"
    assert found["config.precision.compute"] == "fp64"
    assert found["config.gradient_checkpointing"] is False
    assert {"fp64-accidental", "padding-waste"} <= done.found()


def test_packed_batches_have_no_padding_and_features_are_no_tokens(tmp_path: Path) -> None:
    script = """
class Packed(Texts):
    def __getitem__(self, index):
        return {"input_ids": torch.randint(20, 1000, (64,)), "x": torch.ones(1)}
class Features(Texts):
    def __getitem__(self, index):
        counts = torch.zeros(64, dtype=torch.long)
        counts[index % 16 :: 16] = 40
        return counts
packed, features = DataLoader(Packed(), batch_size=8), DataLoader(Features(), batch_size=8)
for batch in packed:
    head(embedding(batch["input_ids"])).mean().backward()
    optimizer.step()
for batch in features:
    pass
"""
    done = run_hooked(tmp_path, TOKENS + script)
    assert (done.status, done.err, done.lost) == (0, "", [])
    assert done.values["ml.padding.fraction"] == 0
    assert done.values["ml.sequence_length.max"] == 64
    assert done.values["config.input.dtype"] == "float32"
    assert done.values["ml.gradient_accumulation.steps"] == 1
    features = done.capture["processes"][0]["extras"]["batches"]["1"]
    assert features["looks"] > 0
    assert features["sequences"] == 0  # zero is everywhere in them, so it is no filler


def test_batches_in_one_row_of_several_sequences(tmp_path: Path) -> None:
    script = """
def flatten(samples):
    lengths = [16, 40, 24]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    return {"input_ids": torch.randint(20, 1000, (1, 80)), "position_ids": positions}
for batch in DataLoader(Texts(), batch_size=8, collate_fn=flatten):
    head(embedding(batch["input_ids"])).mean().backward()
    optimizer.step()
"""
    done = run_hooked(tmp_path, TOKENS + script)
    assert done.values["ml.padding.fraction"] == 0
    assert done.values["ml.sequence_length.max"] == 40
    assert done.values["ml.sequence_length.mean"] == pytest.approx(80 / 3)


def test_convolutions_tell_their_layout_and_reentrant_checkpoints_are_seen(tmp_path: Path) -> None:
    script = """
import torch
from torch.utils.checkpoint import checkpoint
net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 1), torch.nn.Conv2d(8, 8, 3))
net = net.to(memory_format=torch.channels_last)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
x = torch.randn(2, 3, 8, 8, requires_grad=True)
for i in range(6):
    checkpoint(net, x, use_reentrant=True).mean().backward()
    optimizer.step()
checkpoint_module = __import__("sys").modules["torch.utils.checkpoint"]
print(type(vars(checkpoint_module._CheckpointFrame)["__init__"]).__name__)
"""
    done = run_hooked(tmp_path, script)
    assert (done.status, done.err, done.lost) == (0, "", [])
    assert done.values["config.memory_format"] == "channels_last"
    assert done.values["config.gradient_checkpointing"] is True
    assert done.out == "function\n"  # once seen, the probes are gone


def test_compilation_is_counted(tmp_path: Path) -> None:
    script = """
import torch
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
def loss(x):
    y = model(x)
    torch._dynamo.graph_break()
    y = y + 1
    torch._dynamo.graph_break()
    return y.pow(2).mean()
broken = torch.compile(loss, backend="eager")
shapes = torch.compile(lambda x: model(x).mean(), backend="eager", dynamic=False)
x = torch.randn(32, 8)
for i in range(14):
    (broken(x) + shapes(x[: max(4, 2 * i)])).backward()
    optimizer.step()
"""
    done = run_hooked(tmp_path, script)
    assert (done.status, done.lost) == (0, [])
    found = done.values
    assert found["config.compile.enabled"] is True
    assert found["trace.graph_break.count"] == 2
    assert found["trace.recompile.count"] == 8  # the limit
    assert found["trace.recompile.limit_hit"] is True
    assert 0 < found["ml.compile.time"] < found["ml.initialization.time"] + 60
    assert "config.gradient_checkpointing" not in found  # inside compiled code checkpoints are not seen
    assert "config.precision.compute" not in found
    assert "compile-recompiling" in done.found()


def test_every_module_that_a_part_watches_is_announced() -> None:
    program = """
import _advisor_hook, _advisor_hook.extras as extras
watched = {name for part in extras.PARTS.values() for name in part.WATCHED}
assert watched == set(_advisor_hook.EXTRAS), watched ^ set(_advisor_hook.EXTRAS)
"""
    subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(training.HOOK)}, check=True)


# --- from what the hook wrote to facts, without torch ------------------------------------------------------------

MODEL = {
    "casts": {}, "checkpoints": 0, "own_checkpoints": False, "layout": {"channels_last": 0, "contiguous": 0},
    "tf32": None, "attention": None, "early": None, "compiler": None, "arch": None,
}  # fmt: skip


def facts(optimizer: dict[str, Any], distributed: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:
    process = {
        "process": {"optimizer": optimizer, "compiled": False}, "memory": [], "ends": 9,
        "extras": {"model": MODEL | model, "distributed": distributed or {}},
    }  # fmt: skip
    found = Facts("training hook")
    model_facts(found, process)
    return {fact.name: fact.value for fact in found.all()}


@pytest.mark.parametrize(
    ("device", "dtype", "distributed", "model", "expected"),
    [
        ("cuda", "float32", {}, {"tf32": True}, "tf32"),
        ("cuda", "float32", {}, {"tf32": False}, "fp32"),
        ("cuda", "float32", {}, {"tf32": True, "casts": {"cpu bfloat16": 9, "cuda float16": 2}}, "fp16"),
        ("cuda", "float32", {"fsdp": [{"dtype": "torch.bfloat16", "offload": False}]}, {"tf32": True}, "bf16"),
        ("cuda", "float32", {"fsdp2": [{"dtype": "None", "offload": False}]}, {"tf32": False}, "fp32"),
        ("cuda", "float32", {"deepspeed": [{"dtype": "bfloat16", "offload": True}]}, {}, "bf16"),
        ("cuda", "float32", {"megatron": {"tp": 2}}, {"tf32": True}, None),
        ("cpu", "bfloat16", {}, {}, "bf16"),
        ("cpu", "float8_e4m3fn", {}, {}, None),
    ],
)
def test_compute_precision(device: str, dtype: str, distributed: Any, model: Any, expected: str | None) -> None:
    found = facts({"device": device, "dtype": dtype}, distributed, **model)
    assert found.get("config.precision.compute") == expected
    offloaded = any(w["offload"] for some in distributed.values() if isinstance(some, list) for w in some)
    assert found.get("config.offload") == (True if offloaded else False if device == "cuda" else None)


@pytest.mark.parametrize(
    ("device", "built", "native"),
    [
        ([9, 0], ["sm_80", "sm_90"], True),
        ([8, 9], ["sm_80", "sm_86", "sm_90"], True),  # code for 8.6 runs on 8.9
        ([7, 5], ["sm_80", "sm_90"], False),
        ([12, 0], ["sm_90", "compute_90"], False),
        ([9, 0], ["sm_90a"], True),
    ],
)
def test_native_code_for_the_gpu(device: list[int], built: list[str], native: bool) -> None:
    found = facts({"device": "cuda", "dtype": "float32"}, arch={"device": device, "built": built})
    assert found["config.torch.arch_native"] is native
