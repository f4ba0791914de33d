"""Every example is run for real: the planted cause is measured and named, its healthy twin is not blamed."""

from __future__ import annotations

import pytest
from example_runs import Scenario, check_facts, check_rule, check_twin, params

SCENARIOS = (
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
        "straggler", "-m torch.distributed.run --standalone --nproc-per-node 2 examples/straggler_rank.py",
        "straggler-rank", ("config.distributed.world_size == 2", "derived.rank.straggler.fraction > 0.1"),
    ),
)  # fmt: skip


@pytest.mark.parametrize("scenario", params(SCENARIOS))
def test_the_cause_is_measured(scenario: Scenario) -> None:
    check_facts(scenario)


@pytest.mark.parametrize("scenario", params(SCENARIOS))
def test_the_cause_is_named_first(scenario: Scenario) -> None:
    check_rule(scenario)


@pytest.mark.parametrize("scenario", params(SCENARIOS))
def test_the_healthy_twin_is_not_blamed(scenario: Scenario) -> None:
    check_twin(scenario)
