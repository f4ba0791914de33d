"""Conditions against the fact vocabulary: unknown names, types that do not fit, limits that can never hold."""

from __future__ import annotations

from collections.abc import Mapping

from advisor.condition.evaluate import ORDERED
from advisor.models import Condition, FactSpec


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
