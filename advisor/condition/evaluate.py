"""A condition as a closure over fact values: true, false, or unknown (None)."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping

from advisor.models import Condition, Value, Values

Truth = bool | None
Test = Callable[[Values], Truth]

ORDERED: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


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
        return _finite(top / bottom)  # type: ignore[operator]

    return ratio


def _scaled(fact: str, factor: float) -> Callable[[Values], float | None]:
    def side(values: Values) -> float | None:
        value = values.get(fact)
        return None if value is None else _finite(factor * value)  # type: ignore[operator]

    return side


def _finite(value: float) -> float | None:
    """What runs over the range of float64 is unknown, as at ingest."""
    return value if math.isfinite(value) else None


def left_value(condition: Condition, values: Values) -> Value | None:
    """What the condition compares: the fact's value, or the ratio of its two facts."""
    return _side(condition.fact, condition.over)(values)


def limit_value(condition: Condition, values: Values) -> Value | tuple[Value, ...] | None:
    """What the condition compares it with: the literal, or the scaled other fact."""
    return condition.value if condition.other is None else _scaled(condition.other, condition.factor)(values)
