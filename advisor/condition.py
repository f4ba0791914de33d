"""The condition language: parse, check, compile and judge.

A leaf is one comparison, at most 300 characters, matched by one flat pattern:

    fact op value            config.dataloader.num_workers == 0
    a / b op value           ml.step.time.p95 / ml.step.time > 2
    fact op k * other        process.thread.count > 2 * process.cpu.usable.count
    fact in [a, b]           comm.transport in [NET/Socket, SHM]
    fact contains text       comm.interface contains docker
    fact is known            hw.gpu.utilization is known

Logic is Kleene's: a missing fact makes a comparison *unknown* (None), never
false and never true; so does a division by zero. Numbers are float64. There is
no NULL literal and no further arithmetic: anything richer is a derived fact
with its own test. `is known` is the one two-valued test; the knowledge base
allows it only where an answer of "no" makes a rule inapplicable, so that
losing a fact can never turn a rule matched or cleared.

This module does not know about profiles, evidence or files.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from advisor.errors import ConditionError
from advisor.models import Condition, FactSpec, Outcome, Rule, Value, Values, When

Truth = bool | None
Test = Callable[[Values], Truth]

MAX_LENGTH = 300
ORDERED: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

_NAME = r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+"
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LEAF = re.compile(
    rf"^(?P<fact>{_NAME})(?:\s*/\s*(?P<over>{_NAME}))?\s*"
    rf"(?:(?P<op>==|!=|>=|<=|>|<)\s*(?P<right>[^\s<>=!].*)|\s(?P<word>in|contains|is)\s+(?P<rest>\S.*))$"
)
_SCALED = re.compile(rf"^(?:(?P<factor>{_NUMBER})\s*\*\s*)?(?P<other>{_NAME})$")
_PLAIN_NUMBER = re.compile(rf"^{_NUMBER}$")


# --- parse ----------------------------------------------------------------------------


def parse(text: str) -> Condition:
    """Parse one leaf.

    >>> parse("process.thread.count > 2 * process.cpu.usable.count").other
    'process.cpu.usable.count'

    Raises:
        ConditionError: when `text` is not a leaf; the message says what one looks like.
    """
    found = _LEAF.match(text.strip()) if len(text) <= MAX_LENGTH else None
    if not found:
        raise ConditionError(
            f"{text[:80]!r} is not a condition; write 'fact op value', 'a / b > k', 'a < 0.5 * b', "
            "'fact in [x, y]', 'fact contains x' or 'fact is known'"
        )
    fact, over = found["fact"], found["over"]
    if found["word"]:
        return _parse_word(text, fact, over, found["word"], found["rest"].strip())
    right = found["right"].strip()
    scaled = _SCALED.match(right)
    if scaled:
        factor = float(scaled["factor"]) if scaled["factor"] else 1.0
        return Condition(text, fact, found["op"], over=over, other=scaled["other"], factor=factor)
    return Condition(text, fact, found["op"], literal(right), over=over)


def _parse_word(text: str, fact: str, over: str | None, word: str, rest: str) -> Condition:
    if over:
        raise ConditionError(f"{text!r}: a ratio can only be compared with a number")
    if word == "is":
        if rest != "known":
            raise ConditionError(f"{text!r}: the only test with 'is' is 'is known'")
        return Condition(text, fact, "is known")
    if word == "contains":
        return Condition(text, fact, "contains", str(literal(rest)))
    if not (rest.startswith("[") and rest.endswith("]")):
        raise ConditionError(f"{text!r}: write 'fact in [a, b]'")
    values = tuple(literal(part.strip()) for part in rest[1:-1].split(",") if part.strip())
    return Condition(text, fact, "in", values)


def literal(text: str) -> Value:
    """A number, ``true`` or ``false``, or text with or without quotes."""
    if _PLAIN_NUMBER.match(text):
        return float(text)
    if text in ("true", "false"):
        return text == "true"
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text


# --- check ----------------------------------------------------------------------------


def check(condition: Condition, specs: Mapping[str, FactSpec]) -> list[str]:
    """Everything wrong with a condition against the vocabulary, each as one sentence."""
    unknown = [f for f in condition.facts if f not in specs]
    if unknown:
        return [f"unknown fact {f!r}; add it to facts.yaml or correct the name" for f in unknown]
    spec = specs[condition.fact]
    if condition.op == "is known":
        return []
    if condition.over or condition.other:
        return _check_two_facts(condition, specs)
    if condition.op in ("in", "contains"):
        return _check_word(condition, spec)
    return _check_literal(condition, spec)


def _check_two_facts(condition: Condition, specs: Mapping[str, FactSpec]) -> list[str]:
    problems = [f"{f!r} is a {specs[f].type}, not a number" for f in condition.facts if specs[f].type != "number"]
    if condition.over and not condition.other and not _is_number(condition.value):
        problems.append(f"{condition.text!r}: a ratio is compared with a number")
    if condition.other and not condition.over and specs[condition.fact].unit != specs[condition.other].unit:
        units = specs[condition.fact].unit, specs[condition.other].unit
        if not all(u.startswith("{") for u in units):  # counts of things may be compared: threads with CPUs
            problems.append(f"{condition.text!r} compares {units[0]} with {units[1]}")
    return problems


def _check_word(condition: Condition, spec: FactSpec) -> list[str]:
    values = condition.value if isinstance(condition.value, tuple) else (condition.value,)
    if condition.op == "contains" and spec.type != "string":
        return [f"'contains' needs text, but {spec.name!r} is a {spec.type}"]
    if not values:
        return [f"{condition.text!r}: the list is empty"]
    return [f"{v!r} is not a {spec.type}, which {spec.name!r} is" for v in values if not _fits(v, spec)]


def _check_literal(condition: Condition, spec: FactSpec) -> list[str]:
    if not _fits(condition.value, spec):
        return [f"{condition.value!r} is not a {spec.type}, which {spec.name!r} is"]
    if condition.op in ORDERED and spec.type != "number":
        return [f"{condition.op!r} needs a number, but {spec.name!r} is a {spec.type}"]
    if spec.type != "number" or not isinstance(condition.value, float):
        return []
    low, high, limit = spec.low, spec.high, condition.value
    never = (
        (condition.op == ">" and high is not None and limit >= high)
        or (condition.op == ">=" and high is not None and limit > high)
        or (condition.op == "<" and low is not None and limit <= low)
        or (condition.op == "<=" and low is not None and limit < low)
    )
    return [f"{condition.text!r} can never hold: {spec.name} ranges from {low} to {high}"] if never else []


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)


def _fits(value: object, spec: FactSpec) -> bool:
    if spec.type == "number":
        return _is_number(value)
    if spec.type == "bool":
        return isinstance(value, bool)
    return isinstance(value, str)


# --- compile --------------------------------------------------------------------------


def compile_condition(condition: Condition) -> Test:
    """A closure that evaluates the condition on a mapping of fact values."""
    fact, op = condition.fact, condition.op
    if op == "is known":
        return lambda values: fact in values
    if op in ("in", "contains", "==", "!=") and not condition.over and not condition.other:
        return _compile_equality(condition)
    return _compile_numeric(condition)


def _compile_equality(condition: Condition) -> Test:
    fact, op, wanted = condition.fact, condition.op, condition.value

    def test(values: Values) -> Truth:
        value = values.get(fact)
        if value is None:
            return None
        if op == "==":
            return value == wanted
        if op == "!=":
            return value != wanted
        if op == "in":
            return value in wanted  # type: ignore[operator]
        return str(wanted) in str(value)

    return test


def _compile_numeric(condition: Condition) -> Test:
    compare = {**ORDERED, "==": operator.eq, "!=": operator.ne}[condition.op]
    left = _side(condition.fact, condition.over)
    if condition.other is None:
        limit = float(condition.value)  # type: ignore[arg-type]
        if condition.over is None:
            return _plain(condition.fact, compare, limit)
        right: Callable[[Values], float | None] = lambda values: limit  # noqa: E731, ARG005
    else:
        right = _scaled(condition.other, condition.factor)

    def test(values: Values) -> Truth:
        a, b = left(values), right(values)
        return None if a is None or b is None else compare(a, b)

    return test


def _plain(fact: str, compare: Callable[[float, float], bool], limit: float) -> Test:
    """The common case, ``fact op number``, without a call per side."""

    def test(values: Values) -> Truth:
        value = values.get(fact)
        return None if value is None else compare(value, limit)  # type: ignore[arg-type]

    return test


def _side(fact: str, over: str | None) -> Callable[[Values], float | None]:
    if over is None:
        return lambda values: values.get(fact)  # type: ignore[return-value]

    def ratio(values: Values) -> float | None:
        top, bottom = values.get(fact), values.get(over)
        if top is None or bottom is None or bottom == 0:
            return None
        return top / bottom  # type: ignore[operator]

    return ratio


def _scaled(fact: str, factor: float) -> Callable[[Values], float | None]:
    def side(values: Values) -> float | None:
        value = values.get(fact)
        return None if value is None else factor * value  # type: ignore[operator]

    return side


def left_value(condition: Condition, values: Values) -> Value | None:
    """What the condition compares: the fact's value, or the ratio of its two facts."""
    return _side(condition.fact, condition.over)(values)


def limit_value(condition: Condition, values: Values) -> Value | tuple[Value, ...] | None:
    """What the condition compares it with: the literal, or the scaled other fact."""
    return condition.value if condition.other is None else _scaled(condition.other, condition.factor)(values)


# --- judge ----------------------------------------------------------------------------


class Trace(NamedTuple):
    """The outcome of one rule on one set of values, with the truth of every condition.

    `truths` follow `When.conditions`. `flips` is the smallest number of conditions that
    would have to change for the rule to match. `missing` names the facts that would decide
    an incomplete rule.
    """

    outcome: Outcome
    applies: tuple[Truth, ...]
    truths: tuple[Truth, ...]
    flips: int
    missing: tuple[str, ...]


class _Group(NamedTuple):
    """Conditions of which at least `needed` must be `wanted`."""

    conditions: tuple[Condition, ...]
    tests: tuple[Test, ...]
    needed: int
    wanted: bool


def _groups(when: When) -> list[_Group]:
    given = (
        (when.all, len(when.all), True),
        (when.any, 1, True),
        (when.at_least, when.count, True),
        (when.none, len(when.none), False),
    )
    return [_Group(c, tuple(compile_condition(x) for x in c), needed, wanted) for c, needed, wanted in given if c]


def compile_rule(rule: Rule) -> Callable[[Values], Trace]:
    """A closure that judges `rule`, keeping the truth of every condition."""
    applies = tuple(compile_condition(c) for c in rule.applies)
    groups = _groups(rule.when)

    def judge(values: Values) -> Trace:
        gate = tuple([test(values) for test in applies])
        if False in gate:
            return Trace("inapplicable", gate, (), 0, ())
        truths: list[Truth] = []
        failed, unknown, flips = False, None in gate, 0
        for group in groups:
            part = [test(values) for test in group.tests]
            truths += part
            short = group.needed - part.count(group.wanted)
            if short > 0:
                flips += short
                if part.count(None) >= short:
                    unknown = True
                else:
                    failed = True
        if failed:
            return Trace("cleared", gate, tuple(truths), flips, ())
        if not unknown:
            return Trace("matched", gate, tuple(truths), 0, ())
        return Trace("incomplete", gate, tuple(truths), flips, _open(rule.applies, gate, groups, truths, values))

    return judge


def _open(
    applies: Sequence[Condition],
    gate: Sequence[Truth],
    groups: Sequence[_Group],
    truths: Sequence[Truth],
    values: Values,
) -> tuple[str, ...]:
    """The missing facts that keep the rule undecided: those of unknown groups, not of groups that hold anyway."""
    unsure = [c for c, t in zip(applies, gate, strict=True) if t is None]
    start = 0
    for group in groups:
        part = truths[start : start + len(group.conditions)]
        start += len(part)
        if part.count(group.wanted) < group.needed:
            unsure += [c for c, t in zip(group.conditions, part, strict=True) if t is None]
    return _missing(unsure, values)


def _missing(conditions: Sequence[Condition], values: Values) -> tuple[str, ...]:
    """The absent facts of unknown conditions; a divisor that is zero counts as absent."""
    names: dict[str, None] = {}
    for condition in conditions:
        absent = [f for f in condition.facts if f not in values] or [condition.over or condition.fact]
        names.update(dict.fromkeys(absent))
    return tuple(names)
