"""Runs a script of `examples/` under `advisor run` and hands back what was found; each run is made once."""

from __future__ import annotations

import functools
import json
import operator
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SECONDS = os.environ.get("EXAMPLE_SECONDS", "6")
SHORT = ("collate", "float64", "python-loop", "cpu-quota", "slow-fuse")  # the others are slow: `make test-examples`
OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}


@dataclass(frozen=True)
class Scenario:
    """A planted cause: how to start it, what must be measured, which rule must name it.

    `facts` are comparisons such as ``ml.padding.fraction > 0.2``; `limits` are the arguments of `limits.py`, planted
    and healthy.
    """

    name: str
    command: str
    rule: str
    facts: tuple[str, ...]
    twin: str = "--healthy"
    limits: tuple[str, str] | None = None

    def line(self, healthy: bool, out: str) -> list[str]:
        """The whole command line."""
        words = [*self.command.split(), *(self.twin.split() if healthy else [])]
        if "--seconds" not in words:
            words += ["--seconds", SECONDS]
        line = [sys.executable, "-m", "advisor", "run", "--out", out, "--", sys.executable, *words]
        if self.limits is None:
            return line
        return [sys.executable, "examples/limits.py", *self.limits[healthy].split(), "--", *line]


def params(scenarios: tuple[Scenario, ...]) -> list[Any]:
    """One parameter per scenario; all but a few are slow."""
    slow = {s.name: [] if s.name in SHORT else [pytest.mark.slow] for s in scenarios}
    return [pytest.param(s, id=s.name, marks=slow[s.name]) for s in scenarios]


@functools.cache
def document(scenario: Scenario, healthy: bool) -> dict[str, Any]:
    """The Diagnosis of a run (of rank 0 where two were started)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / ("diagnosis-{rank}.json" if scenario.name == "slow-network" else "diagnosis.json")
        environment = {**os.environ, "ADVISOR_DATA": folder, "LC_ALL": "C.UTF-8"}
        run = subprocess.Popen(
            scenario.line(healthy, str(out)), cwd=ROOT, env=environment, start_new_session=True, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            _, said = run.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGTERM)
            run.communicate(timeout=30)
            raise
        assert run.returncode == 0, said
        return dict(json.loads(Path(str(out).replace("{rank}", "0")).read_text(encoding="utf-8")))


def check_facts(scenario: Scenario) -> None:
    """Every decisive fact was measured and lies on the side that the rule needs."""
    measured = {name: fact["value"] for name, fact in document(scenario, False)["profile"]["facts"].items()}
    for comparison in scenario.facts:
        name, sign, limit = comparison.split(maxsplit=2)
        assert name in measured, f"{name} was not measured"
        assert OPERATORS[sign](measured[name], json.loads(limit)), f"{name} is {measured[name]}, not {sign} {limit}"


def check_rule(scenario: Scenario) -> None:
    """The planted cause comes first, or is explained by what does."""
    findings = document(scenario, False)["findings"]
    assert findings, "nothing was found"
    first = findings[0]
    assert scenario.rule in (first["rule"], *first["explains"]), [f["rule"] for f in findings]


def check_twin(scenario: Scenario) -> None:
    """The twin is trained, watched, and has nothing serious."""
    told = document(scenario, True)
    assert told["profile"]["facts"]["ml.step.count"]["value"] >= 10
    assert [f["rule"] for f in told["findings"] if f["severity"] in ("serious", "critical")] == []
    assert scenario.rule not in {rule for f in told["findings"] for rule in (f["rule"], *f["explains"])}
