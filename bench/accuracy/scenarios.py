"""The planted causes of `examples/`: how each is started, what must be measured, which rule must name it.

`tests/test_examples.py` and `tests/test_examples_system.py` assert on them, `live.py` counts over them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

SECONDS = os.environ.get("EXAMPLE_SECONDS", "6")
FILES = "examples/file_per_sample.py --data {folder}"
RANKS = "-m torch.distributed.run --standalone --nproc-per-node 2"


@dataclass(frozen=True)
class Scenario:
    """A planted cause.

    Args:
        name: what it is called.
        command: what Python runs, planted.
        rule: which rule must name the cause.
        facts: comparisons that must hold, such as ``ml.padding.fraction > 0.2``.
        healthy: what Python runs without the cause; by default the same with ``--healthy``.
        limits: the arguments of `limits.py`, planted and healthy.
        ranks: one watched run for each of so many ranks; 1 also where one run starts them all.
    """

    name: str
    command: str
    rule: str
    facts: tuple[str, ...]
    healthy: str = ""
    limits: tuple[str, str] | None = None
    ranks: int = 1

    def words(self, healthy: bool) -> list[str]:
        """The arguments of Python, of the planted run or of its twin."""
        words = (self.healthy or f"{self.command} --healthy").split() if healthy else self.command.split()
        return words if "--seconds" in words or "--steps" in words else [*words, "--seconds", SECONDS]

    def script(self, healthy: bool) -> str:
        """The path of the training script."""
        return next(word for word in self.words(healthy) if word.endswith(".py"))


PROCESS = (
    Scenario(
        "starved-loader", "examples/starved_loader.py --steps 45", "dataloader-no-workers",
        ("config.dataloader.num_workers == 0", "ml.step.data_wait.exposed.fraction > 0.5"),
        healthy="examples/healthy_loader.py --steps 130",
    ),
    Scenario(
        "tokenising", "examples/tokenize_in_loop.py", "tokenize-on-the-fly",
        ("config.tokenize_on_the_fly == true", "ml.step.data_wait.exposed.fraction > 0.25",
         "ml.dataloader.batch.cpu.fraction > 0.5"),
    ),
    Scenario(
        "collate", "examples/heavy_collate.py", "collate-main-thread",
        ("ml.step.data_wait.exposed.fraction > 0.25", "ml.dataloader.collate.fraction > 0.5"),
    ),
    Scenario(
        "padding", "examples/padding_waste.py", "padding-waste", ("ml.padding.fraction > 0.4",),
    ),
    Scenario(
        "memory-leak", "examples/memory_leak.py --seconds 25", "host-memory-leak",
        ("process.memory.anon.slope > 1e7", "derived.memory.exhaustion.time < 86400",
         "process.memory.anon.rising.fraction > 0.75"),
    ),
    Scenario(
        "slowdown", "examples/slowdown.py --seconds 12", "throughput-drift",
        ("ml.step.count >= 100", "ml.step.time.trend > 0.15"),
    ),
    Scenario(
        "checkpoints", "examples/frequent_checkpoints.py", "checkpoint-stall",
        ("ml.checkpoint.blocking.fraction > 0.1", "ml.checkpoint.count >= 3",),
    ),
    Scenario(
        "evaluation", "examples/frequent_evaluation.py", "evaluation-too-frequent",
        ("ml.evaluation.fraction > 0.2", "ml.evaluation.count >= 3",),
    ),
    Scenario(
        "short-epochs", "examples/short_epochs.py", "epoch-start-stall",
        ("config.dataloader.persistent_workers == false", "ml.step.data_wait.epoch_start.fraction > 0.15"),
    ),
    Scenario(
        "threads", "examples/thread_oversubscription.py", "thread-oversubscription",
        ("process.thread.runnable.per_cpu > 2", "process.run_delay.fraction > 0.5"),
    ),
    Scenario(
        "float64", "examples/float64_by_accident.py", "fp64-accidental", ('config.model.dtype == "float64"',),
    ),
    Scenario("anomaly-mode", "examples/anomaly_mode.py", "debug-modes-on", ("config.anomaly_mode == true",)),
    Scenario(
        "python-loop", "examples/python_loop.py", "python-code-in-step",
        ("process.code.hotspot.fraction > 0.2", "ml.step.operations > 1000"),
    ),
    Scenario(
        "straggler", f"{RANKS} examples/straggler_rank.py", "straggler-rank",
        ("config.distributed.world_size == 2", "derived.rank.straggler.fraction > 0.1"),
    ),
)  # fmt: skip

# under limits that only root can set
SYSTEM = (
    Scenario(
        "cpu-quota", "examples/thread_oversubscription.py --healthy", "cgroup-cpu-throttled",
        ("container.cpu.limit < 0.5", "container.cpu.throttled.fraction > 0.25"),
        healthy="examples/thread_oversubscription.py --healthy", limits=("cpu --cpus 0.3", "cpu"),
    ),
    Scenario(
        "memory-limit", "examples/feature_table.py", "page-cache-thrash",
        ("container.memory.limit < 1e9", "system.paging.refault.rate > 5000", "process.disk.read.rate > 5e7",
         "ml.step.data_wait.exposed.fraction > 0.3"),
        limits=("memory --limit 600M", "memory --limit 600M"),
    ),
    Scenario(
        "slow-disk", FILES, "io-wait-bound",
        ("ml.step.data_wait.exposed.fraction > 0.3", "ml.dataloader.batch.cpu.fraction < 0.2"),
        healthy=FILES, limits=("disk --read 3M", "disk"),
    ),
    Scenario(
        "slow-fuse", FILES, "fuse-overhead",
        ("ml.step.data_wait.exposed.fraction > 0.3", "ml.dataloader.batch.cpu.fraction < 0.2",
         'process.data.filesystem.type == "fuse"'),
        healthy=FILES, limits=("fuse --delay-ms 80", "fuse"),
    ),
    Scenario(
        "slow-network", "examples/two_ranks.py", "comm-bound",
        ("config.distributed.world_size == 2", 'comm.backend == "gloo"', "trace.comm.exposed.fraction > 0.1"),
        healthy="examples/two_ranks.py", limits=("network --rate 100mbit", "network"), ranks=2,
    ),
)  # fmt: skip

SCENARIOS = PROCESS + SYSTEM
