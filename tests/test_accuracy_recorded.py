"""Recorded scenarios: the published floor of the accuracy bench, and that it writes and counts as it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from advisor import kb
from bench.accuracy import recorded
from bench.accuracy.captures import Machine, merged
from bench.accuracy.captures.engine import simulate

BENCH = Path(__file__).parents[1] / "bench/accuracy"
FLOOR = 0.95


@pytest.fixture(scope="module")
def found() -> list[recorded.Outcome]:
    return recorded.outcomes()


def test_the_planted_cause_comes_first(found: list[recorded.Outcome]) -> None:
    planted = [o for o in found if not o.twin]
    wrong = {o.scenario: [rule for rule, _, _ in o.findings] for o in planted if not o.right}
    assert len(planted) >= 60
    assert 1 - len(wrong) / len(planted) >= FLOOR, wrong


def test_no_healthy_twin_has_a_serious_finding(found: list[recorded.Outcome]) -> None:
    twins = [o for o in found if o.twin]
    assert {o.scenario for o in twins} == set(recorded.scenarios())
    assert {o.scenario: o.false for o in twins if o.false} == {}


def test_serious_findings_are_true(found: list[recorded.Outcome]) -> None:
    assert {o.scenario: o.false for o in found if o.false} == {}


def test_descriptions_name_rules_and_say_why() -> None:
    rules = kb.load().rules
    for name, told in recorded.scenarios().items():
        assert {told["truth"], *(told.get("accepted") or {}), *(told.get("also") or {})} <= rules.keys(), name
        assert all((told.get("accepted") or {}).values()), name
        assert told["cause"], name
        assert told["story"], name


def test_the_cause_changes_the_captures_and_nothing_else_does(tmp_path: Path) -> None:
    told = recorded.scenarios("gpu-hot-card")["gpu-hot-card"]
    texts = []
    for n, spec in enumerate((told["machine"], told["machine"], merged(told["machine"], told["cause"]))):
        folder = tmp_path / str(n)
        folder.mkdir()
        paths = recorded.write(Machine("gpu-hot-card", spec), told["captures"], folder)
        texts.append([path.read_bytes() for path in paths])
    assert texts[0] == texts[1]
    assert all(healthy != hot for healthy, hot in zip(texts[0], texts[2], strict=True))


def test_a_planted_finding_is_counted_as_wrong_when_it_is_not_first() -> None:
    text = yaml.safe_load((BENCH / "recorded/gpu-hot-card.yaml").read_text(encoding="utf-8"))
    outcome = recorded.replay("gpu-hot-card", text | {"truth": "gpu-lost", "accepted": {}, "also": {}}, twin=False)
    assert not outcome.right
    assert outcome.rank is None
    assert outcome.false == ("thermal-throttle",)


def test_the_simulated_server_keeps_its_books() -> None:
    last = simulate("books", {"rate": 5.0, "kv_tokens": 36_000, "output": 1200})[-1]
    counters = last.counters
    assert counters["preempted"] > 0
    assert 0 <= last.used <= 1
    assert counters["finished"] + last.running + last.waiting <= counters["came"]
    assert len(last.seen["e2e"]) == counters["finished"]
