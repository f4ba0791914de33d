"""Rules x profile -> Diagnosis: match, rank, conclude. No I/O, no words of its own."""

from advisor.engine.blind import blinded, decidable
from advisor.engine.diagnose import diagnose
from advisor.engine.match import Engine

__all__ = ["Engine", "blinded", "decidable", "diagnose"]
