"""What the hook sees of ranks: wrappers, gradient exchange, collectives. Real processes over gloo on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hooked import TORCHRUN, run_hooked

from advisor.collect.base import Facts
from advisor.collect.training_parallel import parallel_facts, rank_facts
from advisor.collect.training_steps import Steps

DDP = """
import contextlib, time, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Sequential(*[torch.nn.Linear(64, 64) for _ in range(4)]), bucket_cap_mb=0.02)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
"""


@pytest.mark.parametrize("skipped", [False, True])
def test_accumulation_with_and_without_no_sync(tmp_path: Path, skipped: bool) -> None:
    script = f"""
for i, x in enumerate(DataLoader(torch.randn(4 * 20 * 8, 64), batch_size=8)):
    last = i % 4 == 3
    with model.no_sync() if {skipped} and not last else contextlib.nullcontext():
        model(x).pow(2).mean().backward()
    if last:
        optimizer.step()
        loss = torch.ones(3)
        dist.all_reduce(loss)
dist.destroy_process_group()
"""
    done = run_hooked(tmp_path, DDP + script, *TORCHRUN)
    assert (done.status, done.lost) == (0, []), done.err
    found = done.values
    assert found["config.distributed.strategy"] == "DDP"
    assert found["ml.gradient_accumulation.steps"] == 4
    assert found["config.no_sync"] is skipped
    assert found["config.ddp.bucket_cap"] == int(0.02 * 1024 * 1024)
    assert found["config.ddp.find_unused_parameters"] is False
    assert found["config.distributed.nodes"] == 1
    assert found["config.context_parallel.size"] == found["config.pipeline.stages"] == 1
    assert found["config.nccl.env"] == "none"
    buckets = len(done.capture["processes"][0]["extras"]["distributed"]["ddp"][0]["buckets"])
    assert found["trace.comm.count.per_step"] == buckets * (1 if skipped else 4) + 1
    assert found["trace.comm.message_size.median"] == 2 * 4 * (64 * 64 + 64)  # two layers fill a bucket
    assert 0 < found["trace.comm.exposed.fraction"] <= 1
    assert 0 <= found["trace.comm.overlap.fraction"] <= 1
    assert ("grad-accum-sync" in done.found()) is (not skipped and found["trace.comm.exposed.fraction"] > 0.05)


def test_a_rank_that_works_longer_is_not_taken_for_a_slow_network(tmp_path: Path) -> None:
    script = """
for x in DataLoader(torch.randn(40 * 8, 64), batch_size=8):
    loss = model(x).pow(2).mean()
    if rank == 1:
        time.sleep(0.1)
    loss.backward()
    optimizer.step()
dist.destroy_process_group()
"""
    done = run_hooked(tmp_path, DDP + script, *TORCHRUN)
    assert (done.status, done.lost) == (0, []), done.err
    waits, works = done.ranks
    assert waits["trace.comm.exposed.fraction"] > 0.5 > works["trace.comm.exposed.fraction"]
    assert works["ml.step.local.time"] > waits["ml.step.local.time"] + 0.05
    assert works["ml.step.compute.time"] == pytest.approx(waits["ml.step.compute.time"], rel=0.2)
    shared = done.profile().facts
    assert shared["ml.rank.step_time.spread"].value > 0.3
    assert shared["ml.rank.step_time.spread"].where == "rank 1"
    assert shared["trace.comm.wait_skew"].value == pytest.approx(0.1, abs=0.05)
    assert {"straggler-rank", "comm-bound"} <= done.found()


def test_collectives_of_a_program_without_a_wrapper(tmp_path: Path) -> None:
    script = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
model = torch.nn.Linear(128, 8, bias=False)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
gathered = [torch.empty(2), torch.empty(2)]
for i in range(20):
    model(torch.randn(4, 128)).mean().backward()
    dist.all_reduce(model.weight.grad)
    work = dist.all_reduce(model.weight.grad, async_op=True)
    work.wait()
    dist.all_gather(gathered, torch.ones(2))
    optimizer.step()
dist.barrier()
dist.destroy_process_group()
"""
    done = run_hooked(tmp_path, script, *TORCHRUN)
    assert (done.status, done.lost) == (0, []), done.err
    assert done.values["trace.comm.count.per_step"] == 3
    assert done.values["trace.comm.message_size.median"] == 128 * 8 * 4
    assert 0 < done.values["trace.comm.exposed.fraction"] < 1
    assert "config.distributed.strategy" not in done.values  # nothing says how the work is split


def test_sharding_and_the_optimizer_of_zero_are_recognised(tmp_path: Path) -> None:
    script = """
import sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
dist.init_process_group("gloo")
net = torch.nn.Sequential(*[torch.nn.Linear(32, 32) for _ in range(3)])
mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("tp", "dp"))
for layer in net:
    fully_shard(layer, mesh=mesh["dp"])
fully_shard(net, mesh=mesh["dp"])
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for i in range(12):
    for half in range(2):
        net.set_requires_gradient_sync(half == 1)
        net(torch.randn(8, 32)).mean().backward()
    optimizer.step()
dist.destroy_process_group()
"""
    done = run_hooked(tmp_path, script, *TORCHRUN)
    assert (done.status, done.lost) == (0, []), done.err
    assert done.values["config.distributed.strategy"] == "FSDP"
    assert done.values["config.tensor_parallel.size"] == 1
    assert done.values["ml.gradient_accumulation.steps"] == 2
    assert done.values["config.no_sync"] is True
    assert done.values["trace.comm.exposed.fraction"] > 0


def test_data_parallel_is_recognised_and_a_lost_part_costs_only_itself(tmp_path: Path) -> None:
    script = """
import sys, torch, torch.distributed as dist
from torch.utils.data import DataLoader
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
model = torch.nn.DataParallel(torch.nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for i, x in enumerate(DataLoader(torch.randn(64, 8), batch_size=2)):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).mean()
    loss.backward()
    flag = torch.ones(1)
    dist.all_reduce(flag)
    optimizer.step()
    if i == 8 and BREAK:
        parts = sys.modules["_advisor_hook.extras"].PARTS
        parts["model"].seen = parts["distributed"].made = parts["traffic"].counts = parts["batches"].stats = None
print("done", float(flag))
"""
    (tmp_path / "whole").mkdir()
    done = run_hooked(tmp_path / "whole", script.replace("BREAK", "False"))
    assert (done.status, done.out, done.err, done.lost) == (0, "done 1.0\n", "", [])
    assert done.values["config.distributed.strategy"] == "DP"
    assert done.values["config.precision.compute"] == "bf16"
    (tmp_path / "broken").mkdir()
    done = run_hooked(tmp_path / "broken", script.replace("BREAK", "True"))
    assert (done.status, done.out, done.err) == (0, "done 1.0\n", "")
    assert len(done.lost) == 4
    assert done.capture["failures"] == []
    assert done.values["ml.step.count"] > 20
    assert "config.precision.compute" not in done.values
    assert "Not observed: counting backward passes and collectives failed" in done.reading.source.note


def test_errors_look_as_they_do_without_the_hook(tmp_path: Path) -> None:
    script = """
import traceback, torch, torch.distributed as dist
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], lr=0.1)
def broken(x):
    raise ValueError("inside the checkpoint")
for i in range(4):
    loss = weight.pow(2).sum()
    loss.backward()
    optimizer.step()
    for act in (
        loss.backward,
        lambda: dist.all_reduce(torch.ones(2).to_sparse(), op=dist.ReduceOp.BAND),
        lambda: dist.broadcast(torch.ones(2), src=3),
        lambda: torch.utils.checkpoint.checkpoint(broken, weight, use_reentrant=False),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16).__enter__(1),
    ):
        try:
            act()
            print("passed")
        except Exception:
            traceback.print_exc()
"""
    outcomes = []
    for hook in (False, True):
        folder = tmp_path / "same"
        folder.mkdir()
        done = run_hooked(folder, script, hook=hook)
        outcomes.append((done.status, done.out, done.err))
        if hook:
            assert done.lost == []
            assert done.values["ml.step.count"] > 0
        folder.rename(tmp_path / f"was {hook}")
    assert outcomes[0] == outcomes[1]
    assert "inside the checkpoint" in outcomes[0][2]


# --- from what the hook wrote to facts, without torch ------------------------------------------------------------


def facts(setup: dict[str, Any], device: str = "cuda", world: int = 8, **more: Any) -> dict[str, Any]:
    distributed = {"world_size": world, "local_world_size": more.pop("local", 4), "rank": 0}
    traffic = {"rows": [[0.5, 2, 2, 3, 0.1]] * 12, "sizes": [[64, 30], [8, 6]], "wrapped": True} | more
    process = {
        "process": {"optimizer": {"device": device}, "distributed": distributed},
        "extras": {"distributed": {"kinds": {"mesh": 0}, **setup}, "traffic": traffic},
    }  # fmt: skip
    steps = Steps(count=10, total=5.0)
    found = Facts("training hook")
    parallel_facts(found, process, steps, 4)
    return {fact.name: fact.value for fact in found.all()}


def ddp(**more: Any) -> dict[str, Any]:
    wrapper = {
        "bucket_cap": 26214400, "find_unused_parameters": True, "static_graph": False,
        "gradient_as_bucket_view": False, "buckets": [100, 200, 300], "group": 8,
    }  # fmt: skip
    return {"kinds": {"DDP": 1}, "ddp": [wrapper | more], "splitting": []}


def test_ddp_on_gpus_is_timed_by_itself() -> None:
    times = [[0, k, 4e8, 3e8, 1e18, 9.9, 1.0] for k in range(3, 14)]
    found = facts(ddp() | {"times": times, "nodes": "2"})
    assert found["trace.comm.exposed.fraction"] == pytest.approx(0.1 * 2)  # two exchanges of 0.1 s in steps of 1 s
    assert found["trace.comm.overlap.fraction"] == pytest.approx(0.75)
    assert found["ml.step.local.time"] == pytest.approx(0.5 * 0.8)
    assert found["trace.comm.count.per_step"] == 3 + 3 * 2
    assert found["trace.comm.message_size.median"] == 100
    assert found["config.no_sync"] is False
    assert found["config.gpus_per_node"] == 4
    assert found["config.distributed.nodes"] == 2
    assert found["config.tensor_parallel.size"] == 1
    assert "trace.comm.exposed.fraction" not in facts(ddp())  # not timed: unknown, not zero


def test_ranks_are_not_compared_by_shares_that_jump() -> None:
    times = [[0, k, 4e8 + (k % 2) * 8e8, 3e8, 1e18, 9.9, 1.0] for k in range(3, 14)]
    found = facts(ddp() | {"times": times})
    assert found["trace.comm.exposed.fraction"] > 0.5
    assert "ml.step.local.time" not in found


@pytest.mark.parametrize(
    ("setup", "strategy", "tensor", "context"),
    [
        (ddp(group=4), "DDP", None, None),  # the rest of the ranks splits something that is not known
        (ddp() | {"splitting": ["ring_flash_attn"]}, "DDP", None, None),
        (ddp(group=4) | {"meshes": [{"dp": 4, "tp": 2}]}, "DDP+TP", 2, None),
        ({"kinds": {"FSDP2": 9}, "meshes": [{"dp_shard": 2, "cp": 4}]}, "FSDP+CP", None, 4),
        ({"kinds": {"mesh": 0}, "megatron": {"tp": 4, "pp": 2, "cp": 1}}, None, 4, 1),
        ({"kinds": {}, "deepspeed": [{"stage": 3, "dtype": None, "offload": False}]}, "ZeRO-3", None, None),
        ({"kinds": {"DDP": 1, "ZeRO-1": 1}}, "ZeRO-1", None, None),
    ],
)
def test_strategy(setup: dict[str, Any], strategy: str | None, tensor: int | None, context: int | None) -> None:
    found = facts(setup)
    assert found.get("config.distributed.strategy") == strategy
    assert found.get("config.tensor_parallel.size") == tensor
    assert found.get("config.context_parallel.size") == context


def test_variables_of_nccl_and_several_gpus_in_one_process() -> None:
    found = facts({"nccl": {"NCCL_P2P_DISABLE": "1", "NCCL_ALGO": "Ring"}})
    assert found["config.nccl.env"] == "NCCL_ALGO=Ring NCCL_P2P_DISABLE=1"
    found = facts({"kinds": {"DP": 1}, "dp_devices": [4]}, world=1, local=0)
    assert found["config.distributed.strategy"] == "DP"
    assert found["config.gpus_per_node"] == 4
    assert found["config.distributed.nodes"] == 1


def test_start_skew_needs_the_same_iterations_of_all_ranks() -> None:
    def rank(offset: float, device: str = "cpu", first: int = 3) -> dict[str, Any]:
        times = [[0, k, 1.0, 0.0, k * 1e9 + offset, 1.0, 1.0] for k in range(first, 12)]
        return {"process": {"optimizer": {"device": device}}, "extras": {"distributed": {"times": times}}}

    def skew(*ranks: dict[str, Any]) -> list[Any]:
        found = Facts("training hook")
        rank_facts(found, ranks)
        return [fact.value for fact in found.all()]

    assert skew(rank(0.0), rank(2e8), rank(1e8)) == [pytest.approx(0.2)]
    assert skew(rank(0.0), rank(2e8, first=10)) == []
    assert skew(rank(0.0, "cuda"), rank(2e8, "cuda")) == []
    assert skew(rank(0.0)) == []
