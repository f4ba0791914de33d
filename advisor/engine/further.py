"""What to learn next: what tells rivals apart, then what decides most of what is open for the least effort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from advisor.engine.match import Match
from advisor.models import (
    SEVERITIES,
    Finding,
    Incomplete,
    Knowledge,
    Measurement,
    NextMeasurement,
    Profile,
    Rule,
    Text,
    Unjudged,
)

MAX_NEXT = 3
MAX_LACKS = 4
BESIDE = 0.1  # once something is found, a rule that would not say more precisely what it is
ANSWER_MINUTES = 0.5  # what it costs a person to say a number that they know
# What a rule weighs that is still open: one that would be serious, and that is half proven, is worth knowing first.
_WEIGHT = {"minor": 0.25, "moderate": 1.0, "serious": 2.0, "critical": 3.0}
# Kinds of facts as a person speaks of them: the first prefix that fits names a term ``lack.<name>``.
_LACKS = (
    ("ml.dataloader.", "steps"), ("ml.step.", "steps"), ("hw.gpu.", "gpu"), ("torch.", "memory"), ("trace.", "trace"),
    ("comm.", "comm"), ("gen_ai.", "server"), ("config.", "settings"), ("run.", "kind"), ("ml.", "log"),
    ("system.", "host"), ("process.", "host"), ("container.", "host"), ("hw.", "host"), ("nfs.", "storage"),
)  # fmt: skip


def next_measurements(
    matches: Sequence[Match], found: Sequence[Finding], profile: Profile, knowledge: Knowledge
) -> tuple[NextMeasurement, ...]:
    """At most three, best first: what splits the causes that fit equally, then what decides most open rules.

    What was tried already is not proposed again: what it could not read here it will not read next time.
    """
    taken = {s.kind for s in profile.sources}
    phase = profile.facts["run.phase"].value if "run.phase" in profile.facts else None
    left = [m for m in knowledge.measurements if m.source not in taken and (not phase or m.phase in (None, phase))]
    first = _between_rivals(matches, found, left, knowledge)
    weights = {m.rule.id: _weight(m, found) for m in matches if m.trace.outcome == "incomplete"}
    missing = {m.rule.id: frozenset(m.trace.missing) for m in matches if m.trace.outcome == "incomplete"}
    chosen = [first] if first else []
    left = [m for m in left if not first or m.command != first.command]
    while missing and len(chosen) < MAX_NEXT:
        best = _best(left, missing, weights, knowledge)
        if best is None:
            break
        chosen.append(best)
        left = [m for m in left if m.command != best.command]
        missing = {r: m for r, m in missing.items() if r not in best.rules}
    return tuple(chosen)


def _weight(match: Match, found: Sequence[Finding]) -> float:
    """What knowing the outcome is worth: the severity, how much of the test holds, whether it narrows the answer."""
    truths = match.trace.truths
    held = 0.5 + sum(t is True for t in truths) / max(1, len(truths))
    weight = _WEIGHT[match.rule.severity] * held
    if not found:
        return weight
    top = found[0].rule
    narrows = top.id in match.rule.explains or (match.rule.gain is not None and match.rule.gain == top.gain)
    return weight if narrows else weight * BESIDE


def _best(
    left: Iterable[Measurement], missing: Mapping[str, frozenset[str]], weights: Mapping[str, float], known: Knowledge
) -> NextMeasurement | None:
    """The command or the question that is worth most for its cost; None when nothing decides anything."""
    options: list[tuple[float, str, NextMeasurement]] = []
    for m in left:
        rules = tuple(rule for rule, facts in missing.items() if facts <= m.covers)
        if rules:
            why = _format(known.terms["next.why"], title=m.title, count=str(len(rules)), why=m.why)
            facts = dict.fromkeys(f for r in rules for f in sorted(missing[r]))
            worth = _worth(m.covers, missing, weights) / m.minutes
            options.append((worth, m.id, NextMeasurement(tuple(facts), rules, why, m.command)))
    for fact, spec in known.facts.items():
        rules = tuple(rule for rule, facts in missing.items() if fact in facts) if spec.ask else ()
        if rules:
            why = _format(known.terms["next.question"], count=str(len(rules)))
            worth = _worth(frozenset((fact,)), missing, weights) / ANSWER_MINUTES
            options.append((worth, fact, NextMeasurement((fact,), rules, why, "", spec.ask)))
    return max(options, key=lambda o: o[:2])[2] if options else None


def _worth(given: frozenset[str], missing: Mapping[str, frozenset[str]], weights: Mapping[str, float]) -> float:
    """The weight of the rules that are expected to be decided: one missing fact of two decides half of the time."""
    return sum(weights[rule] * 0.5 ** len(facts - given) for rule, facts in missing.items() if facts & given)


def _between_rivals(
    matches: Sequence[Match], found: Sequence[Finding], left: Sequence[Measurement], knowledge: Knowledge
) -> NextMeasurement | None:
    """What tells the first finding from its rivals: a fact that neither was tested on, else the cheaper remedy."""
    top = found[0] if found else None
    if top is None or not top.rivals:
        return None
    rules = (top.rule.id, *top.rivals)
    open_facts = {
        fact
        for m in matches
        if m.rule.id in rules
        for condition, truth in zip(m.rule.when.conditions, m.trace.truths, strict=True)
        if truth is None
        for fact in condition.facts
    }
    giving = [(len(open_facts.intersection(m.covers)) / m.minutes, m.id, m) for m in left]
    useful = [g for g in giving if g[0] > 0]
    if useful:
        m = max(useful, key=lambda g: g[:2])[2]
        said = _format(knowledge.terms["next.rivals"], titles=_titles(rules, knowledge), title=m.title, why=m.why)
        return NextMeasurement(tuple(sorted(open_facts.intersection(m.covers))), rules, said, m.command)
    tried = next((a for a in top.advice), None)
    if tried is None:
        return None
    said = _format(
        knowledge.terms["next.try"],
        titles=_titles(rules, knowledge),
        title=top.rule.title,
        verify=tried.remedy.verify.text,
    )
    return NextMeasurement((tried.remedy.verify.fact,), rules, said, "")


def _titles(rules: Sequence[str], knowledge: Knowledge) -> Text:
    titles = [knowledge.rules[r].title for r in rules]
    return Text("; ".join(t.en for t in titles), "；".join(t.zh for t in titles))


def unjudged(incomplete: Sequence[Incomplete], knowledge: Knowledge) -> tuple[Unjudged, ...]:
    """The kinds of facts that keep most rules open, most first; minor rules are not counted."""
    groups: dict[str, list[str]] = {}
    for i in incomplete:
        if _counts(knowledge.rules[i.rule]):
            lacks = Counter(_lack(fact) for fact in i.missing)
            # A setting is soon told; what has to be measured is what keeps a rule open.
            name = max(lacks, key=lambda n: (n not in ("settings", "kind"), lacks[n], n))
            groups.setdefault(name, []).append(i.rule)
    most = sorted(groups.items(), key=lambda g: (-len(g[1]), g[0]))
    return tuple(Unjudged(name, tuple(rules)) for name, rules in most[:MAX_LACKS])


def _counts(rule: Rule) -> bool:
    return rule.severity != SEVERITIES[0]


def _lack(fact: str) -> str:
    """The kind of fact that is missing, as a person speaks of it."""
    return next((name for prefix, name in _LACKS if fact.startswith(prefix)), "other")


def _format(said: Text, **parts: str | Text) -> Text:
    en = {k: v if isinstance(v, str) else v.en for k, v in parts.items()}
    zh = {k: v if isinstance(v, str) else v.zh for k, v in parts.items()}
    return Text(said.en.format(**en), said.zh.format(**zh))
