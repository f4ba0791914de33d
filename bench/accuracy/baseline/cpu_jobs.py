"""Training and inference on CPUs alone: laptops and servers without a GPU, every core busy and warm.

A core with 256-bit vectors and fused multiply-add does some 30 float32 FLOPs per cycle at best and a third to a half
of that in small networks; the loader shares the cores with the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.accuracy.baseline.draw import Draw, Facts, nice
from bench.accuracy.baseline.host import Load, Setting, usable
from bench.accuracy.baseline.machines import GIB, Machine


@dataclass(frozen=True, slots=True)
class CpuJob:
    """A small network; sizes per sample."""

    name: str
    parameters: float
    tensors: int
    flops: float
    cpu: float  # seconds to prepare a sample
    data: float
    batch: int
    optimizer: str = "Adam"
    workers: int = 2
    operations: int = 60
    conv: bool = False


CPU_JOBS = {
    j.name: j
    for j in (
        CpuJob("tabular-mlp", 0.4e6, 8, 2.4e6, 2e-6, 200, 8192, operations=20, workers=1),
        CpuJob("mnist-cnn", 1.2e6, 8, 70e6, 2.5e-5, 800, 256, optimizer="SGD", operations=24, conv=True),
        CpuJob("text-cnn", 8e6, 12, 45e6, 3e-5, 900, 256, operations=40, conv=True),
        CpuJob("lstm-forecast", 0.6e6, 10, 90e6, 1e-5, 700, 512, operations=30),
        CpuJob("distilbert-head", 0.6e6, 4, 5.5e9, 1e-4, 500, 16, operations=120),
        CpuJob("rl-ppo-cartpole", 0.02e6, 12, 0.4e6, 0.0, 0, 8192, operations=40, workers=0),
    )
}


def cpu_training(draw: Draw, job: CpuJob, machine: Machine, setting: Setting, steps: int) -> tuple[Facts, Load] | None:
    """Facts of the run and the load it makes; None where the loader would need more CPUs than there are."""
    cpus = usable(machine, setting)
    threads = max(1, round(machine.cores * cpus / machine.logical))  # PyTorch takes one per core
    rate = threads * machine.clock[0] * 32 * draw(0.2, 0.4)
    compute = job.flops * job.batch / rate + job.operations * 1.5e-5
    batch = job.batch * job.cpu
    workers = job.workers
    if workers and batch * 1.4 > compute * workers:
        return None
    loading = batch / compute
    spread = draw(0.03, 0.15)
    step = compute * (1 + draw(0.001, 0.008))
    facts: Facts = {
        "run.phase": "training",
        "run.framework": "pytorch",
        "run.gpu.used": False,
        "ml.step.time": nice(step),
        "ml.step.time.p95": nice(step * (1 + 1.8 * spread)),
        "ml.step.time.cv": spread,
        "ml.step.time.trend": draw(-0.02, 0.04),  # a laptop's clock settles a little lower as it warms up
        "ml.step.count": steps,
        "ml.step.compute.time": nice(compute),
        "ml.step.data_wait.time": nice(step - compute),
        "ml.step.data_wait.fraction": nice(1 - compute / step),
        "ml.step.data_wait.exposed.fraction": nice(1 - compute / step),
        "ml.step.data_wait.epoch_start.fraction": draw(0.0, 0.008),
        "ml.step.forward.fraction": draw(0.28, 0.36),
        "ml.step.backward.fraction": draw(0.5, 0.6),
        "ml.step.optimizer.fraction": draw(0.01, 0.08),
        "ml.step.operations": job.operations,
        "ml.step.batches": 1,
        "ml.throughput.samples": nice(job.batch / step),
        "ml.initialization.time": draw(1.5, 6),
        "ml.evaluation.fraction": draw(0.01, 0.06),
        "ml.evaluation.count": draw.whole(1, 6),
        "ml.checkpoint.blocking.fraction": draw(0.0, 0.003),
        "ml.checkpoint.count": draw.whole(0, 3),
        "process.code.hotspot.fraction": draw(0.02, 0.12),
        "process.code.interpreter.fraction": draw(0.01, 0.1),
        "config.omp_num_threads": threads,
        "config.torch.version": draw.one("2.7.1", "2.8.0", "2.9.1"),
        "config.torch.cuda_build": "none",
        "config.torch.cuda_available": False,
        "config.model.device": "cpu",
        "config.model.dtype": "float32",
        "config.input.dtype": "float32",
        "config.model.parameters": job.parameters,
        "config.model.tensors": job.tensors,
        "config.optimizer": job.optimizer,
        "config.optimizer.implementation": "for-loop",
        "config.deterministic": False,
        "config.anomaly_mode": False,
        "config.launch_blocking": False,
        "config.compile.enabled": False,
        "config.cudnn.benchmark": False,
        "config.distributed.world_size": 1,
        "config.distributed.local_world_size": 1,
    }
    if workers:
        facts |= {
            "ml.dataloader.batch.time": nice(batch * draw(1.02, 1.15)),
            "ml.dataloader.batch.cpu_time": nice(batch),
            "ml.dataloader.collate.fraction": draw(0.05, 0.25),
            "config.dataloader.num_workers": workers,
            "config.dataloader.pin_memory": False,
            "config.dataloader.persistent_workers": draw.chance(0.5),
            "config.dataloader.prefetch_factor": 2,
            "config.dataloader.batch_size": job.batch,
            "config.dataloader.iterable": False,
            "config.dataloader.dataset": "TensorDataset",
        }
    duration = steps * step
    load = Load(
        cores=min(0.97 * cpus, threads * 0.96 + loading), main=1.0, processes=1 + workers,
        threads=threads + 8, memory=draw(0.6, 2.5) * GIB, read=0.0, write=draw.scale(1e3, 1e5),
        network=draw.scale(1e2, 1e4), duration=duration, age=duration + facts["ml.initialization.time"],
    )  # fmt: skip
    return facts, load
