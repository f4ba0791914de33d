"""What the hook, the trainer's log and the configuration tell of a training job that runs to plan."""

from __future__ import annotations

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.gpu import GpuLoad
from bench.accuracy.baseline.host import Load, Setting, usable
from bench.accuracy.baseline.machines import GIB, Gpu
from bench.accuracy.baseline.plan import Plan


def training_facts(draw: Draw, plan: Plan, setting: Setting, steps: int) -> Facts:
    """Steps, throughput, loader, memory and configuration of one rank."""
    gpu = plan.machine.gpu
    assert gpu is not None
    return (
        _run(steps)
        | _steps(draw, plan, steps)
        | _rates(draw, plan, gpu)
        | (_loader(draw, plan) if plan.workers else {})
        | _breaks(draw, plan, steps)
        | _memory(draw, plan)
        | _config(draw, plan, gpu, setting)
    )


def loads(draw: Draw, plan: Plan, duration: float) -> tuple[Load, GpuLoad]:
    """What the plan asks of the host and of each GPU."""
    job, gpu = plan.job, plan.machine.gpu
    assert gpu is not None
    # The main thread launches kernels, then spins in the synchronisation that waits for the GPU.
    main = min(1.0, draw(0.35, 1.0))
    cores = plan.local * (main + plan.loader_cores + draw(0.02, 0.15))
    memory = plan.local * (draw(2.2, 4.5) + plan.workers * draw(0.25, 0.9)) * GIB
    host = Load(
        cores=cores, main=main, processes=plan.local * (1 + plan.workers) + 1,
        threads=draw.whole(30, 180), memory=min(memory, 0.6 * plan.machine.ram), read=plan.read,
        write=draw.scale(1e4, 2e6), network=draw.scale(1e4, 5e6), cached=job.cached, mapped=job.mapped,
        duration=duration, age=duration * draw(1.0, 8.0),
    )  # fmt: skip
    busy = plan.compute / plan.step
    traffic = job.flops * plan.micro * plan.accumulation / job.intensity / plan.step / gpu.bandwidth
    sent = plan.communication / plan.step * plan.rate if gpu.links and plan.ranks > 1 else 0.0
    recomputed = 4 / 3 if job.checkpointing else 1.0
    device = GpuLoad(
        util=min(1.0, 1 - plan.idle + 0.002), matrix=plan.mfu * recomputed * min(1.0, busy + 0.1),
        dram=min(0.85, traffic),
        memory=min(0.97 * gpu.memory, plan.peak * draw(1.03, 1.1) + draw(0.6, 2.0) * GIB * min(1, gpu.memory / 3e10)),
        rx=plan.samples * max(job.data, 4.0 * job.tokens) + 1e5, tx=draw.scale(1e4, 1e6), links=sent, used=plan.local,
        steady=draw(0.005, 0.03),
    )  # fmt: skip
    return host, device


def _run(steps: int) -> Facts:
    return {
        "run.phase": "training",
        "run.framework": "pytorch",
        "run.gpu.used": True,
        "run.rank": 0,
        "ml.step.count": steps,
    }


def _steps(draw: Draw, plan: Plan, steps: int) -> Facts:
    job = plan.job
    spread = draw(0.005, 0.05) + (draw(0.05, 0.2) if job.padding[1] > 0.05 else 0.0)
    wait = draw(0.0, 0.004)
    ahead = plan.ahead  # else the loop reads the loss in every step, and waits there for the GPU
    facts: Facts = {
        "ml.step.time": nice(plan.step),
        "ml.step.time.p95": nice(plan.step * (1 + 1.7 * spread)),
        "ml.step.time.cv": nice(spread),
        "ml.step.time.trend": draw(-0.015, 0.015),
        "ml.step.compute.time": nice(plan.step * (1 - wait)),
        "ml.step.local.time": nice(plan.step * (1 - wait) - plan.exposed),
        "ml.step.data_wait.time": nice(plan.step * wait),
        "ml.step.data_wait.fraction": nice(wait),
        # A loop that runs ahead of the GPU finds the loader behind and the device busy all the same.
        "ml.step.data_wait.logged.fraction": draw(0.0, 0.12) if ahead else draw(0.0, 0.02),
        "ml.step.data_wait.exposed.fraction": nice(wait * draw(0.2, 1.0)),
        "ml.step.data_wait.periodicity": 0,
        "ml.step.data_wait.epoch_start.fraction": draw(0.0, 0.008),
        "ml.step.optimizer.fraction": nice(min(0.2, plan.update / plan.step + draw(0.001, 0.02))),
        "ml.step.logging.fraction": draw(0.0, 0.004),
        "ml.step.batches": plan.accumulation,
        "ml.step.operations": nice(plan.accumulation * job.tensors * draw(2.2, 4.5)),
        "ml.step.skipped.count": 0,
        "ml.step.nan.count": 0,
        "ml.step.sync.count": 0.1 if ahead else draw.whole(1, 2),
        "ml.step.sync.fraction": draw(0.0, 0.02) if ahead else draw(0.3, 0.93),
        "ml.step.copy.count": draw.whole(1, 4) * plan.accumulation,
        "ml.step.copy.fraction": draw(0.0, 0.004),
    }
    if steps >= 100:
        facts["ml.step.time.outlier.fraction"] = draw(0.0, 0.004)
    facts["process.code.hotspot.fraction"] = draw(0.05, 0.3) if ahead else draw(0.4, 0.9)
    facts["process.code.interpreter.fraction"] = draw(0.02, 0.15)
    return facts


def _rates(draw: Draw, plan: Plan, gpu: Gpu) -> Facts:
    job = plan.job
    facts: Facts = {
        "ml.throughput.samples": nice(plan.samples),
        "ml.throughput.samples.job": nice(plan.samples * plan.ranks),
        "ml.microbatch.size": plan.micro,
        "ml.batch.global": plan.micro * plan.accumulation * plan.ranks,
        "ml.gradient_accumulation.steps": plan.accumulation,
        "ml.padding.fraction": draw(*job.padding),
    }
    if job.tokens:
        facts |= {
            "ml.throughput.tokens": nice(plan.samples * job.tokens),
            "ml.throughput.tokens.job": nice(plan.samples * job.tokens * plan.ranks),
            "ml.throughput.flops": nice(plan.samples * job.flops),
            "ml.sequence_length.max": job.tokens,
            "ml.sequence_length.mean": nice(job.tokens * (1 - facts["ml.padding.fraction"])),
            "ml.sequence_length.trend": draw(-0.03, 0.03),
            "ml.batch.tokens.cv": draw(0.0, 0.03) if job.padding[1] < 0.05 else draw(0.05, 0.25),
        }
        if job.trained == 1.0 and not gpu.power < 100:
            mfu = plan.samples * job.flops / gpu.flops
            facts |= {"ml.mfu": nice(mfu), "ml.hfu": nice(min(1.0, mfu * (4 / 3 if job.checkpointing else 1.0)))}
    return facts


def _loader(draw: Draw, plan: Plan) -> Facts:
    alone = plan.batch_wall / plan.workers
    return {
        "ml.dataloader.batch.time": nice(plan.batch_wall),
        "ml.dataloader.batch.cpu_time": nice(plan.batch_cpu),
        "ml.dataloader.collate.fraction": draw(0.02, 0.2),
        "ml.dataloader.hotspot.fraction": draw(0.2, 0.7),
        "ml.dataloader.alone.batch.time": nice(alone),
        "ml.preprocess.time": draw.one(0.0, draw.scale(1, 40)),
        "config.dataloader.num_workers": plan.workers,
        "config.dataloader.pin_memory": True,
        "config.dataloader.persistent_workers": draw.chance(0.7),
        "config.dataloader.prefetch_factor": draw.one(2, 2, 4),
        "config.dataloader.batch_size": plan.micro,
        "config.dataloader.iterable": False,
        "config.dataloader.dataset": draw.one("Dataset", "ConcatDataset", "ImageFolder", "MMapIndexedDataset"),
    }


def _breaks(draw: Draw, plan: Plan, steps: int) -> Facts:
    """What interrupts the steps: start, evaluation, checkpoints, failures."""
    length = steps * plan.step
    large = plan.job.parameters > 1e9
    start = draw.scale(20, 150) if large else draw.scale(3, 30)
    return {
        "ml.initialization.time": start,
        "ml.evaluation.fraction": draw(0.0, 0.05) if length > 300 else 0.0,
        "ml.evaluation.count": draw.whole(1, 5) if length > 300 else 0,
        "ml.checkpoint.blocking.fraction": draw(0.0, 0.012) if length > 300 else 0.0,
        "ml.checkpoint.count": draw.whole(1, 4) if length > 300 else 0,
        "ml.checkpoint.time": draw.scale(0.3, 8),
        "ml.lost_time.fraction": draw(0.0, 0.01) if plan.nodes < 16 else draw(0.005, 0.03),
    }


def _memory(draw: Draw, plan: Plan) -> Facts:
    job = plan.job
    weights = job.parameters * job.weight_bytes
    facts: Facts = {
        "torch.cuda.memory.allocated.peak": nice(plan.peak),
        "torch.cuda.memory.reserved.peak": nice(plan.peak * draw(1.03, 1.1)),
        "torch.cuda.memory.reserved_unused.fraction": draw(0.02, 0.12),
        "torch.cuda.memory.inactive_split.fraction": draw(0.005, 0.06),
        "torch.cuda.memory.alloc_retries": 0,
        "torch.cuda.memory.ooms": 0,
        "torch.cuda.memory.device_alloc.rate": 0.0,
        "torch.cuda.memory.device_free.rate": 0.0,
        "torch.cuda.memory.allocated.slope": 0.0,
        "torch.cuda.memory.non_torch": draw.scale(4e8, 2.5e9),
        "torch.cuda.memory.activation.share": nice(max(0.02, 1 - plan.states / plan.peak)),
    }
    if job.trained == 1.0:
        share = plan.states / plan.peak * (1 - weights / (weights + job.parameters * job.state_bytes)) * 0.7
        facts["torch.cuda.memory.optimizer_state.share"] = nice(share)
    if job.kind == "text" and job.parameters > 3e8:
        facts["torch.cuda.memory.logits.share"] = draw(0.02, 0.14)
    return facts


def _config(draw: Draw, plan: Plan, gpu: Gpu, setting: Setting) -> Facts:
    job = plan.job
    compiled = draw.chance(0.35) and job.trained > 0.5 and not gpu.amd
    threads = 1 if plan.ranks > 1 else max(1, round(usable(plan.machine, setting) / 2))  # torchrun sets one
    facts: Facts = {
        "config.precision.compute": "bf16" if gpu.bf16 else "fp16",
        "config.compile.enabled": compiled,
        "config.cudnn.benchmark": job.conv > 0,
        "config.deterministic": False,
        "config.anomaly_mode": False,
        "config.launch_blocking": False,
        "config.omp_num_threads": threads,
        "config.optimizer": job.optimizer,
        "config.optimizer.implementation": draw.one("fused", "foreach"),
        "config.gradient_checkpointing": job.checkpointing,
        "config.grad_enabled_in_inference": False,
        "config.offload": False,
        "config.model.device": "cuda",
        "config.model.dtype": "bfloat16" if job.weight_bytes == 2.0 and gpu.bf16 else "float32",
        "config.model.parameters": nice(job.parameters * job.trained),
        "config.model.tensors": job.tensors,
        "config.input.dtype": "float32",
        "config.distributed.strategy": plan.strategy,
        "config.distributed.world_size": plan.ranks,
        "config.distributed.local_world_size": plan.local,
        "config.numa_bound": draw.chance(0.4),
        "config.malloc.implementation": draw.one("glibc", "glibc", "jemalloc", "tcmalloc"),
        "config.torch.version": draw.one("2.6.0", "2.7.1", "2.8.0", "2.9.1"),
        # The wheel for ROCm was built for no version of CUDA, and the hook says so.
        "config.torch.cuda_build": "none" if gpu.amd else "12.8" if gpu.capability in ("10.0", "12.0") else "12.6",
        "config.torch.cuda_available": not gpu.amd,
        "config.torch.arch_native": True,
        "config.logging.interval": draw.one(1, 10, 10, 50, 100),
        "config.tokenize_on_the_fly": False,
        "config.sparsity.pattern": "none",
        "config.sparsity.zero_fraction": draw(0.0, 0.001),
    }
    if compiled:
        facts |= {"ml.compile.time": draw.scale(15, 90), "trace.recompile.count": draw.whole(0, 1)}
        facts |= {"trace.graph_break.count": draw.whole(0, 1), "trace.recompile.limit_hit": False}
    if job.conv:
        facts["config.memory_format"] = "channels_last"
    if job.attention:
        facts["config.attention.backend"] = "flash" if gpu.bf16 else "sdpa"
    if "TP" in plan.strategy:
        facts |= {"config.tensor_parallel.size": 8, "config.context_parallel.size": 1}
    if "PP" in plan.strategy:
        facts |= {"config.pipeline.stages": 4, "config.pipeline.microbatches": 64, "config.pipeline.virtual_stages": 2}
        facts |= {"ml.pipeline.wait.fraction": draw(0.02, 0.05)}
    if "EP" in plan.strategy:
        facts["ml.expert.load.imbalance"] = draw(1.02, 1.25)
    return facts
