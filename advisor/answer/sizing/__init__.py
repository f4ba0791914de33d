"""Calculators: will it fit, KV cache, MFU, workers, all-reduce, bubble, checkpoint, decode speed, training time.

A message becomes inputs (`parse`), which a later one may change (`Inputs.merged`); each kind works out its result from
sourced formulas and shows the working. Nothing is measured, so every assumption is listed.
"""

from advisor.answer.sizing.calculation import KINDS, SOURCES, calculation, parse
from advisor.answer.sizing.inputs import Inputs
from advisor.answer.sizing.sheet import Calculation

__all__ = ["KINDS", "SOURCES", "Calculation", "Inputs", "calculation", "parse"]
