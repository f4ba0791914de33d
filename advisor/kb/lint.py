"""House rules: what a schema cannot see, because it concerns several entries or the language.

Every function yields problems and never raises; `gate.check` runs them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from advisor import condition as conditions
from advisor.derive import FORMULAS
from advisor.errors import Problem
from advisor.kb.case import Case, Cases
from advisor.kb.lint_said import lint_said
from advisor.kb.yamlfile import Path_, YamlFile, read
from advisor.models import Condition, FactSpec, Faq, Knowledge, Remedy, Rule, Text
from advisor.text import placeholders

TITLE_MAX = 60
_CJK = re.compile(r"[\u3400-\u9fff]")


def lint(knowledge: Knowledge, files: Mapping[str, YamlFile], cases: Cases) -> Iterator[Problem]:
    """All house-rule problems of a knowledge base that has the right shape."""
    for rule in knowledge.rules.values():
        file = files[f"rules/{rule.area}/{rule.id}.yaml"]
        yield from _Rule(rule, cases[rule.id], knowledge, file).problems()
    for faq in knowledge.faqs.values():
        yield from _faq(faq, knowledge, files[f"faq/{faq.id}.yaml"])
    yield from _references(knowledge, files["references.yaml"])
    yield from _labels(knowledge, files["facts.yaml"])
    yield from _directions(knowledge, files["facts.yaml"])
    yield from _workings(knowledge, files["facts.yaml"])
    yield from _measurements(knowledge, files["facts.yaml"])
    yield from _topics(knowledge, files["topics.yaml"])
    yield from lint_said(knowledge, files)
    yield from _cycles(knowledge, files)


class _Rule:
    """The house rules of one rule file."""

    def __init__(self, rule: Rule, cases: tuple[Case, ...], knowledge: Knowledge, file: YamlFile) -> None:
        self.rule, self.cases, self.knowledge, self.file = rule, cases, knowledge, file

    def problems(self) -> Iterator[Problem]:
        yield from self._identity()
        yield from self._links()
        yield from self._conditions()
        yield from self._texts()
        yield from self._gain()
        yield from self._remedies()
        yield from self._cases()

    def _at(self, location: Path_, what: str) -> Problem:
        return self.file.problem(location, what)

    def _identity(self) -> Iterator[Problem]:
        topic = self.knowledge.topics.get(self.rule.topic)
        if topic is None:
            yield self._at(("topic",), f"unknown topic {self.rule.topic!r}; topics.yaml has the list")
        elif not topic.in_scope:
            yield self._at(("topic",), f"topic {topic.id!r} is out of scope; a rule needs one that is in scope")
        for lang, title in (("en", self.rule.title.en), ("zh", self.rule.title.zh)):
            if len(title) > TITLE_MAX:
                yield self._at(("title", lang), f"title has {len(title)} characters, at most {TITLE_MAX}")

    def _links(self) -> Iterator[Problem]:
        for i, ref in enumerate(self.rule.references):
            if ref not in self.knowledge.references:
                yield self._at(("references", i), f"unknown reference {ref!r}; add it to references.yaml")
        for i, other in enumerate(self.rule.explains):
            if other not in self.knowledge.rules:
                yield self._at(("explains", i), f"unknown rule {other!r}")
        cited = [self.knowledge.references[r] for r in self.rule.references if r in self.knowledge.references]
        if self.rule.status == "stable" and not any(r.read for r in cited):
            yield self._at(("references",), "a stable rule cites at least one reference that somebody has read")

    def _conditions(self) -> Iterator[Problem]:
        facts = self.knowledge.facts
        for i, leaf in enumerate(self.rule.applies):
            yield from (self._at(("applies", i), what) for what in conditions.check(leaf, facts))
        when = self.rule.when
        groups = (("all", when.all), ("any", when.any), ("at_least", when.at_least), ("none", when.none))
        for name, leaves in groups:
            inner: Path_ = ("of",) if name == "at_least" else ()
            for i, leaf in enumerate(leaves):
                where = ("when", name, *inner, i)
                yield from (self._at((*where, "is"), what) for what in conditions.check(leaf, facts))
                yield from self._origin(leaf, where, name == "none")
        if when.count > len(when.at_least):
            yield self._at(("when", "at_least"), f"count {when.count} is more than the conditions given")

    def _origin(self, leaf: Condition, where: Path_, look_alike: bool) -> Iterator[Problem]:
        if leaf.op == "is known":
            yield self._at(where, "'is known' is for applies and for; in a test it would turn a gap into an answer")
        limit = leaf.op in conditions.ORDERED and (leaf.over or leaf.other or leaf.value != 0)
        if limit and not look_alike and not (leaf.source or leaf.judgement):
            yield self._at(where, f"{leaf.text!r}: the limit needs 'from:' a reference or 'judgement:' with the reason")
        if leaf.source and leaf.source not in self.knowledge.references:
            yield self._at((*where, "from"), f"unknown reference {leaf.source!r}; add it to references.yaml")
        elif leaf.source and self.rule.status == "stable" and not self.knowledge.references[leaf.source].read:
            yield self._at((*where, "from"), f"nobody has read {leaf.source!r}; read it, or keep the rule experimental")
        if look_alike and not leaf.means:
            yield self._at(where, "a look-alike needs 'means:' the rule it points to")
        if leaf.means and leaf.means not in self.knowledge.rules:
            yield self._at((*where, "means"), f"unknown rule {leaf.means!r}")
        if leaf.means and not look_alike:
            yield self._at((*where, "means"), "'means:' belongs to a look-alike under none")

    def _texts(self) -> Iterator[Problem]:
        rule = self.rule
        texts = [("title", rule.title), ("meaning", rule.meaning), ("impact", rule.impact), ("finding", rule.finding)]
        for key, text in texts:
            yield from self._text((key,), text)
        known = _known(rule)
        for name in placeholders(rule.finding.en) + placeholders(rule.finding.zh):
            if name not in known and name != rule.gain:
                yield self._at(("finding",), f"{{{name}}} may be unknown at a match; use facts of all or gain")
        for key, text in texts[:3]:
            if placeholders(text.en) or placeholders(text.zh):
                yield self._at((key,), "holds a placeholder; only finding and remedies are filled in")

    def _text(self, where: Path_, text: Text) -> Iterator[Problem]:
        if not _CJK.search(text.zh):
            yield self._at((*where, "zh"), "has no Chinese; translate it")
        if _CJK.search(text.en):
            yield self._at((*where, "en"), "has Chinese characters in the English text")
        for name in placeholders(text.en) + placeholders(text.zh):
            if name not in self.knowledge.facts:
                yield self._at(where, f"unknown fact {{{name}}}")
        if sorted(placeholders(text.en)) != sorted(placeholders(text.zh)):
            yield self._at(where, "English and Chinese name different facts")

    def _gain(self) -> Iterator[Problem]:
        gains: list[tuple[Path_, str | None]] = [(("gain",), self.rule.gain)]
        gains += [(("remedies", i, "gain"), r.gain) for i, r in enumerate(self.rule.remedies)]
        for where, name in gains:
            spec = self.knowledge.facts.get(name) if name else None
            if name and spec is None:
                yield self._at(where, f"unknown fact {name!r}")
            elif spec and (spec.unit, spec.low, spec.high) != ("1", 0.0, 1.0):
                yield self._at(where, f"{spec.name!r} is not a share: unit 1, range [0, 1]")

    def _remedies(self) -> Iterator[Problem]:
        for i, remedy in enumerate(self.rule.remedies):
            yield from self._remedy(remedy, ("remedies", i))
        ids = [r.id for r in self.rule.remedies]
        twice = sorted({x for x in ids if ids.count(x) > 1})
        yield from (self._at(("remedies",), f"remedy id {x!r} exists twice") for x in twice)

    def _remedy(self, remedy: Remedy, where: Path_) -> Iterator[Problem]:
        facts = self.knowledge.facts
        for key in ("do", "risk", "not_when", "rollback"):
            yield from self._text((*where, key), getattr(remedy, key))
        for i, leaf in enumerate(remedy.applies):
            yield from (self._at((*where, "for", i), what) for what in conditions.check(leaf, facts))
        yield from (self._at((*where, "verify"), what) for what in conditions.check(remedy.verify, facts))
        for name in placeholders(remedy.to or "") + placeholders(remedy.setting or ""):
            if name not in facts:
                yield self._at(where, f"unknown fact {{{name}}}")
        known = _known(self.rule, remedy.applies)
        for key in ("do", "risk", "not_when", "rollback"):
            for name in placeholders(getattr(remedy, key).en):
                if name not in known:
                    yield self._at((*where, key), f"{{{name}}} may be unknown; add 'for: [{name} is known]'")
        if (remedy.knob is None) != (remedy.direction is None):
            yield self._at(where, "knob and direction go together")

    def _cases(self) -> Iterator[Problem]:
        for i, case in enumerate(self.cases):
            for name, value in case.facts.items():
                spec = self.knowledge.facts.get(name)
                what = "unknown fact" if spec is None else _misfit(spec, value)
                if what:
                    yield self._at(("cases", i, "facts", name), f"{name}: {what}")
        if self.rule.status != "stable":
            return
        kinds = {c.expect for c in self.cases}
        wanted = {"matched", "cleared", "incomplete"} | ({"inapplicable"} if self.rule.applies else set())
        for kind in sorted(wanted - kinds):
            yield self._at(("cases",), f"a stable rule has a case for {kind!r}; add one")
        means = {leaf.means for leaf in self.rule.when.none}
        for rule in sorted(m for m in means - {c.by for c in self.cases} if m):
            yield self._at(("cases",), f"no case is cleared by the look-alike {rule!r}; add one with by: {rule}")
        cleared = [c.facts for c in self.cases if c.expect == "cleared"]
        if _limits(self.rule) and not any(_at_limit(self.rule, facts) for facts in cleared):
            yield self._at(("cases",), "no cleared case sits exactly at a limit; add one, so that > and >= stay apart")


def _known(rule: Rule, further: tuple[Condition, ...] = ()) -> set[str]:
    """Facts that are surely known at a match: those of every condition that must hold, and of each in any."""
    sure = {name for leaf in (*rule.applies, *rule.when.all, *further) for name in leaf.facts}
    either = [set(leaf.facts) for leaf in rule.when.any]
    return sure | (set.intersection(*either) if either else set())


def _misfit(spec: FactSpec, value: object) -> str:
    fits = {"number": isinstance(value, float), "bool": isinstance(value, bool)}.get(spec.type, isinstance(value, str))
    if not fits:
        return f"{value!r} is not a {spec.type}"
    if isinstance(value, float):
        outside = (spec.low is not None and value < spec.low) or (spec.high is not None and value > spec.high)
        return f"{value!r} is outside [{spec.low}, {spec.high}]" if outside else ""
    return ""


def _limits(rule: Rule) -> list[Condition]:
    leaves = rule.when.all + rule.when.any + rule.when.at_least
    return [c for c in leaves if c.op in conditions.ORDERED]


def _at_limit(rule: Rule, facts: Mapping[str, float | bool | str]) -> bool:
    """Whether some strict or loose limit of the test is met exactly by the facts."""
    return any(
        conditions.left_value(c, facts) == conditions.limit_value(c, facts) is not None
        for c in _limits(rule)
        if all(name in facts for name in c.facts)
    ) or all(c.op in (">=", "<=") for c in _limits(rule))


def _faq(faq: Faq, knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    for i, ref in enumerate(faq.references):
        if ref not in knowledge.references:
            yield file.problem(("references", i), f"unknown reference {ref!r}; add it to references.yaml")
    for i, topic in enumerate(faq.topics):
        if topic not in knowledge.topics:
            yield file.problem(("topics", i), f"unknown topic {topic!r}")
    for i, item in enumerate(faq.items):
        for rule in item.rules:
            if rule not in knowledge.rules:
                yield file.problem(("items", i, "rules"), f"unknown rule {rule!r}")


def _references(knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    used = {r for rule in knowledge.rules.values() for r in rule.references}
    used |= {leaf.source for rule in knowledge.rules.values() for leaf in rule.when.conditions if leaf.source}
    used |= {r for faq in knowledge.faqs.values() for r in faq.references}
    used |= {r for premise in knowledge.premises.values() for r in premise.references}
    used |= {r for spec in knowledge.facts.values() for r in spec.sources}
    for i, ref in enumerate(knowledge.references):
        if ref not in used:
            yield file.problem(("references", i), f"reference {ref!r} is cited nowhere; remove it")


def _labels(knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    """A fact that a rule uses needs words in both languages, and something that yields it."""
    yielded = {f["name"] for f in read(file.path, file.name)[1]["facts"] if f.get("from")}
    derived = {formula.name for formula in FORMULAS}
    used = {f for rule in knowledge.rules.values() for leaf in rule.when.conditions + rule.applies for f in leaf.facts}
    for i, spec in enumerate(knowledge.facts.values()):
        if spec.name in used and spec.label is None:
            yield file.problem(("facts", i), f"{spec.name!r} is used by a rule and needs a label in both languages")
        if spec.name in used and spec.name not in derived | yielded:
            yield file.problem(("facts", i), f"{spec.name!r} is used by a rule but nothing yields it; add 'from:'")


def _directions(knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    """Only what is measured as a number can be better or worse, and a comparison shows it by its label."""
    for i, spec in enumerate(knowledge.facts.values()):
        if spec.better and (spec.type != "number" or spec.name.startswith("config.")):
            yield file.problem(("facts", i, "better"), f"{spec.name!r} is no measured number; remove 'better:'")
        elif spec.better and spec.label is None:
            yield file.problem(("facts", i, "better"), f"{spec.name!r} has a direction and needs a label")


def _workings(knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    """A fact that a formula gives says how it is worked out, in both languages; no other fact does."""
    derived = {formula.name for formula in FORMULAS}
    for i, spec in enumerate(knowledge.facts.values()):
        if (spec.working is not None) != (spec.name in derived):
            what = "is computed by a formula and needs" if spec.working is None else "is computed by no formula, remove"
            yield file.problem(("facts", i), f"{spec.name!r} {what} 'working:'")
        if spec.working and _CJK.search(spec.working.en):
            yield file.problem(("facts", i, "working", "en"), "has Chinese characters in the English text")
        for ref in spec.sources:
            if ref not in knowledge.references:
                yield file.problem(("facts", i, "sources"), f"unknown reference {ref!r}; add it to references.yaml")


def _topics(knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    """A topic that is in scope has a rule, and says what to measure first."""
    covered = {rule.topic for rule in knowledge.rules.values()}
    for i, topic in enumerate(knowledge.topics.values()):
        if topic.in_scope and topic.id not in covered:
            yield file.problem(("topics", i), f"topic {topic.id!r} has no rule; write one")
        if topic.in_scope and topic.triage is None:
            yield file.problem(("topics", i), f"topic {topic.id!r} has no triage text; say what to measure first")


def _measurements(knowledge: Knowledge, file: YamlFile) -> Iterator[Problem]:
    """A measurement promises facts that exist."""
    for i, measurement in enumerate(knowledge.measurements):
        for name in sorted(measurement.covers - knowledge.facts.keys()):
            yield file.problem(("measurements", i, "covers"), f"unknown fact {name!r}")


def _cycles(knowledge: Knowledge, files: Mapping[str, YamlFile]) -> Iterator[Problem]:
    for rule in knowledge.rules.values():
        seen: set[str] = set()
        stack = list(rule.explains)
        while stack:
            other = stack.pop()
            if other == rule.id:
                yield files[f"rules/{rule.area}/{rule.id}.yaml"].problem(
                    ("explains",), f"{rule.id!r} explains itself through its findings; break the circle"
                )
                break
            if other in knowledge.rules and other not in seen:
                seen.add(other)
                stack += knowledge.rules[other].explains
