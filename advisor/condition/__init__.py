"""The condition language: parse, check, compile and judge.

A leaf is one comparison, at most 300 characters, matched by one flat pattern:

    fact op value            config.dataloader.num_workers == 0
    a / b op value           ml.step.time.p95 / ml.step.time > 2
    fact op k * other        process.thread.count > 2 * process.cpu.usable.count
    fact in [a, b]           comm.transport in [NET/Socket, SHM]
    fact contains text       comm.interface contains docker
    fact is known            hw.gpu.utilization is known

Logic is Kleene's: a missing fact makes a comparison *unknown* (None), never
false and never true; so does a division by zero. Numbers are float64. There is
no NULL literal and no further arithmetic: anything richer is a derived fact
with its own test. `is known` is the one two-valued test; the knowledge base
allows it only where an answer of "no" makes a rule inapplicable, so that
losing a fact can never turn a rule matched or cleared.

This module does not know about profiles, evidence or files.
"""

from advisor.condition.check import check
from advisor.condition.evaluate import ORDERED, Truth, compile_condition, left_value, limit_value
from advisor.condition.parse import parse
from advisor.condition.ruleset import RuleSet, Trace, compile_rule

__all__ = [
    "ORDERED",
    "RuleSet",
    "Trace",
    "Truth",
    "check",
    "compile_condition",
    "compile_rule",
    "left_value",
    "limit_value",
    "parse",
]
