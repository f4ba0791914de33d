"""Profile -> Diagnosis: every outcome, the verdict, and what to measure next."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.engine import verdict as conclude
from advisor.engine.further import next_measurements, unjudged
from advisor.engine.match import Engine, Match, failing, plain_values
from advisor.engine.rank import findings as rank_findings
from advisor.models import Diagnosis, Finding, Incomplete, Knowledge, NearMiss, Profile, Text, Values

_OUTCOMES = ("matched", "cleared", "incomplete", "inapplicable", "error")


def diagnose(profile: Profile, engine: Engine) -> Diagnosis:
    """Judge every rule on `profile` and conclude."""
    knowledge = engine.knowledge
    values = plain_values(profile)
    matches = engine.match(values)
    by = {outcome: [m for m in matches if m.trace.outcome == outcome] for outcome in _OUTCOMES}
    found = rank_findings(by["matched"], engine, profile, values)
    incomplete = tuple(Incomplete(m.rule.id, m.trace.missing) for m in by["incomplete"])
    verdict = conclude.judge(found, values)
    lacking = unjudged(incomplete, knowledge)
    return Diagnosis(
        knowledge_version=knowledge.version,
        knowledge_hash=knowledge.hash,
        profile=profile,
        verdict=verdict,
        headline=_unmeasured(found, knowledge)
        if profile.unmeasured
        else conclude.headline(verdict, found, values, knowledge, len(incomplete)),
        reason=conclude.reason(verdict, found, values, knowledge),
        coverage=conclude.coverage(lacking, profile.sources, knowledge),
        findings=found,
        incomplete=incomplete,
        near_misses=_near_misses(by["cleared"], profile, values),
        cleared=tuple(m.rule.id for m in by["cleared"]),
        inapplicable=tuple(m.rule.id for m in by["inapplicable"]),
        errors=tuple((m.rule.id, m.trace.error) for m in by["error"]),
        next_measurements=next_measurements(matches, found, profile, knowledge),
        unjudged=lacking,
    )


def _unmeasured(found: Sequence[Finding], knowledge: Knowledge) -> Text:
    said = knowledge.terms["headline.unmeasured"]
    return Text(said.en.format(count=len(found)), said.zh.format(count=len(found)))


def _near_misses(cleared: Sequence[Match], profile: Profile, values: Values) -> tuple[NearMiss, ...]:
    """Cleared rules that one flipped condition would turn into a match, when at least one condition holds."""
    close = [m for m in cleared if m.trace.flips == 1 and True in m.trace.truths and None not in m.trace.applies]
    return tuple(NearMiss(m.rule.id, 1, tuple(failing(m, profile, values))) for m in close)
