"""The registry of formulas, and how they are applied to what is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.models import Value, Values


@dataclass(frozen=True, slots=True)
class Formula:
    """A derived fact: `compute` gets the needed facts, then the optional ones (None when unknown).

    An optional fact that is unknown is taken not to be there: no quota, one rank. `unless` names for some of them the
    sources (by kind or origin) that would have given it: where one of those could not be read, nothing is taken for
    granted, and the derived fact is unknown too.
    """

    name: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    compute: Callable[..., Value | None]
    unless: Mapping[str, tuple[str, ...]]


FORMULAS: list[Formula] = []


def formula(
    name: str, *needs: str, optional: tuple[str, ...] = (), unless: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[Callable[..., Value | None]], Callable[..., Value | None]]:
    """Register the decorated function as the formula of fact `name`."""

    def register(compute: Callable[..., Value | None]) -> Callable[..., Value | None]:
        FORMULAS.append(Formula(name, needs, optional, compute, unless or {}))
        return compute

    return register


def derive(values: Values, unread: frozenset[str] = frozenset()) -> Mapping[str, tuple[Value, tuple[str, ...]]]:
    """The derived facts of `values`: name -> (value, the facts it was computed from).

    `unread` are the kinds and origins of the sources that are there and could not be read.
    """
    known: dict[str, Any] = dict(values)
    derived: dict[str, tuple[Value, tuple[str, ...]]] = {}
    for f in FORMULAS:
        if f.name in known or any(n not in known for n in f.needs):
            continue
        if unread and any(n not in known and not unread.isdisjoint(sources) for n, sources in f.unless.items()):
            continue
        value = _computed(f, [known[n] for n in f.needs] + [known.get(n) for n in f.optional])
        if value is not None:
            known[f.name] = value
            derived[f.name] = (value, tuple(n for n in (*f.needs, *f.optional) if n in values or n in derived))
    return derived


def _computed(f: Formula, inputs: list[Any]) -> Value | None:
    """What the formula gives; None, too, where numbers run over: inputs in range may have no quotient in range."""
    try:
        value = f.compute(*inputs)
    except (ArithmeticError, ValueError):  # ValueError: a version of thousands of digits
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_derived(values: Values) -> dict[str, Value]:
    """`values` and everything that follows from them."""
    return {**values, **{name: value for name, (value, _) in derive(values).items()}}
