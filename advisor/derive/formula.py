"""The registry of formulas, and how they are applied to what is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from advisor.models import Value, Values


@dataclass(frozen=True, slots=True)
class Formula:
    """A derived fact: `compute` gets the needed facts, then the optional ones (None when unknown)."""

    name: str
    needs: tuple[str, ...]
    optional: tuple[str, ...]
    compute: Callable[..., Value | None]


FORMULAS: list[Formula] = []


def formula(
    name: str, *needs: str, optional: tuple[str, ...] = ()
) -> Callable[[Callable[..., Value | None]], Callable[..., Value | None]]:
    """Register the decorated function as the formula of fact `name`."""

    def register(compute: Callable[..., Value | None]) -> Callable[..., Value | None]:
        FORMULAS.append(Formula(name, needs, optional, compute))
        return compute

    return register


def derive(values: Values) -> Mapping[str, tuple[Value, tuple[str, ...]]]:
    """The derived facts of `values`: name -> (value, the facts it was computed from)."""
    known: dict[str, Any] = dict(values)
    derived: dict[str, tuple[Value, tuple[str, ...]]] = {}
    for f in FORMULAS:
        if f.name in known or any(n not in known for n in f.needs):
            continue
        value = f.compute(*(known[n] for n in f.needs), *(known.get(n) for n in f.optional))
        if value is not None:
            known[f.name] = value
            derived[f.name] = (value, tuple(n for n in (*f.needs, *f.optional) if n in values or n in derived))
    return derived


def with_derived(values: Values) -> dict[str, Value]:
    """`values` and everything that follows from them."""
    return {**values, **{name: value for name, (value, _) in derive(values).items()}}
