"""What the formulas over GPU samples share: states by GPU, busy ones, and extremes with the GPU that gave them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from advisor.collect.base import Facts, increase, mean, rate

States = Mapping[str, Sequence[Mapping[str, Any]]]  # per GPU, one state per sample; each has its time as "t"
Abouts = Mapping[str, Mapping[str, Any]]
PerGpu = Mapping[str, float | None]

BUSY = 50  # percent


def known(states: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    """The values of a key that are there."""
    return [s[key] for s in states if s.get(key) is not None]


def busy(states: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The states under load; none for a GPU that does not tell its utilization."""
    return [s for s in states if s["util"] is not None and s["util"] > BUSY]


def inner(states: Sequence[Mapping[str, Any]], group: str, key: str) -> float | None:
    """Mean of a value inside a group of each state."""
    return mean(s[group].get(key) for s in states)


def growth(states: Sequence[Mapping[str, Any]], group: str, key: str) -> tuple[float | None, float | None]:
    """How much a counter inside a group grew in all and per second; None without two readings."""
    seen = [(s["t"], s[group][key]) for s in states if key in s[group]]
    if len(seen) < 2:
        return None, None
    values = [value for _, value in seen]
    return increase(values), rate([t for t, _ in seen], values)


def extreme(
    facts: Facts, name: str, unit: str, per_gpu: PerGpu, pick: Callable[..., str] = max, scale: float = 1.0
) -> str | None:
    """Add the largest (or smallest) value with its GPU; returns that GPU."""
    there = {i: v for i, v in per_gpu.items() if v is not None}
    if not there:
        return None
    which = pick(there, key=lambda i: there[i])
    facts.add(name, there[which] * scale, unit, f"gpu {which}")
    return which
