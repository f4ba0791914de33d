"""Rules over fact values: Kleene logic of the groups, the outcome, and the trace of every condition."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from advisor.condition.evaluate import Test, Truth, compile_condition
from advisor.models import Condition, Outcome, Rule, Values


class Trace(NamedTuple):
    """The outcome of one rule on one set of values, with the truth of every condition.

    `truths` follow `When.conditions`. `flips` is the smallest number of conditions that
    would have to change for the rule to match. `missing` names the facts that would decide
    an incomplete rule. `error` says why a rule could not be judged.
    """

    outcome: Outcome
    applies: tuple[Truth, ...] = ()
    truths: tuple[Truth, ...] = ()
    flips: int = 0
    missing: tuple[str, ...] = ()
    error: str = ""


Pick = Callable[[Sequence[Truth]], tuple[Truth, ...]]


class _Group(NamedTuple):
    """Conditions of which at least `needed` must be `wanted`; `pick` takes their truths from those of all leaves."""

    conditions: tuple[Condition, ...]
    pick: Pick
    needed: int
    wanted: bool


class _Compiled(NamedTuple):
    """One rule over the leaves of a rule set."""

    rule: Rule
    leaves: tuple[int, ...]
    gate: Pick
    groups: tuple[_Group, ...]


class RuleSet:
    """Rules compiled together: a condition that many rules share is evaluated once."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._leaves: dict[tuple[object, ...], int] = {}
        self._tests: list[Test] = []
        self._rules = [self._compile(rule) for rule in rules]

    def judge(self, values: Values) -> list[Trace]:
        """The trace of every rule, in order. One rule that fails never stops the others."""
        try:
            truths = [test(values) for test in self._tests]
        except (TypeError, ValueError, ArithmeticError):  # a value of another type than the vocabulary says
            return self._judge_each(values)
        return [_judge(compiled, truths, values) for compiled in self._rules]

    def _judge_each(self, values: Values) -> list[Trace]:
        truths: list[Truth] = []
        errors: dict[int, str] = {}
        for i, test in enumerate(self._tests):
            try:
                truths.append(test(values))
            except (TypeError, ValueError, ArithmeticError) as error:
                truths.append(None)
                errors[i] = f"{type(error).__name__}: {error}"
        traces = []
        for compiled in self._rules:
            failure = next((errors[i] for i in compiled.leaves if i in errors), "")
            traces.append(Trace("error", error=failure) if failure else _judge(compiled, truths, values))
        return traces

    def _compile(self, rule: Rule) -> _Compiled:
        when = rule.when
        given = (
            (when.all, len(when.all), True),
            (when.any, 1, True),
            (when.at_least, when.count, True),
            (when.none, len(when.none), False),
        )
        groups = tuple(_Group(c, self._pick(c), needed, wanted) for c, needed, wanted in given if c)
        leaves = tuple(self._leaf(c) for c in rule.applies + when.conditions)
        return _Compiled(rule, leaves, self._pick(rule.applies), groups)

    def _pick(self, conditions: Sequence[Condition]) -> Pick:
        places = [self._leaf(c) for c in conditions]
        if len(places) > 1:
            return operator.itemgetter(*places)
        return (lambda truths: (truths[places[0]],)) if places else (lambda _: ())

    def _leaf(self, c: Condition) -> int:
        key = (c.fact, c.op, type(c.value), c.value, c.over, c.other, c.factor)
        if key not in self._leaves:
            self._leaves[key] = len(self._tests)
            self._tests.append(compile_condition(c))
        return self._leaves[key]


def _judge(compiled: _Compiled, leaves: Sequence[Truth], values: Values) -> Trace:
    gate = compiled.gate(leaves)
    if False in gate:
        return Trace("inapplicable", gate)
    truths: tuple[Truth, ...] = ()
    failed, unknown, flips = False, None in gate, 0
    for _, pick, needed, wanted in compiled.groups:
        part = pick(leaves)
        truths += part
        short = needed - part.count(wanted)
        if short > 0:
            flips += short
            if part.count(None) >= short:
                unknown = True
            else:
                failed = True
    if failed:
        return Trace("cleared", gate, truths, flips)
    if not unknown:
        return Trace("matched", gate, truths)
    return Trace("incomplete", gate, truths, flips, _open(compiled, gate, leaves, values))


def _open(compiled: _Compiled, gate: Sequence[Truth], leaves: Sequence[Truth], values: Values) -> tuple[str, ...]:
    """The missing facts that keep the rule undecided: those of unknown groups, not of groups that hold anyway."""
    unsure = [c for c, t in zip(compiled.rule.applies, gate, strict=True) if t is None]
    for conditions, pick, needed, wanted in compiled.groups:
        part = pick(leaves)
        if part.count(wanted) < needed:
            unsure += [c for c, t in zip(conditions, part, strict=True) if t is None]
    return _missing(unsure, values)


def compile_rule(rule: Rule) -> Callable[[Values], Trace]:
    """A function that judges one rule."""
    rules = RuleSet([rule])
    return lambda values: rules.judge(values)[0]


def _missing(conditions: Sequence[Condition], values: Values) -> tuple[str, ...]:
    """The absent facts of unknown conditions; a divisor that is zero counts as absent."""
    names: dict[str, None] = {}
    for condition in conditions:
        absent = [f for f in condition.facts if f not in values] or [condition.over or condition.fact]
        names.update(dict.fromkeys(absent))
    return tuple(names)
