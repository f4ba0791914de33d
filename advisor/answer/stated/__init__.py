"""Facts that a person states in own words, in English and Chinese."""

from advisor.answer.stated.read import Stated, read_stated

__all__ = ["Stated", "read_stated"]
