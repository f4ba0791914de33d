"""Which rules a source that cannot be read leaves without an answer: from the conditions alone, without a profile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from advisor.derive import FORMULAS
from advisor.models import Condition, Knowledge, Rule


def blinded(knowledge: Knowledge, owners: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Per source the rules that all live sources together can decide, and all but that one cannot.

    Args:
        knowledge: the rules; what the live sources give is what its measurements cover, and what `owners` names.
        owners: fact -> the one source that gives it. A fact that a formula makes follows from what the formula needs.

    Returns:
        source -> rule ids. A rule that also needs a trace or a server's metrics is blind without them anyway, and
        is nobody's here.
    """
    follows = {f.name for f in FORMULAS if owners.keys() >= set(f.needs)}
    given = {fact: owner for fact, owner in owners.items() if fact not in follows}
    everything = decidable(knowledge, given)
    return {
        source: everything - decidable(knowledge, (fact for fact, owner in given.items() if owner != source))
        for source in set(given.values())
    }


def decidable(knowledge: Knowledge, facts: Iterable[str]) -> frozenset[str]:
    """The rules that can come to match when `facts`, and what follows from them, are known."""
    known = closure(facts)
    return frozenset(r.id for r in knowledge.rules.values() if r.status != "deprecated" and _can_match(r, known))


def closure(facts: Iterable[str]) -> frozenset[str]:
    """The facts and every one that a formula makes of them."""
    known = set(facts)
    for formula in FORMULAS:  # in the order in which they build on one another
        if known.issuperset(formula.needs) and (formula.needs or known.intersection(formula.optional)):
            known.add(formula.name)
    return frozenset(known)


def _can_match(rule: Rule, known: frozenset[str]) -> bool:
    def open_to(conditions: Iterable[Condition]) -> list[bool]:
        return [known.issuperset(c.facts) for c in conditions]

    when = rule.when
    # A fact whose being known would rule out does no harm when it is not.
    look_alikes = [c for c in when.none if c.op != "is known"]
    enough = sum(open_to(when.at_least)) >= when.count and (any(open_to(when.any)) or not when.any)
    return enough and all(open_to((*rule.applies, *when.all, *look_alikes)))
