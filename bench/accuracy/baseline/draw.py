"""Draws from one profile's own random numbers, rounded as instruments print them."""

from __future__ import annotations

import random
from typing import Any

Facts = dict[str, Any]


class Draw:
    """Random numbers that depend on the name of a profile only: one more profile changes no other."""

    def __init__(self, name: str) -> None:
        self._random = random.Random(f"baseline fleet/{name}")

    def __call__(self, low: float, high: float) -> float:
        """Uniform."""
        return nice(self._random.uniform(low, high))

    def scale(self, low: float, high: float) -> float:
        """Uniform in the logarithm, for what spans orders of magnitude."""
        return nice(low * (high / low) ** self._random.random())

    def whole(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._random.randint(low, high)

    def one(self, *options: Any) -> Any:
        """One of the options."""
        return self._random.choice(options)

    def chance(self, share: float) -> bool:
        """True in that share of cases."""
        return self._random.random() < share


def nice(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")
