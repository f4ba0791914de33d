"""What holds for every profile and every rule: true evidence, nothing folded away, no answer from a gap.

`profile_space` makes the profiles from the rules' own limits. A source is lost in one of two ways: it *failed* (it is
there and could not be read) or it was never looked at. A fact is *revised* when the profile that knows less says
something else about it, because another source or another formula stands in. What reads no revised fact obeys Kleene
strictly, and only the formulas listed in `STANDS_IN` revise a fact when a source fails.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import operator
import random
from collections.abc import Iterator, Mapping
from typing import Any

import profile_space as space
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from profile_space import ALL_CASES, KNOWLEDGE, RULES, Facts, mixtures, profile_of, read_by, readings

from advisor.condition import compile_condition, compile_rule, left_value, limit_value, parse
from advisor.derive import FORMULAS, Formula, derive, with_derived
from advisor.engine import Engine, diagnose
from advisor.engine.match import plain_values
from advisor.models import Diagnosis, Evidence, Profile, Rule, Values
from advisor.profile import build, restore
from advisor.readers.document import read_document
from advisor.report.document import diagnosis_document

ENGINE = Engine(KNOWLEDGE)
WINDOW: dict[str, Any] = {"subject": "python train.py", "started": "2026-01-01T00:00:00Z", "duration_s": 600.0}
MATCHED = [(rule, case) for rule, case in ALL_CASES if case.expect == "matched"]
DECIDED = ("matched", "cleared")
COMPARED = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "in": lambda value, limit: value in limit,
    "contains": lambda value, limit: limit in value,
}
# A formula of this list says something else when the source of an optional fact fails, and why that is meant.
STANDS_IN = {
    "derived.gpu.present": "a driver that no longer answers has still left lines in the kernel log",
    "derived.code.sync.count": "a place in the script stands until a measurement shows that it does no harm",
    "derived.code.cache_flush.count": "as above",
    "derived.code.gc_collect.count": "as above",
    "derived.code.graph_kept.count": "as above",
    "derived.code.save.count": "as above",
    "derived.serving.preemptions.untimed": "a log counts where the metrics that give a rate are not there",
}
# And of these a missing fact is taken not to be there: no quota, one batch a step, no weaker reading beside it.
ASSUMES = {
    "process.cpu.usable.count",
    "derived.cpu.per_rank",
    "derived.memory.available",
    "derived.memory.available.fraction",
    "system.io.stall.fraction",
    "derived.io.stall.measured.fraction",
    "derived.run.startup.fraction",
    "derived.dataloader.workers.needed",
    "derived.dataloader.workers.recommended",
    "derived.dataloader.workers.won.fraction",
    "ml.preprocess.samples.rate.ratio",
    "ml.pipeline.bubble.fraction",
    "derived.pipeline.microbatches.recommended",
    "comm.busbw.ratio",
    "gen_ai.server.queue.fraction",
    "ml.dataloader.batch.cpu.fraction",
    "derived.checkpoint.bytes",
    "derived.data_wait.logged.fraction",
    "derived.dataloader.batch_size.fitting",
    "derived.hotspot.exposed.fraction",
    "derived.matmul.achieved.fraction",
    "derived.serving.max_num_seqs.fitting",
}
# What an outcome may hang on; the other formulas only fill in remedies.
DECIDING = frozenset().union(*(space.origins_of(read_by(rule)) for rule in RULES))
full_engine = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
light = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def document(diagnosis: Diagnosis) -> str:
    return json.dumps(diagnosis_document(diagnosis, KNOWLEDGE), ensure_ascii=False, allow_nan=False)


def live(facts: Values, without: tuple[str, str] | None = None) -> Profile:
    return build(readings(facts, without), KNOWLEDGE.facts, **WINDOW)


# --- evidence -------------------------------------------------------------------------


def check_evidence(evidence: Evidence, values: Values) -> None:
    """True or false as it says, with the numbers it shows: from bare values alone, and by its own numbers."""
    condition = parse(evidence.condition)
    assert compile_condition(condition)(values) is evidence.holds
    assert (left_value(condition, values), limit_value(condition, values)) == (evidence.value, evidence.limit)
    assert evidence.value is not None
    if evidence.op != "is known":
        assert COMPARED[evidence.op](evidence.value, evidence.limit) is evidence.holds


def check_diagnosis(diagnosis: Diagnosis) -> None:
    saved = json.loads(document(diagnosis))
    values = {name: fact["value"] for name, fact in saved["profile"]["facts"].items()}
    for finding, written in zip(diagnosis.findings, saved["findings"], strict=True):
        assert finding.evidence
        assert [e["condition"] for e in written["evidence"]] == [e.condition for e in finding.evidence]
        for evidence in finding.evidence:
            assert evidence.holds
            check_evidence(evidence, values)
        for evidence in finding.ruled_out:
            assert not evidence.holds
            check_evidence(evidence, values)
    for near in diagnosis.near_misses:
        for evidence in near.evidence:
            check_evidence(evidence, values)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_evidence_holds_on_every_side_of_every_limit(rule: Rule) -> None:
    engine = Engine(dataclasses.replace(KNOWLEDGE, rules={rule.id: rule}))
    shown = 0
    for facts in itertools.islice(space.around(rule), 40):
        diagnosis = diagnose(profile_of(facts), engine)
        check_diagnosis(diagnosis)
        shown += len(diagnosis.findings)

    assert shown, "at least the case that matches is shown"


@full_engine
@given(mixtures())
def test_evidence_holds_where_many_rules_meet(facts: Facts) -> None:
    check_diagnosis(diagnose(profile_of(facts), ENGINE))
    check_diagnosis(diagnose(live(facts), ENGINE))


@full_engine
@given(mixtures())
def test_a_saved_diagnosis_is_judged_alike_when_read_again(facts: Facts) -> None:
    first = document(diagnose(live(facts), ENGINE))
    again = diagnose(restore(read_document(json.loads(first)), KNOWLEDGE.facts), ENGINE)

    assert document(again) == first


# --- folding --------------------------------------------------------------------------


def reachable(rule: Rule, matched: Mapping[str, Rule]) -> set[str]:
    """All matched rules below `rule`, also through matched ones."""
    found: set[str] = set()
    stack = [r for r in rule.explains if r in matched]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack += [r for r in matched[name].explains if r in matched]
    return found


def check_folding(diagnosis: Diagnosis, engine: Engine) -> None:
    judged = engine.match(plain_values(diagnosis.profile))
    matched = {m.rule.id: m.rule for m in judged if m.trace.outcome == "matched"}
    shown = {f.rule.id for f in diagnosis.findings}
    folded = {r for f in diagnosis.findings for r in f.explains}

    assert bool(matched) == bool(shown), "folding never hides the only finding"
    assert shown | folded == set(matched), "what matched is shown or stands under what is shown"
    assert not shown & folded
    assert len(shown) == len(diagnosis.findings)
    for finding in diagnosis.findings:
        assert len(set(finding.explains)) == len(finding.explains)
        assert set(finding.explains) <= reachable(finding.rule, matched)


@pytest.mark.parametrize(("rule", "case"), MATCHED[::2], ids=lambda x: getattr(x, "id", getattr(x, "name", "")))
def test_the_rule_of_a_case_is_shown_or_explained(rule: Rule, case: Any) -> None:
    diagnosis = diagnose(profile_of(case.facts), ENGINE)

    check_folding(diagnosis, ENGINE)
    assert rule.id in {r for f in diagnosis.findings for r in (f.rule.id, *f.explains)}


@full_engine
@given(mixtures())
def test_nothing_that_matched_is_lost(facts: Facts) -> None:
    diagnosis = diagnose(live(facts), ENGINE)

    check_folding(diagnosis, ENGINE)
    scripts = {n for n, f in diagnosis.profile.facts.items() if "train.py" in f.origin.split(", ")}
    judged = {m.rule.id: m for m in ENGINE.match(plain_values(diagnosis.profile))}
    for finding in diagnosis.findings:
        if finding.static:
            for name in finding.explains:
                trace, when = judged[name].trace, judged[name].rule.when
                held = [c for c, t in zip(when.conditions, trace.truths, strict=True) if t is True]
                assert all(scripts & set(c.facts) for c in held), f"{name} was measured"


# --- what is not known never decides ----------------------------------------------------


def check_kleene(rule: Rule, more: str, less: str) -> None:
    """What was decided with less stays so with more.

    Cleared may become inapplicable: both say that the rule does not hold, one of them before the gate was known.
    Only `is known` in a gate takes a gap for an answer, and that answer is never matched or cleared.
    """
    follows = {
        "matched": ("matched",),
        "cleared": ("cleared", "inapplicable"),
        "inapplicable": (more,) if any(c.op == "is known" for c in rule.applies) else ("inapplicable",),
        "incomplete": (more,),
    }
    assert more in follows[less], (rule.id, more, less)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_no_missing_fact_decides_a_rule(rule: Rule) -> None:
    judge = compile_rule(rule)
    seen = {frozenset(facts.items()) for facts in space.around(rule)}
    outcomes = set()
    for facts in sorted(seen, key=repr):
        more = dict(facts)
        outcomes.add(judge(more).outcome)
        for lost in read_by(rule) & more.keys():
            less = {n: v for n, v in more.items() if n != lost}
            check_kleene(rule, judge(more).outcome, judge(less).outcome)

    assert {"matched", "cleared"} <= outcomes


@light
@given(mixtures(), st.data())
def test_no_set_of_missing_facts_decides_a_rule(facts: Facts, data: st.DataObject) -> None:
    more = with_derived(facts)
    lost = data.draw(st.sets(st.sampled_from(sorted(more)), min_size=1))
    less = {n: v for n, v in more.items() if n not in lost}
    for before, after in zip(ENGINE.match(more), ENGINE.match(less), strict=True):
        check_kleene(before.rule, before.trace.outcome, after.trace.outcome)


def revised(more: Values, less: Values) -> set[str]:
    """Facts about which the profile that knows less says something else."""
    return {name for name, value in less.items() if name not in more or more[name] != value}


def check_loss(rule: Rule, more: Values, less: Values, outcomes: tuple[str, str]) -> None:
    if outcomes[0] == "incomplete" and outcomes[1] in DECIDED:
        assert read_by(rule) & revised(more, less), f"{rule.id} was decided by what is missing"


@light
@given(mixtures(), st.data())
def test_a_source_that_was_not_looked_at_decides_nothing(facts: Facts, data: st.DataObject) -> None:
    """Nor does any part of one, with the derived facts made anew from what remains."""
    lost = data.draw(st.sets(st.sampled_from(sorted(facts)), min_size=1))
    more, less = with_derived(facts), with_derived({n: v for n, v in facts.items() if n not in lost})
    for before, after in zip(ENGINE.match(more), ENGINE.match(less), strict=True):
        check_loss(before.rule, more, less, (before.trace.outcome, after.trace.outcome))


# --- a source that fails ----------------------------------------------------------------


def grid(formula: Formula) -> Iterator[Facts]:
    """Values of all that a formula reads, each also missing where it may be."""
    chosen = random.Random(formula.name)
    inputs = sorted(space.origins_of(frozenset({formula.name})) - {formula.name})
    for _ in range(200):
        yield {
            name: chosen.choice(space.POOLS[name])
            for name in inputs
            if (name not in space.MADE or chosen.random() < 0.2) and chosen.random() < 0.85
        }


def failures(facts: Facts) -> Iterator[tuple[Values, Values]]:
    """What is known with all sources, and with one of them failing, for facts that one source each gives."""
    for kind, origin in sorted({space.giver(name) for name in facts}):
        left = {n: v for n, v in facts.items() if space.giver(n) != (kind, origin)}
        # Other sources of that kind can be read, if there are any in these facts.
        ok = {x for name in left for x in space.giver(name)}
        unread = frozenset({kind, origin} - ok)
        less = {**left, **{n: v for n, (v, _) in derive(left, unread).items()}}
        yield with_derived(facts), less


def independent(facts: Facts) -> Facts:
    """Without the facts that a formula could also make of others: two ways to know may say two things."""
    return {
        n: v
        for n, v in facts.items()
        if n not in space.MADE or not (space.origins_of(frozenset({n})) - {n}) & set(facts)
    }


@pytest.mark.parametrize("formula", [f for f in FORMULAS if f.name in DECIDING], ids=lambda f: f.compute.__name__)
def test_a_formula_takes_nothing_for_granted_where_a_source_failed(formula: Formula) -> None:
    said = 0
    for facts in grid(formula):
        for more, less in failures(independent(facts)):
            said += formula.name in more
            if formula.name in less:
                allowed = set(STANDS_IN) & space.origins_of(frozenset({formula.name}))
                assert allowed or more.get(formula.name) == less[formula.name], facts

    assert said, "the formula was computed"


@pytest.mark.parametrize("name", sorted({f.name for f in FORMULAS}))
def test_only_formulas_that_say_so_take_a_missing_fact_for_an_answer(name: str) -> None:
    """All others become unknown, so that what reads them does too; and those that say so really do."""
    differ = False
    for formula in (f for f in FORMULAS if f.name == name):
        for facts in grid(formula):
            more = independent(facts)
            for lost in more:
                known, less = with_derived(more), with_derived({n: v for n, v in more.items() if n != lost})
                differ |= name in less and known.get(name) != less[name]
    builds_on = space.origins_of(frozenset({name})) - {name}
    says_so = ASSUMES | STANDS_IN.keys()

    assert not differ or name in says_so or builds_on & says_so, name
    assert differ or name not in says_so, name


@pytest.mark.parametrize("name", STANDS_IN)
def test_what_stands_in_really_does(name: str) -> None:
    formulas = [f for f in FORMULAS if f.name == name]
    pairs = (pair for f in formulas for facts in grid(f) for pair in failures(independent(facts)))

    assert any(name in less and more.get(name) != less[name] for more, less in pairs)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.id)
def test_a_source_that_fails_never_decides_an_incomplete_rule(rule: Rule) -> None:
    """Every source in turn, over the rule's cases with what its formulas are made of; the profile is built anew."""
    judge = compile_rule(rule)
    chosen = random.Random(rule.id)
    origins = space.origins_of(read_by(rule))
    inputs = sorted(origins - space.MADE)
    for _ in range(16):
        facts = dict(chosen.choice(space.CASES[rule.id]).facts)
        facts = {n: v for n, v in facts.items() if n not in space.MADE or chosen.random() < 0.5}
        facts |= {n: chosen.choice(space.POOLS[n]) for n in inputs if chosen.random() < (0.2 if n in facts else 0.7)}
        facts = {n: v for n, v in independent(facts).items() if chosen.random() < 0.9}
        if judge(plain_values(live(facts))).outcome != "incomplete":
            continue
        for source in sorted({space.giver(name) for name in facts}):
            after = judge(plain_values(live(facts, source))).outcome
            assert after not in DECIDED or set(STANDS_IN) & origins, (source, facts)


def test_no_formula_is_asked_before_what_it_builds_on() -> None:
    """Else a fact would appear only when a saved profile is read again."""
    position = {f.name: i for i, f in enumerate(FORMULAS)}  # the last one, where two make one fact
    late = [(f.name, n) for i, f in enumerate(FORMULAS) for n in (*f.needs, *f.optional) if position.get(n, -1) >= i]

    assert late == []
