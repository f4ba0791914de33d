"""What a profiler trace of some steps shows of a job that keeps its GPU busy.

A host that runs ahead fills the launch queue (1024 entries) and then waits inside the launch call or in a
synchronisation: much time there is healthy as long as the GPU does not idle.
"""

from __future__ import annotations

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.plan import Plan

BANDWIDTH = {3: (9e9, 12.5e9), 4: (18e9, 25.5e9), 5: (36e9, 54e9)}  # of copies from pinned memory


def trace_facts(draw: Draw, plan: Plan) -> Facts:
    """Facts of the trace of one rank."""
    return _timeline(draw, plan) | _host(draw, plan) | _kernels(draw, plan) | _breakdown(plan) | _comm(draw, plan)


def _timeline(draw: Draw, plan: Plan) -> Facts:
    idle = plan.idle
    kernel = draw(0.3, 0.8)
    return {
        "trace.profiler.active": True,
        "trace.gpu.idle.fraction": nice(idle),
        "trace.gpu.idle.kernel_wait.fraction": kernel,
        "trace.gpu.idle.host_wait.fraction": nice((1 - kernel) * draw(0.3, 1.0)),
        "trace.gpu.idle.long_gap.fraction": draw(0.0, 0.1),
        "trace.gpu.span.time": nice(5 * plan.step),
        "trace.gpu.span.busy.fraction": nice(1 - idle),
        "trace.gpu.span.compute.fraction": nice(1 - idle - plan.exposed / plan.step),
    }


def _host(draw: Draw, plan: Plan) -> Facts:
    gpu, ahead = plan.machine.gpu, plan.ahead
    assert gpu is not None
    waits = draw(0.2, 0.85)  # the host's wait for a busy GPU, in launches or in a synchronisation
    return {
        "trace.launch.fraction": waits if ahead else draw(0.05, 0.25),
        "trace.launch.delay.median": nice(plan.step * draw(0.05, 0.5)),
        "trace.stream.queue_length.max": draw.whole(200, 1024),
        "trace.stream.queue_full.fraction": draw(0.0, 0.4) if ahead else 0.0,
        "trace.sync.count.per_step": draw.whole(0, 1) if ahead else draw.whole(1, 3),
        "trace.sync.fraction": draw(0.0, 0.02) if ahead else waits,
        "trace.item.count.per_step": 0.1 if ahead else draw.whole(1, 2),
        "trace.clip.sync.count.per_step": 0
        if ahead or gpu.bf16
        else 1,  # GradScaler reads whether gradients overflowed
        "trace.memcpy.h2d.fraction": draw(0.0, 0.003),
        "trace.memcpy.h2d.busy.fraction": draw(0.001, 0.03),
        "trace.memcpy.h2d.pageable.fraction": 0.0,
        "trace.memcpy.h2d.bandwidth": draw(*BANDWIDTH[gpu.pcie]),
        "trace.memcpy.d2h.fraction": 0.0,
        "trace.memcpy.d2h.count.per_step": draw.whole(0, 3),
        "trace.dataloader.fraction": draw(0.0, 0.008),
        "trace.python.forloop_indexing.count": 0,
        "trace.cpu_init_copy.count": 0,
    }


def _kernels(draw: Draw, plan: Plan) -> Facts:
    job, gpu = plan.job, plan.machine.gpu
    assert gpu is not None
    matmul = job.matmul * draw(0.9, 1.08)
    facts: Facts = {
        "trace.kernel.count.per_step": plan.accumulation * round(job.kernels * draw(0.9, 1.1)),
        "trace.kernel.short.fraction": draw(0.02, 0.25),
        "trace.kernel.occupancy.mean": draw(0.16, 0.5),  # large matrix products run one block per SM by design
        "trace.kernel.blocks_per_sm.mean": draw.scale(1.5, 60),
        "trace.matmul.fraction": nice(matmul),
        "trace.elementwise.fraction": nice((1 - matmul) * draw(0.6, 0.95)),
        "trace.attention.fraction": nice(job.attention * draw(0.7, 1.2)),
        "trace.conv.fraction": nice(job.conv * draw(0.9, 1.05)),
        "trace.cast.fraction": draw(0.005, 0.05),
        "trace.optimizer.fraction": nice(min(0.15, plan.update / plan.step + draw(0.002, 0.02))),
        "trace.optimizer.kernels_per_param": draw(0.03, 0.4),
        "trace.zero_grad.memset.fraction": 0.0,
        "trace.conv_bias_bn.count": 0,
        "trace.tensor_core.eligible_unused.fraction": draw(0.0, 0.03),
        "trace.matmul.fp32.fraction": draw(0.0, 0.01),
        "trace.matmul.misaligned.fraction": draw(0.0, 0.01),
    }
    if job.attention:
        facts["trace.attention.unfused"] = False
    return facts


def _breakdown(plan: Plan) -> Facts:
    """Shares of the step, each moment counted once, as the TensorBoard plugin does."""
    exposed = plan.exposed / plan.step
    rest = plan.idle
    parts = {"runtime": 0.4, "cpu": 0.35, "other": 0.25}
    return {
        "trace.step.kernel.fraction": nice(1 - rest - exposed - 0.003),
        "trace.step.memcpy.fraction": 0.002,
        "trace.step.memset.fraction": 0.001,
        "trace.step.communication.fraction": nice(exposed),
        **{f"trace.step.{name}.fraction": nice(rest * share) for name, share in parts.items()},
    }


def _comm(draw: Draw, plan: Plan) -> Facts:
    if plan.ranks == 1:
        return {"trace.comm.fraction": 0.0, "trace.comm.exposed.fraction": 0.0}
    sharded = "FSDP" in plan.strategy or "ZeRO" in plan.strategy
    per_step = plan.job.tensors // (4 if sharded else 12) + 2
    moved = plan.communication * plan.rate / per_step
    return {
        "trace.comm.fraction": nice(plan.communication / plan.step),
        "trace.comm.exposed.fraction": nice(plan.exposed / plan.step),
        "trace.comm.overlap.fraction": nice(plan.overlap),
        "trace.comm.count.per_step": per_step,
        "trace.comm.message_size.median": nice(moved),
        "trace.comm.wait_skew": draw.scale(1e-4, 4e-3),
        "trace.gpu.span.comm.fraction": nice(plan.communication / plan.step),
        "trace.gpu.span.comm.exposed.fraction": nice(plan.exposed / plan.step),
        "trace.gpu.span.comm.overlap.fraction": nice(plan.overlap),
    }
