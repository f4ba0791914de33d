"""Matched rules -> findings: gain, confidence, folding, order.

A finding that another one explains folds under it. What stays is ordered by gain, then
confidence, then severity, then how many facts speak for it, then name, so that the same profile
gives the same order. What stops a run comes before what slows it. Minor findings are hints and
come after all others: none is ever the headline of a bottleneck. Findings that were only read
in the script are hints too, and the last of them: they never outrank or fold one that was measured.

Two findings that account for the same loss with the same confidence are rivals: both are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from advisor.condition import parse
from advisor.engine.gain import gain
from advisor.engine.match import Engine, Match, ruled_out, supporting
from advisor.models import (
    CONFIDENCES,
    SEVERITIES,
    STATED,
    Advice,
    Confidence,
    Evidence,
    Finding,
    Profile,
    Rule,
    Text,
    Values,
)
from advisor.text import brief_origin, fill, fill_setting

ENOUGH_STEPS = 20  # fewer steps than this and a share of step time is still moving
# Where a loss was not measured as a share, it is ranked as one that a person would first look at below a measured
# sixth of the time, or a twentieth; nobody is shown these numbers.
UNKNOWN_GAIN = {"minor": 0.0, "moderate": 0.05, "serious": 0.15, "critical": 1.0}


def findings(matched: Sequence[Match], engine: Engine, profile: Profile, values: Values) -> tuple[Finding, ...]:
    """The findings of the matched rules, causes first."""
    scripts = _scripts(profile)
    static = {m.rule.id for m in matched if scripts and _static(supporting(m, profile, values), scripts)}
    folded = _folded({m.rule.id: m.rule for m in matched}, static)
    shown = [_finding(m, engine, profile, values, folded) for m in matched if m.rule.id not in folded]
    ordered = sorted((replace(f, static=f.rule.id in static) for f in shown), key=_order)
    return tuple(replace(f, rivals=tuple(o.rule.id for o in ordered if _rival(f, o))) for f in ordered)


def _rival(finding: Finding, other: Finding) -> bool:
    """Whether two findings explain one loss equally well."""
    if finding.rule is other.rule or _hint(finding) or _hint(other) or not finding.gain or not other.gain:
        return False
    return finding.gain.fact == other.gain.fact and finding.confidence == other.confidence


def _hint(finding: Finding) -> bool:
    return finding.static or finding.rule.severity == SEVERITIES[0]


def _folded(rules: dict[str, Rule], static: set[str]) -> dict[str, str]:
    """Explained rule -> the matched rule that explains it.

    Lint forbids circles; in a knowledge base that was not linted, what would close one does not fold, so that a
    cause always remains.
    """
    folded: dict[str, str] = {}
    for rule in rules.values():
        for other in rule.explains:
            if other in rules and (other in static or rule.id not in static) and not _under(rule.id, other, folded):
                folded[other] = rule.id
    return folded


def _under(rule: str, other: str, folded: dict[str, str]) -> bool:
    """Whether `rule` is `other`, or is folded under it."""
    while rule != other and rule in folded:
        rule = folded[rule]
    return rule == other


def _order(finding: Finding) -> tuple[bool, bool, bool, float, int, int, int, str]:
    rule, confidence = finding.rule, CONFIDENCES.index(finding.confidence)
    share = finding.gain.share if finding.gain else UNKNOWN_GAIN[rule.severity]
    stops = rule.severity == SEVERITIES[-1]
    facts = len({e.fact for e in finding.evidence})
    severity = SEVERITIES.index(rule.severity)
    return (_hint(finding), finding.static, not stops, -share, -confidence, -severity, -facts, rule.id)


def _scripts(profile: Profile) -> frozenset[str]:
    """The origins of facts that were read in a script and not measured."""
    return frozenset(s.origin for s in profile.sources if s.kind == "script")


def _static(shown: Iterable[Evidence], scripts: frozenset[str]) -> bool:
    """Whether no condition was decided by a measurement alone: all evidence leans on what the script says."""
    leaning = [_read_in(e.origin, scripts) for e in shown]
    return bool(leaning) and all(leaning)


def _read_in(origin: str, scripts: frozenset[str]) -> bool:
    """Whether an origin (a derived fact joins several with commas) names a script that was read."""
    return not scripts.isdisjoint((origin, *origin.split(", ")))


def _finding(match: Match, engine: Engine, profile: Profile, values: Values, folded: dict[str, str]) -> Finding:
    rule = match.rule
    shown = tuple(supporting(match, profile, values))
    confidence, reason = _confidence(rule, shown, profile, engine)
    return Finding(
        rule=rule,
        text=fill(rule.finding, values, engine.knowledge.facts),
        confidence=confidence,
        confidence_reason=reason,
        gain=gain(rule.gain, values),
        evidence=shown,
        ruled_out=tuple(ruled_out(match, profile, values)),
        advice=_advice(rule, engine, values),
        explains=tuple(_explained(rule, folded, engine)),
    )


def _explained(rule: Rule, folded: dict[str, str], engine: Engine) -> list[str]:
    """Every matched rule below `rule`, also through findings that are folded themselves."""
    below, stack = [], [r for r in rule.explains if r in folded]
    while stack:
        other = stack.pop(0)
        if other not in below:
            below.append(other)
            stack += [r for r in engine.knowledge.rules[other].explains if r in folded]
    return below


def _advice(rule: Rule, engine: Engine, values: Values) -> tuple[Advice, ...]:
    """The remedies that apply here. The first that turns a knob has the word on it."""
    advice: list[Advice] = []
    knobs: set[str] = set()
    for remedy in rule.remedies:
        if not engine.offered(rule, remedy.id, values) or (remedy.knob and remedy.knob in knobs):
            continue
        if remedy.knob:
            knobs.add(remedy.knob)
        texts = (remedy.do, remedy.risk, remedy.not_when, remedy.rollback)
        do, risk, not_when, rollback = (fill(text, values, engine.knowledge.facts) for text in texts)
        to, setting = fill_setting(remedy.to, values), fill_setting(remedy.setting, values)
        won = gain(remedy.gain or rule.gain, values)
        advice.append(Advice(remedy, do, risk, not_when, rollback, to, setting, won))
    return tuple(advice)


def _confidence(rule: Rule, shown: Sequence[Evidence], profile: Profile, engine: Engine) -> tuple[Confidence, Text]:
    """The rule's own confidence, lowered where sources disagree or few steps were seen, with the reason.

    What was read in the script is worth medium confidence beside a measurement and low without one; so is what a
    person said.
    """
    terms = engine.knowledge.terms
    facts = {fact for e in shown for fact in parse(e.condition).facts}
    scripts = _scripts(profile)
    origins = dict.fromkeys(e.origin for e in shown if e.origin)
    if scripts:  # a derived fact may lean on both kinds
        origins = dict.fromkeys(
            o for origin in origins for o in ([origin] if origin in scripts else origin.split(", "))
        )
    read = [o for o in origins if o in scripts]
    measured = ", ".join(o for o in origins if o not in scripts)
    level = min(CONFIDENCES.index(rule.confidence), 2 if not read else 0 if _static(shown, scripts) else 1)
    if any(STATED in e.origin for e in shown):
        level = min(level, 0 if all(e.origin == STATED for e in shown if e.origin) else 1)
    brief = brief_origin(measured)
    named = terms.get(f"origin.{measured}", Text(brief, brief))
    said = terms["reason.measured"]
    reasons = [Text(said.en.format(origins=named.en), said.zh.format(origins=named.zh))] if measured else []
    if read:
        reasons.append(_format(terms["reason.read"], origins=", ".join(read)))
    steps = profile.facts.get("ml.step.count")
    if steps and isinstance(steps.value, float) and any(f.startswith("ml.step.") for f in facts):
        few = steps.value < ENOUGH_STEPS
        level -= few
        reasons.append(_format(terms["reason.few_steps" if few else "reason.steps"], steps=f"{steps.value:.0f}"))
    if any(c.kept.name in facts for c in profile.contradictions):
        level -= 1
        reasons.append(terms["reason.contradiction"])
    joined = Text(", ".join(r.en for r in reasons), "，".join(r.zh for r in reasons))
    return CONFIDENCES[max(0, level)], joined


def _format(text: Text, **values: str) -> Text:
    return Text(text.en.format(**values), text.zh.format(**values))
