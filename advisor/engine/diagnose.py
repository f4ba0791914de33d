"""Profile -> Diagnosis: every outcome, the verdict, and what to measure next."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.engine.match import Engine, Match, failing, plain_values
from advisor.engine.rank import findings as rank_findings
from advisor.models import (
    SEVERITIES,
    Diagnosis,
    Finding,
    Incomplete,
    Knowledge,
    NearMiss,
    NextMeasurement,
    Profile,
    Text,
    Values,
    Verdict,
)
from advisor.text import percent, quantity

_SHOWN_OF_RUN = {"step": "ml.step.time", "wait": "ml.step.data_wait.exposed.fraction"}
_SHOWN_OF_SERVER = {"duration": "gen_ai.server.request.duration", "waiting": "gen_ai.server.requests.waiting"}
_OUTCOMES = ("matched", "cleared", "incomplete", "inapplicable", "error")
MAX_NEXT = 3
# A run may be called healthy only when these were measured: the absence of findings is not evidence.
HEALTHY_NEEDS = ("ml.step.time", "ml.step.data_wait.exposed.fraction", "system.cpu.utilization")
HEALTHY_NEEDS_GPU = ("hw.gpu.utilization",)
# A server tells itself whether requests wait and how long they take; without traffic it tells neither.
HEALTHY_NEEDS_SERVER = ("gen_ai.server.requests.waiting", "gen_ai.server.request.duration")


def diagnose(profile: Profile, engine: Engine) -> Diagnosis:
    """Judge every rule on `profile` and conclude."""
    knowledge = engine.knowledge
    values = plain_values(profile)
    matches = engine.match(values)
    by = {outcome: [m for m in matches if m.trace.outcome == outcome] for outcome in _OUTCOMES}
    found = rank_findings(by["matched"], engine, profile, values)
    incomplete = tuple(Incomplete(m.rule.id, m.trace.missing) for m in by["incomplete"])
    verdict = _verdict(found, values)
    return Diagnosis(
        knowledge_version=knowledge.version,
        knowledge_hash=knowledge.hash,
        profile=profile,
        verdict=verdict,
        headline=_unmeasured(found, knowledge)
        if profile.unmeasured
        else _headline(verdict, found, values, len(incomplete), knowledge),
        findings=found,
        incomplete=incomplete,
        near_misses=_near_misses(by["cleared"], profile, values),
        cleared=tuple(m.rule.id for m in by["cleared"]),
        inapplicable=tuple(m.rule.id for m in by["inapplicable"]),
        errors=tuple((m.rule.id, m.trace.error) for m in by["error"]),
        next_measurements=_next(incomplete, profile, knowledge),
    )


def _verdict(found: Sequence[Finding], values: Values) -> Verdict:
    if any(f.rule.severity != SEVERITIES[0] and not f.static for f in found):
        return "bottleneck"
    needs = HEALTHY_NEEDS + (HEALTHY_NEEDS_GPU if values.get("run.gpu.used") is not False else ())
    if values.get("run.phase") == "serving":
        needs = HEALTHY_NEEDS_SERVER
    return "healthy" if all(n in values for n in needs) else "inconclusive"


def _headline(
    verdict: Verdict, found: Sequence[Finding], values: Values, open_rules: int, knowledge: Knowledge
) -> Text:
    terms, facts = knowledge.terms, knowledge.facts
    if verdict == "bottleneck":
        top = found[0]
        if top.gain is None:
            return top.rule.title
        said, title, share = terms["headline.bottleneck"], top.rule.title, top.gain.share
        return Text(
            said.en.format(title=title.en, share=percent(share)),
            said.zh.format(title=title.zh, share=percent(share, "zh-Hans")),
        )
    if verdict == "healthy":
        served = values.get("run.phase") == "serving"
        names = _SHOWN_OF_SERVER if served else _SHOWN_OF_RUN
        shown = {key: (values[name], facts[name]) for key, name in names.items()}
        said = terms["headline.healthy.server" if served else "headline.healthy"]
        return Text(
            said.en.format(**{key: quantity(value, spec) for key, (value, spec) in shown.items()}),
            said.zh.format(**{key: quantity(value, spec, "zh-Hans") for key, (value, spec) in shown.items()}),
        )
    said = terms["headline.inconclusive"]
    return Text(said.en.format(rules=open_rules), said.zh.format(rules=open_rules))


def _unmeasured(found: Sequence[Finding], knowledge: Knowledge) -> Text:
    said = knowledge.terms["headline.unmeasured"]
    return Text(said.en.format(count=len(found)), said.zh.format(count=len(found)))


def _near_misses(cleared: Sequence[Match], profile: Profile, values: Values) -> tuple[NearMiss, ...]:
    """Cleared rules that one flipped condition would turn into a match, when at least one condition holds."""
    close = [m for m in cleared if m.trace.flips == 1 and True in m.trace.truths and None not in m.trace.applies]
    return tuple(NearMiss(m.rule.id, 1, tuple(failing(m, profile, values))) for m in close)


def _next(incomplete: Sequence[Incomplete], profile: Profile, knowledge: Knowledge) -> tuple[NextMeasurement, ...]:
    """The measurements that decide most rules for the least effort, best first.

    One that was taken already is not proposed again: what it could not read here it will not read next time.
    """
    taken = {s.kind for s in profile.sources}
    open_rules = {i.rule: set(i.missing) for i in incomplete}
    chosen: list[NextMeasurement] = []
    phase = profile.facts["run.phase"].value if "run.phase" in profile.facts else None
    left = [m for m in knowledge.measurements if m.source not in taken and (not phase or m.phase in (None, phase))]
    while left and open_rules and len(chosen) < MAX_NEXT:
        decides = {m.id: [r for r, missing in open_rules.items() if all(map(m.gives, missing))] for m in left}
        best = max(left, key=lambda m: (len(decides[m.id]) / m.minutes, m.id))
        rules = decides[best.id]
        if not rules:
            break
        facts = dict.fromkeys(f for r in rules for f in sorted(open_rules[r]))
        said = knowledge.terms["next.why"]
        why = Text(
            said.en.format(title=best.title.en, count=len(rules), why=best.why.en),
            said.zh.format(title=best.title.zh, count=len(rules), why=best.why.zh),
        )
        chosen.append(NextMeasurement(tuple(facts), tuple(rules), why, best.command))
        left.remove(best)
        open_rules = {r: m for r, m in open_rules.items() if r not in rules}
    return tuple(chosen)
