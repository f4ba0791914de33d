"""Two diagnoses by the same rules -> Comparison: did the fix work? Pure, and the mirror of itself when exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from advisor.condition import compile_condition, left_value, limit_value
from advisor.engine.match import plain_values
from advisor.engine.metrics import metrics
from advisor.engine.setup import SETUP, differences, same_work
from advisor.engine.won import GATED, STEP, basis, headline, realised
from advisor.models import Condition, Diagnosis, Finding, Knowledge, Values
from advisor.models.compared import Check, Comparison, Fate, Fated, Metric


def compare(before: Diagnosis, after: Diagnosis, knowledge: Knowledge) -> Comparison:
    """What became of every finding, how every metric changed, and whether remedies and gains came out."""
    old, new = before.profile, after.profile
    findings = tuple(_fated(before, after, knowledge))
    differing = differences(old, new, knowledge.facts)
    equal = same_work(old, new, differing)
    evidence = {e.fact for d in (before, after) for f in d.findings for e in f.evidence}
    found = metrics(old, new, knowledge.facts, evidence, SETUP, same_work=equal)
    key = basis(found, differing, same_work=equal)
    return Comparison(
        before=before,
        after=after,
        verdict="unknown" if key is None else "same" if key.judgement == "moved" else key.judgement,
        headline=headline(key, findings, knowledge.terms),
        basis=key,
        same_work=equal,
        findings=findings,
        metrics=found,
        realised=realised(key, findings, knowledge.terms),
        differences=differing,
    )


def regressions(comparison: Comparison, limit: float) -> tuple[Metric, ...] | None:
    """Step time, request time and throughput that are worse beyond noise and by more than `limit` (0.05: 5 %).

    None when none of them can be compared: then there is nothing to judge by. A step that does other work than
    before is judged by its throughput alone.
    """
    names = GATED if comparison.same_work else [name for name in GATED if name != STEP]
    gated = [m for m in comparison.metrics if m.fact in names and m.change is not None]
    if not gated:
        return None
    return tuple(m for m in gated if m.judgement == "worse" and abs(m.change or 0.0) > limit)


# --- findings -------------------------------------------------------------------------


def _fated(before: Diagnosis, after: Diagnosis, knowledge: Knowledge) -> Iterator[Fated]:
    """Every rule that matched in one of the runs, those first that stand for themselves."""
    old, new = _matched(before), _matched(after)
    values = plain_values(after.profile)
    for rule_id in sorted({**old, **new}, key=lambda r: r not in _own(before) and r not in _own(after)):
        finding, cause = old.get(rule_id, (None, None))
        still, cause_now = new.get(rule_id, (None, None))
        other = after if rule_id in old else before
        yield Fated(
            rule=knowledge.rules[rule_id],
            fate=_fate(rule_id, old, new, before, after),
            before=finding,
            after=still,
            under_before=cause,
            under_after=cause_now,
            missing=next((i.missing for i in other.incomplete if i.rule == rule_id), ()),
            checks=tuple(_checks(finding, values)) if finding else (),
        )


def _matched(diagnosis: Diagnosis) -> dict[str, tuple[Finding | None, str | None]]:
    """Every matched rule: its finding, or the one that explains it."""
    found: dict[str, tuple[Finding | None, str | None]] = {f.rule.id: (f, None) for f in diagnosis.findings}
    for finding in diagnosis.findings:
        for rule_id in finding.explains:
            found.setdefault(rule_id, (None, finding.rule.id))
    return found


def _own(diagnosis: Diagnosis) -> set[str]:
    return {f.rule.id for f in diagnosis.findings}


def _fate(
    rule_id: str, old: Mapping[str, object], new: Mapping[str, object], before: Diagnosis, after: Diagnosis
) -> Fate:
    """Gone and new need an answer of "no" on the other side: what could not be judged there says nothing."""
    if rule_id in old and rule_id in new:
        return "persisting"
    if rule_id in old:
        return "gone" if rule_id in after.cleared else "unmeasured"
    return "new" if rule_id in before.cleared else "first_seen"


def _checks(finding: Finding, values: Values) -> Iterator[Check]:
    """Each condition that a remedy of the finding is verified by, judged on the run afterwards."""
    remedies: dict[str, tuple[Condition, list[str]]] = {}
    for advice in finding.advice:
        verify = advice.remedy.verify
        remedies.setdefault(verify.text, (verify, []))[1].append(advice.remedy.id)
    for condition, ids in remedies.values():
        holds = compile_condition(condition)(values)
        yield Check(condition, tuple(ids), holds, left_value(condition, values), limit_value(condition, values))
