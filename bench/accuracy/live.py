"""Every planted cause of `examples/` and its healthy twin, run for real under advisor and under its peers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence

from bench.accuracy import peer_alloc, peer_traceml
from bench.accuracy.outcome import Outcome, Told
from bench.accuracy.runs import Failed, Run, advise
from bench.accuracy.scenarios import PROCESS, SCENARIOS, Scenario

Judge = Callable[[Scenario, bool], tuple[tuple[Told, ...], Run]]


def advisor(scenario: Scenario, healthy: bool) -> tuple[tuple[Told, ...], Run]:
    """What advisor found in a scenario, first one first (raises Failed)."""
    document, run = advise(scenario, healthy)
    return tuple((f["rule"], f["severity"], tuple(f["explains"])) for f in document["findings"]), run


TOOLS: Mapping[str, Judge] = {
    "advisor": advisor,
    peer_traceml.NAME: peer_traceml.judge,
    peer_alloc.NAME: peer_alloc.judge,
}


def here() -> tuple[Scenario, ...]:
    """The scenarios that can be run on this machine: limits need root."""
    return SCENARIOS if os.geteuid() == 0 else PROCESS


def outcomes(
    scenarios: Sequence[Scenario], rounds: int, tools: Mapping[str, Judge] = TOOLS
) -> dict[str, list[Outcome]]:
    """Run every scenario and its twin `rounds` times under every tool, one run at a time.

    The tools take turns on a scenario, and which one begins changes from round to round: what else happens on the
    machine hits all alike.
    """
    found: dict[str, list[Outcome]] = {name: [] for name in tools}
    for turn in range(rounds):
        names = [*tools][turn % len(tools) :] + [*tools][: turn % len(tools)]
        for scenario in scenarios:
            for healthy in (False, True):
                for name in names:
                    outcome = outcome_of(scenario, healthy, tools[name])
                    print(_line(name, turn, outcome), file=sys.stderr, flush=True)
                    found[name].append(outcome)
    return found


def outcome_of(scenario: Scenario, healthy: bool, judge: Judge) -> Outcome:
    """One run under one tool; one that gives no verdict says why."""
    told: tuple[Told, ...] = ()
    after = total = 0.0
    failed = ""
    try:
        told, run = judge(scenario, healthy)
        after, total = run.after_s, run.total_s
    except Failed as why:
        failed = str(why)
    return Outcome(scenario.name, "live", scenario.rule, (), told, healthy, after, total, failed=failed)


def _line(name: str, turn: int, outcome: Outcome) -> str:
    """How a run went, for who waits."""
    subject = f"{turn + 1}  {name:<14} {outcome.scenario + (' twin' if outcome.twin else ''):<20}"
    if outcome.failed:
        return f"{subject} no verdict: {outcome.failed}"
    found = ", ".join(f"{rule} ({severity})" for rule, severity, _ in outcome.findings) or "nothing"
    return f"{subject} {outcome.total:5.1f} s  {found}"
