"""Metrics of servers and exporters -> facts, one file per kind.

A kind is known by the prefix of its names. Pages of the same kind are read together, so that
replicas of one server add up; machines are never added up. `scrapes` reads pages, `history`
what Prometheus answers; nothing is imported here, so that recognising a page costs little.
"""
