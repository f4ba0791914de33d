"""One rule against one profile: outcome, trace, evidence.

`Engine` compiles every rule once. Judging keeps the truth of every condition; evidence
objects are made only for what is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from advisor.condition import RuleSet, Trace, Truth, compile_condition, left_value, limit_value
from advisor.models import Condition, Evidence, Knowledge, Profile, Rule, Value, Values


class Match(NamedTuple):
    """The outcome of one rule on one profile."""

    rule: Rule
    trace: Trace


class Engine:
    """The rules of a knowledge base, compiled."""

    def __init__(self, knowledge: Knowledge) -> None:
        self.knowledge = knowledge
        self._rules = [rule for rule in knowledge.rules.values() if rule.status != "deprecated"]
        self._compiled = RuleSet(self._rules)
        self._offers = {
            (rule.id, remedy.id): tuple(compile_condition(c) for c in remedy.applies)
            for rule in self._rules
            for remedy in rule.remedies
        }

    def match(self, values: Values) -> list[Match]:
        """The outcome of every rule, in the order of their ids."""
        return [Match(rule, trace) for rule, trace in zip(self._rules, self._compiled.judge(values), strict=True)]

    def offered(self, rule: Rule, remedy_id: str, values: Values) -> bool:
        """Whether every condition of a remedy's ``for`` holds."""
        return all(test(values) is True for test in self._offers[rule.id, remedy_id])


def evidence(condition: Condition, truth: Truth, profile: Profile, values: Values) -> Evidence:
    """The condition with the numbers that decided it."""
    fact = profile.facts.get(condition.fact)
    return Evidence(
        fact=condition.fact,
        value=left_value(condition, values),
        unit="1" if condition.over else (fact.unit if fact else ""),
        op=condition.op,
        limit=limit_value(condition, values),
        origin=fact.origin if fact else "",
        where=fact.where if fact else None,
        holds=truth is True,
        condition=condition.text,
        source=condition.source,
        means=condition.means,
    )


def supporting(match: Match, profile: Profile, values: Values) -> Iterator[Evidence]:
    """The conditions that hold, in the rule's order."""
    when = match.rule.when
    positive = len(when.conditions) - len(when.none)
    for condition, truth in list(zip(when.conditions, match.trace.truths, strict=True))[:positive]:
        if truth is True:
            yield evidence(condition, truth, profile, values)


def ruled_out(match: Match, profile: Profile, values: Values) -> Iterator[Evidence]:
    """The look-alikes that were measured and do not hold."""
    none = match.rule.when.none
    for condition, truth in zip(none, match.trace.truths[len(match.trace.truths) - len(none) :], strict=True):
        if truth is False:
            yield evidence(condition, truth, profile, values)


def failing(match: Match, profile: Profile, values: Values) -> Iterator[Evidence]:
    """The conditions that keep a cleared rule from matching."""
    when = match.rule.when
    for condition, truth in zip(when.conditions, match.trace.truths, strict=True):
        wrong = truth is True if condition in when.none else truth is False
        if wrong:
            yield evidence(condition, truth, profile, values)


def plain_values(profile: Profile) -> dict[str, Value]:
    """The facts of a profile as bare values."""
    return {name: fact.value for name, fact in profile.facts.items()}
