"""Formulas from facts to facts: all arithmetic that a rule may need.

A formula names what it needs; it runs only when every needed fact is known, and it never
overwrites a fact that was measured. Formulas run in the order written here, so that one
may build on another. Each states where it comes from and carries a doctest.

Rules compare, code computes: a condition that wants more than ``a / b > k`` gets a
formula here instead.
"""

from advisor.derive import (
    achieved,
    checkpoint,
    communication,
    gpu,
    host,
    loading,
    memory,
    parallel,
    script,
    serving,
    threads,
)
from advisor.derive.formula import FORMULAS, Formula, derive, with_derived

__all__ = [
    "FORMULAS",
    "Formula",
    "achieved",
    "checkpoint",
    "communication",
    "derive",
    "gpu",
    "host",
    "loading",
    "memory",
    "parallel",
    "script",
    "serving",
    "threads",
    "with_derived",
]
