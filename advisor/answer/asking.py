"""The one question back: the fact that a person can know, and that most of the causes at hand wait for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from advisor.answer.conversation import State
from advisor.models import FactSpec, Knowledge, Rule, Value

PHASE = "run.phase"


def question_back(
    rules: Sequence[Rule], facts: Mapping[str, Value], state: State, knowledge: Knowledge
) -> tuple[FactSpec | None, int]:
    """The fact to ask for, and how many of `rules` wait for it; None where nothing that a person knows decides one.

    Nothing is asked twice, and never two questions in a row: after one that was not answered, the answer makes do
    with what is known.
    """
    if state.shown.asking:
        return None, 0
    waits = Counter(
        name
        for rule in rules
        for name in dict.fromkeys(f for c in rule.when.conditions for f in c.facts)
        if name in knowledge.facts and knowledge.facts[name].ask and name not in facts and name not in state.facts
    )
    if PHASE not in facts and PHASE not in state.facts:  # what kind of run it is decides which rules apply at all
        waits[PHASE] = sum(PHASE in c.facts for rule in rules for c in rule.applies)
    best = max(waits, key=lambda name: (waits[name], name), default=None)
    return (knowledge.facts[best], waits[best]) if best and waits[best] else (None, 0)
