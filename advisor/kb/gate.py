"""The gate (`advisor check`): the whole knowledge base proven, every problem at once.

Schema first; then house rules; then every case of every rule against every limit it
names; then every page in both languages. A knowledge base that passes cannot promise
something that its rules do not do.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from advisor.blocks import rule_blocks
from advisor.condition import Trace, compile_condition, compile_rule
from advisor.derive import with_derived
from advisor.errors import Problem
from advisor.kb.build import Loader
from advisor.kb.lint import lint
from advisor.kb.load import default_folder
from advisor.models import Case, Knowledge, Rule
from advisor.text import PLACEHOLDER, fill


def check(folder: Path | None = None) -> tuple[Knowledge, list[Problem]]:
    """Load and prove a knowledge folder: the knowledge and all its problems, sorted."""
    loader = Loader(folder or default_folder())
    knowledge = loader.knowledge()
    problems = list(loader.problems)
    if not problems:
        problems += lint(knowledge, loader.files)
        problems += _cases(knowledge)
        problems += _idle_conditions(knowledge)
        problems += _twins(knowledge)
    if not problems:  # these need links that lead somewhere and facts that exist
        problems += _knobs(knowledge)
        problems += _pages(knowledge)
    return knowledge, sorted(set(problems))


def _file(rule: Rule) -> str:
    return f"rules/{rule.area}/{rule.id}.yaml"


def _cases(knowledge: Knowledge) -> Iterator[Problem]:
    for rule in knowledge.rules.values():
        judge = compile_rule(rule)
        for case in rule.cases:
            trace = judge(with_derived(case.facts))
            for what in _case(rule, case, trace):
                yield Problem(_file(rule), case.line, f"case {case.name!r}: {what}")


def _case(rule: Rule, case: Case, trace: Trace) -> Iterator[str]:
    if trace.outcome != case.expect:
        yield f"expected {case.expect}, got {trace.outcome} ({_why(rule, trace)})"
        return
    if case.expect == "incomplete" and set(case.missing) != set(trace.missing):
        yield f"expected missing {sorted(case.missing)}, got {sorted(trace.missing)}"
    if case.by:
        start = len(rule.when.conditions) - len(rule.when.none)
        others, look_alikes = trace.truths[:start], trace.truths[start:]
        hit = {c.means for c, t in zip(rule.when.none, look_alikes, strict=True) if t}
        if case.by not in hit:
            yield f"expected the look-alike {case.by!r} to clear it, but {sorted(h for h in hit if h)} did"
        elif trace.flips != len([t for t in look_alikes if t]):
            yield f"{case.by!r} is not alone in clearing it ({others.count(False)} other conditions fail)"


def _idle_conditions(knowledge: Knowledge) -> Iterator[Problem]:
    """A condition of a stable rule that is false in none of its cases may as well not be there."""
    for rule in (r for r in knowledge.rules.values() if r.status == "stable"):
        facts = [with_derived(case.facts) for case in rule.cases]
        for condition in rule.when.conditions:
            test = compile_condition(condition)
            if not any(test(values) is False for values in facts):
                yield Problem(_file(rule), 1, f"{condition.text!r} is false in no case; add one in which it is")


def _twins(knowledge: Knowledge) -> Iterator[Problem]:
    """No two rules may have one test: they would always be found together."""
    seen: dict[tuple[tuple[str, ...], ...], str] = {}
    for rule in knowledge.rules.values():
        when = rule.when
        groups = (rule.applies, when.all, when.any, when.at_least)
        other = seen.setdefault(tuple(tuple(sorted(c.text for c in g)) for g in groups), rule.id)
        if other != rule.id:
            yield Problem(_file(rule), 1, f"has the same test as {other!r}; merge them or tell them apart")


def _why(rule: Rule, trace: Trace) -> str:
    said = {True: "true", False: "false", None: "unknown"}
    pairs = [*zip(rule.applies, trace.applies, strict=True)]
    if trace.truths:
        pairs += zip(rule.when.conditions, trace.truths, strict=True)
    return "; ".join(f"{c.text} is {said[t]}" for c, t in pairs)


def _knobs(knowledge: Knowledge) -> Iterator[Problem]:
    """No two rules that match one profile may pull one knob in opposite directions, unless one explains the other."""
    judges = {rule.id: compile_rule(rule) for rule in knowledge.rules.values()}
    for owner in knowledge.rules.values():
        for case in (c for c in owner.cases if c.expect == "matched"):
            values = with_derived(case.facts)
            matched = [knowledge.rules[i] for i, judge in judges.items() if judge(values).outcome == "matched"]
            pulls: dict[str, tuple[str, str | None]] = {}
            for rule in (r for r in matched if not any(r.id in other.explains for other in matched)):
                for remedy in rule.remedies:
                    usable = all(compile_condition(c)(values) for c in remedy.applies)
                    if not remedy.knob or remedy.direction == "set" or not usable:
                        continue
                    other, direction = pulls.setdefault(remedy.knob, (rule.id, remedy.direction))
                    if direction != remedy.direction:
                        what = f"{rule.id} and {other} pull {remedy.knob} in opposite directions"
                        yield Problem(_file(owner), case.line, f"case {case.name!r}: {what}")


def _pages(knowledge: Knowledge) -> Iterator[Problem]:
    """Every page and every finding sentence can be written, with no placeholder left, in both languages."""
    for rule in knowledge.rules.values():
        for lang in ("en", "zh-Hans"):
            if PLACEHOLDER.search(repr(rule_blocks(rule, knowledge, lang))):
                yield Problem(_file(rule), 1, f"the {lang} page shows an unfilled placeholder")
        for case in (c for c in rule.cases if c.expect == "matched"):
            said = fill(rule.finding, with_derived(case.facts), knowledge.facts)
            if "unknown" in said.en or "未知" in said.zh:
                yield Problem(_file(rule), case.line, f"case {case.name!r}: the finding says 'unknown': {said.en}")
