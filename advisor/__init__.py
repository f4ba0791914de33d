"""advisor: ask why training is slow, get the cause proven by your machine's own numbers."""

__version__ = "0.1.0"
