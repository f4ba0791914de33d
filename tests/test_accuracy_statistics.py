"""The accuracy bench's own arithmetic, tables and mapping; what it measures is measured by `python bench/accuracy`."""

from __future__ import annotations

import ast
import doctest
import math

import pytest

from advisor import kb
from bench.accuracy import outcome, peers_map, tables
from bench.accuracy.__main__ import arguments, chosen, report, written
from bench.accuracy.outcome import (
    NOTHING,
    Outcome,
    Share,
    confusion,
    false_alarms,
    first_place,
    precision,
    recall,
    wilson,
)
from bench.accuracy.parts import PARTS, Section, goals
from bench.accuracy.peer_traceml import edited, told
from bench.accuracy.runs import ROOT
from bench.accuracy.scenarios import SCENARIOS

SCRIPTS = sorted({s.script(healthy) for s in SCENARIOS for healthy in (False, True)})


def made(
    *findings: tuple[str, str, tuple[str, ...]], twin: bool = False, also: tuple[str, ...] = (), failed: str = ""
) -> Outcome:
    return Outcome(
        "collate", "live", "collate-main-thread", ("augmentation-heavy",), findings, twin, 0.5, 9.0, also, failed
    )


RIGHT = made(("collate-main-thread", "serious", ()))
FOLDED = made(("INPUT_BOUND", "critical", ("dataloader-no-workers", "collate-main-thread")))
ACCEPTED = made(("augmentation-heavy", "moderate", ()))
SECOND = made(("comm-bound", "serious", ()), ("collate-main-thread", "serious", ()))
EMPTY = made()
CLEAN = made(("padding-waste", "moderate", ()), twin=True)
BLAMED = made(("collate-main-thread", "serious", ()), twin=True)
FAILED = made(failed="it could not be installed")
ALL = [RIGHT, FOLDED, ACCEPTED, SECOND, EMPTY, CLEAN, BLAMED, FAILED]


@pytest.mark.parametrize(
    ("part", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(part: int, of: int, low: float, high: float) -> None:
    # Newcombe, Two-sided confidence intervals for the single proportion, Stat. Med. 17 (1998), table I, method 3
    assert wilson(part, of) == pytest.approx((low, high), abs=5e-5)


def test_the_interval_holds_the_share_and_is_symmetric() -> None:
    for of in (1, 7, 57):
        for part in range(of + 1):
            low, high = wilson(part, of)
            assert 0.0 <= low <= part / of <= high <= 1.0
            assert wilson(of - part, of) == pytest.approx((1 - high, 1 - low))
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_example_in_the_docstring() -> None:
    assert doctest.testmod(outcome) == (0, 1)


def test_what_counts_as_right() -> None:
    assert [o.right for o in (RIGHT, FOLDED, ACCEPTED, SECOND, EMPTY)] == [True, True, True, False, False]
    assert [o.found for o in (RIGHT, FOLDED, ACCEPTED, SECOND, EMPTY)] == [True, True, True, True, False]


def test_the_shares() -> None:
    assert first_place(ALL) == (3, 5)  # one that gave no verdict counts neither for nor against
    assert recall(ALL) == (4, 5)
    assert precision(ALL) == (3, 5)  # the twin's finding is wrong whatever it names; the moderate ones are no alarms
    assert false_alarms(ALL) == (1, 2)
    assert first_place([]) == (0, 0)
    assert str(Share(0, 0)) == "-"
    assert str(Share(3, 5)) == "60 % (3 of 5; 23 % to 88 %)"


def test_a_finding_that_is_true_beside_the_cause_is_no_wrong_one() -> None:
    beside = made(("comm-bound", "serious", ()), also=("comm-bound",))
    assert precision([beside]) == (1, 1)
    assert (first_place([beside]), recall([beside])) == ((0, 1), (0, 1))


def test_the_confusion_matrix() -> None:
    planted = {
        ("collate-main-thread", True): 1, ("INPUT_BOUND", True): 1, ("augmentation-heavy", True): 1,
        ("comm-bound", False): 1, (NOTHING, False): 1,
    }  # fmt: skip
    twins = {(NOTHING, True): 1, ("collate-main-thread", False): 1}
    assert confusion(ALL) == {"collate-main-thread": planted, NOTHING: twins}
    assert sum(planted.values()) == first_place(ALL).of


def test_the_tables_show_every_run_and_every_miss() -> None:
    by_tool = {"advisor": [RIGHT, BLAMED, SECOND], "peer": [FAILED, CLEAN]}
    shown = "\n".join(tables.figures(by_tool))
    assert "| right cause first | 50 % (1 of 2; 9 % to 91 %) | - |" in shown
    assert "| runs without a verdict | 0 | 1 |" in shown
    matrix = tables.firsts(by_tool)
    assert matrix[2] == "| `collate-main-thread` (collate) | **collate-main-thread** 1<br>comm-bound 1 | no verdict |"
    assert matrix[3] == "| nothing (healthy twins) | collate-main-thread 1 | **nothing** 1 |"
    assert list(tables.misses(by_tool["advisor"])) == [
        "twin of collate: collate-main-thread",
        "collate: comm-bound came first instead of collate-main-thread",
    ]
    assert list(tables.failures(by_tool)) == ["peer on collate: it could not be installed"]


def test_a_time_that_was_not_seen_is_left_out() -> None:
    unseen = Outcome("collate", "live", "collate-main-thread", (), (), False, math.nan, 9.0)
    assert "| 0.5 s, 0.5 s |" in "\n".join(tables.figures({"advisor": [RIGHT, unseen]}))


def test_a_goal_that_was_missed_is_said() -> None:
    assert goals([RIGHT, CLEAN]) == []
    assert len(goals([SECOND, CLEAN])) == 1
    assert len(goals([SECOND, BLAMED])) == 2


def test_every_cause_is_a_rule_and_traceml_can_win_every_scenario() -> None:
    rules = kb.load().rules
    credited = {
        cause for table in (peers_map.TRACEML, peers_map.ALLOC) for causes in table.values() for cause in causes
    }
    assert credited <= set(rules)
    planted = {s.rule for s in SCENARIOS}
    assert planted <= set(rules)
    assert planted == {cause for causes in peers_map.TRACEML.values() for cause in causes}
    assert len({s.name for s in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_step_is_wrapped_as_traceml_asks(script: str) -> None:
    source = (ROOT / script).read_text(encoding="utf-8")
    tree = ast.parse(edited(source))
    wrapped = [n for n in ast.walk(tree) if isinstance(n, ast.With) and "trace_step" in ast.unparse(n.items[0])]
    assert len(wrapped) == 1
    said = ast.unparse(wrapped[0])
    assert "loss.backward()" in said
    assert "optimizer.step()" in said
    assert "import traceml_ai as traceml\ntraceml.init(mode='auto')" in ast.unparse(tree)
    loop = next(
        n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.For) and "optimizer.step()" in ast.unparse(n)
    )
    assert [ast.unparse(n) for n in wrapped[0].body] == [ast.unparse(n) for n in loop.body]


def test_a_summary_of_traceml_is_read() -> None:
    bound = {"kind": "INPUT_BOUND", "severity": "crit"}
    summary = {
        "primary_diagnosis": bound,
        "step_time": {"issues": [bound]},
        "system": {"issues": [{"kind": "HIGH_CPU", "severity": "warn"}]},
        "process": {"issues": [{"kind": "NORMAL", "severity": "info"}]},
    }
    first, second = told(summary)
    assert first == ("INPUT_BOUND", "critical", peers_map.LOADING)
    assert second == ("HIGH_CPU", "moderate", peers_map.PROCESSOR)  # what TraceML does not promote is no alarm
    assert list(told({"primary_diagnosis": {"kind": "NO_CLEAR_PERFORMANCE_BOTTLENECK", "severity": "info"}})) == []


def test_the_report_goes_between_the_marks_and_nowhere_else() -> None:
    body = report([Section("Live", ["| a |"])], "python bench/accuracy")
    assert "with `python bench/accuracy` on " in body
    page = "before\n<!-- accuracy -->\nold\n<!-- /accuracy -->\nafter\n"
    assert written(page, body) == f"before\n<!-- accuracy -->\n{body}<!-- /accuracy -->\nafter\n"
    with pytest.raises(ValueError, match="are missing"):
        written("no marks here", body)


def test_a_part_or_a_scenario_can_be_chosen() -> None:
    assert chosen("") == [*PARTS]
    assert chosen("recorded") == ["recorded"]
    assert chosen("slow-disk") == ["live"]
    with pytest.raises(SystemExit):
        arguments(["--write", "README.md", "--short"])
