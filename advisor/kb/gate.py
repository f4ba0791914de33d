"""The gate (`advisor check`): the whole knowledge base proven, every problem at once.

Schema first; then house rules; then every case of every rule against every limit it
names; then every page in both languages. A knowledge base that passes cannot promise
something that its rules do not do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from advisor.blocks import rule_blocks
from advisor.condition import Trace, compile_condition, compile_rule
from advisor.derive import with_derived
from advisor.errors import Problem
from advisor.kb.build import Loader
from advisor.kb.case import Case, Cases
from advisor.kb.lint import lint
from advisor.kb.load import default_folder
from advisor.kb.yamlfile import YamlFile
from advisor.models import Knowledge, Rule
from advisor.text import PLACEHOLDER, fill


class Checked(NamedTuple):
    """What `check` found: the knowledge, its number of cases, and every problem, sorted."""

    knowledge: Knowledge
    cases: int
    problems: list[Problem]


def check(folder: Path | None = None) -> Checked:
    """Load and prove a knowledge folder."""
    loader = Loader(folder or default_folder())
    knowledge = loader.knowledge()
    cases = loader.cases()
    problems = loader.problems or list(_Gate(knowledge, cases, loader.files).problems())
    return Checked(knowledge, sum(map(len, cases.values())), sorted(set(problems)))


class _Gate:
    """The proofs of a knowledge base that has the right shape."""

    def __init__(self, knowledge: Knowledge, cases: Cases, files: Mapping[str, YamlFile]) -> None:
        self.knowledge, self.cases, self.files = knowledge, cases, files
        self.rules = list(knowledge.rules.values())

    def problems(self) -> Iterator[Problem]:
        first = [
            *lint(self.knowledge, self.files, self.cases),
            *self._outcomes(),
            *self._idle_conditions(),
            *self._twins(),
        ]
        yield from first
        if not first:  # these need links that lead somewhere and facts that exist
            yield from self._knobs()
            yield from self._pages()

    def _at(self, rule: Rule, case: int | None, what: str) -> Problem:
        file = self.files[f"rules/{rule.area}/{rule.id}.yaml"]
        if case is None:
            return file.problem((), what)
        return file.problem(("cases", case), f"case {self.cases[rule.id][case].name!r}: {what}")

    def _matched(self, rule: Rule) -> Iterator[tuple[int, Case]]:
        return ((i, case) for i, case in enumerate(self.cases[rule.id]) if case.expect == "matched")

    def _outcomes(self) -> Iterator[Problem]:
        for rule in self.rules:
            judge = compile_rule(rule)
            for i, case in enumerate(self.cases[rule.id]):
                yield from (self._at(rule, i, what) for what in _wrong(rule, case, judge(with_derived(case.facts))))

    def _idle_conditions(self) -> Iterator[Problem]:
        """A condition of a stable rule that is false in none of its cases may as well not be there."""
        for rule in (r for r in self.rules if r.status == "stable"):
            facts = [with_derived(case.facts) for case in self.cases[rule.id]]
            for condition in rule.when.conditions:
                test = compile_condition(condition)
                if not any(test(values) is False for values in facts):
                    yield self._at(rule, None, f"{condition.text!r} is false in no case; add one in which it is")

    def _twins(self) -> Iterator[Problem]:
        """No two rules may have one test: they would always be found together."""
        seen: dict[tuple[tuple[str, ...], ...], str] = {}
        for rule in self.rules:
            when = rule.when
            groups = (rule.applies, when.all, when.any, when.at_least)
            other = seen.setdefault(tuple(tuple(sorted(c.text for c in g)) for g in groups), rule.id)
            if other != rule.id:
                yield self._at(rule, None, f"has the same test as {other!r}; merge them or tell them apart")

    def _knobs(self) -> Iterator[Problem]:
        """No two rules that match one profile pull one knob in opposite directions, unless one explains the other."""
        judges = {rule.id: compile_rule(rule) for rule in self.rules}
        for owner in self.rules:
            for i, case in self._matched(owner):
                values = with_derived(case.facts)
                matched = [r for r in self.rules if judges[r.id](values).outcome == "matched"]
                pulls: dict[str, tuple[str, str | None]] = {}
                for rule in (r for r in matched if not any(r.id in other.explains for other in matched)):
                    for remedy in rule.remedies:
                        usable = all(compile_condition(c)(values) for c in remedy.applies)
                        if not remedy.knob or remedy.direction == "set" or not usable:
                            continue
                        other, direction = pulls.setdefault(remedy.knob, (rule.id, remedy.direction))
                        if direction != remedy.direction:
                            what = f"{rule.id} and {other} pull {remedy.knob} in opposite directions"
                            yield self._at(owner, i, what)

    def _pages(self) -> Iterator[Problem]:
        """Every page and every finding sentence can be written, with no placeholder left, in both languages."""
        for rule in self.rules:
            for lang in ("en", "zh-Hans"):
                if PLACEHOLDER.search(repr(rule_blocks(rule, self.knowledge, lang))):
                    yield self._at(rule, None, f"the {lang} page shows an unfilled placeholder")
            for i, case in self._matched(rule):
                said = fill(rule.finding, with_derived(case.facts), self.knowledge.facts)
                if "unknown" in said.en or "未知" in said.zh:
                    yield self._at(rule, i, f"the finding says 'unknown': {said.en}")


def _wrong(rule: Rule, case: Case, trace: Trace) -> Iterator[str]:
    """How the outcome of a case differs from what it expects."""
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


def _why(rule: Rule, trace: Trace) -> str:
    said = {True: "true", False: "false", None: "unknown"}
    pairs = [*zip(rule.applies, trace.applies, strict=True)]
    if trace.truths:
        pairs += zip(rule.when.conditions, trace.truths, strict=True)
    return "; ".join(f"{c.text} is {said[t]}" for c, t in pairs)
