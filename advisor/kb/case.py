"""A case: facts and the outcome they must give. Cases prove a rule in the gate; nothing else needs them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advisor.models import Outcome, Values


@dataclass(frozen=True)
class Case:
    """Facts and the outcome they must give.

    `missing` are the facts an incomplete outcome must name; `by` is the look-alike that must clear it.
    """

    name: str
    expect: Outcome
    facts: Values
    missing: tuple[str, ...] = ()
    by: str | None = None


Cases = Mapping[str, tuple[Case, ...]]  # by the id of their rule
