"""Metrics of servers and exporters -> facts, one file per kind.

A kind is known by the prefix of its names. Pages of the same kind are read together, so that
replicas of one server add up; machines are never added up.
"""

from advisor.readers.metrics.kinds import KIND, KINDS, PROCESS, Role, Target, kinds_of, names_of_kinds, readings

__all__ = ["KIND", "KINDS", "PROCESS", "Role", "Target", "kinds_of", "names_of_kinds", "readings"]
