"""Every example is run for real: the planted cause is measured and named, its healthy twin is not blamed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from example_runs import check_facts, check_rule, check_twin, params

from bench.accuracy.runs import ROOT
from bench.accuracy.scenarios import PROCESS, Scenario


@pytest.mark.parametrize("scenario", params(PROCESS))
def test_the_cause_is_measured(scenario: Scenario) -> None:
    check_facts(scenario)


@pytest.mark.parametrize("scenario", params(PROCESS))
def test_the_cause_is_named_first(scenario: Scenario) -> None:
    check_rule(scenario)


@pytest.mark.parametrize("scenario", params(PROCESS))
def test_the_healthy_twin_is_not_blamed(scenario: Scenario) -> None:
    check_twin(scenario)


def test_the_accuracy_bench_counts_a_real_run() -> None:
    line = [sys.executable, "bench/accuracy", "--short", "--only", "collate"]
    run = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 0, run.stderr
    assert "| right cause first | 100 % (1 of 1;" in run.stdout
    assert "(collate) | **collate-main-thread** 1 |" in run.stdout
    assert "| nothing (healthy twins) | **nothing** 1 |" in run.stdout
