"""Healthy profiles, as complete as a site could measure them: no rule may raise a false alarm on one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.pipeline import Advisor

ADVISOR = Advisor()
PROFILES = sorted((Path(__file__).parent / "profiles" / "healthy").glob("*.json"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda p: p.stem)
def test_no_false_alarm(path: Path) -> None:
    diagnosis = ADVISOR.diagnose(json.loads(path.read_text(encoding="utf-8")))

    assert len(diagnosis.profile.facts) > 60
    assert [s.note for s in diagnosis.profile.sources] == [], "every fact fits the vocabulary"
    assert [(f.rule.id, f.rule.severity) for f in diagnosis.findings if f.rule.severity != "minor"] == []
    assert diagnosis.errors == ()


@pytest.mark.parametrize("name", ["h100-pretraining", "cpu-laptop", "notebook"])
def test_a_healthy_training_run_is_called_healthy(name: str) -> None:
    path = next(p for p in PROFILES if p.stem == name)

    assert ADVISOR.diagnose(json.loads(path.read_text(encoding="utf-8"))).verdict == "healthy"
