"""Runs a script of `examples/` under `advisor run` and hands back what was found; each run is made once."""

from __future__ import annotations

import functools
import json
import operator
from typing import Any

import pytest

from bench.accuracy.runs import advise
from bench.accuracy.scenarios import Scenario

SHORT = ("collate", "float64", "python-loop", "cpu-quota", "slow-fuse")  # the others are slow: `make test-examples`
OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}


def params(scenarios: tuple[Scenario, ...]) -> list[Any]:
    """One parameter per scenario; all but a few are slow."""
    slow = {s.name: [] if s.name in SHORT else [pytest.mark.slow] for s in scenarios}
    return [pytest.param(s, id=s.name, marks=slow[s.name]) for s in scenarios]


@functools.cache
def document(scenario: Scenario, healthy: bool) -> dict[str, Any]:
    """The Diagnosis of a run (of rank 0 where two were started)."""
    return advise(scenario, healthy)[0]


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
