"""Communication of a job of several ranks, and the adapters it goes over."""

from __future__ import annotations

from typing import Any

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.plan import Plan

MEMBERS = 8  # ranks of one node that are told apart


def comm_facts(draw: Draw, plan: Plan) -> Facts:
    """What NCCL's log, its benchmark and the counters of the adapters tell; nothing for one rank."""
    if plan.ranks == 1:
        return {}
    across = plan.nodes > 1
    gpu, machine = plan.machine.gpu, plan.machine
    assert gpu is not None
    large = "FSDP" in plan.strategy or "ZeRO" in plan.strategy
    facts: Facts = {
        "comm.backend": "nccl",
        "comm.timeout.count": 0,
        "comm.timeout.limit": 600,
        "comm.error.count": 0,
        "comm.init.time": draw.scale(0.5, 12),
        "comm.channels": draw.one(8, 16, 24),
        "comm.busbw": nice(plan.rate * draw(0.95, 1.05)),
        "comm.busbw.ratio": draw(0.74, 0.92),
        "comm.time.model_ratio": nice(plan.communication / plan.compute),
        "comm.transport": _transport(plan),
        "config.ddp.find_unused_parameters": False,
        "config.ddp.static_graph": draw.chance(0.3),
        "config.ddp.gradient_as_bucket_view": draw.chance(0.5),
        "config.overlap_comm": True,
        "config.no_sync": True,
        "config.distributed.nodes": plan.nodes,
        "config.gpus_per_node": plan.local,
        "config.data_parallel.size": plan.ranks // (8 if "TP" in plan.strategy else 1),
        "ml.step.gradient_sync.fraction": nice(plan.exposed / plan.step),
        "ml.rank.step_time.spread": draw(0.003, 0.03),
        "ml.rank.data_wait.spread": draw(0.0, 0.004),
        "ml.rank.preprocess.count": 1,
        "ml.scaling.efficiency": nice(1 - plan.exposed / plan.step - draw(0.0, 0.04)),
    }
    if not large:
        facts["config.ddp.bucket_cap"] = 25 * 2.0**20
    if across:
        facts["comm.busbw.scaling.ratio"] = draw(0.85, 0.98)
        facts |= _fabric(draw, plan)
        if machine.fabric != "efa":
            facts |= {"comm.gdr.enabled": True, "comm.interface": "mlx5_0:1,mlx5_1:1,mlx5_2:1,mlx5_3:1"}
    elif gpu.links:
        facts["comm.interface"] = "eth0"
    if gpu.links == 18:
        facts["comm.nvls.enabled"] = True
    return facts


def _transport(plan: Plan) -> str:
    gpu, machine = plan.machine.gpu, plan.machine
    assert gpu is not None
    if plan.nodes > 1:
        return "NET/OFI" if machine.fabric == "efa" else "NET/IB/GDRDMA"
    return "P2P/IPC" if gpu.links or gpu.amd else "SHM"


def _fabric(draw: Draw, plan: Plan) -> Facts:
    machine = plan.machine
    if machine.fabric == "efa":
        return {}
    sent = plan.communication / plan.step * plan.rate / max(1, plan.local)
    facts: Facts = {
        "hw.gpu.nic.worst_path": draw.one("PIX", "PXB"),
        "hw.gpu.peermem.errors": 0,
        "hw.network.rdma.port.active": True,
        "hw.network.rdma.port.rate.ratio": 1.0,
        "hw.network.rdma.tx.rate": nice(min(0.6 * machine.fabric_rate, sent)),
        "hw.network.rdma.xmit_wait.rate": draw.scale(1, 2e4),  # bursts of a collective wait for credits briefly
        "hw.network.rdma.symbol_errors": 0,
        "hw.network.rdma.link_downed": draw.one(0, 0, 0, 1),
        "hw.network.bond.degraded": False,
    }
    if machine.fabric == "roce":
        facts |= {
            "hw.network.roce.cnp_handled.rate": draw(0.0, 40.0),
            "hw.network.roce.out_of_sequence.rate": 0.0,
            "hw.network.roce.ack_timeouts": 0,
        }
    return facts


def members(draw: Draw, plan: Plan) -> list[dict[str, Any]]:
    """The ranks of one node with their own times: a synchronous step is as long for all, their own work is not."""
    found = []
    for rank in range(min(plan.local, MEMBERS)):
        own = (plan.step - plan.exposed) * draw(0.985, 1.01)
        wait = draw(0.0, 0.003)
        facts = {
            "run.phase": "training",
            "run.rank": rank,
            "ml.step.time": nice(plan.step),
            "ml.step.compute.time": nice(plan.step * (1 - wait)),
            "ml.step.local.time": nice(own),
            "ml.step.data_wait.exposed.fraction": wait,
            "trace.comm.exposed.fraction": nice(max(0.0, 1 - own / plan.step)),
        }
        found.append({"subject": f"rank {rank}", "facts": facts})
    return found
