"""The baseline fleet: healthy machines and jobs of every class, on which no rule may raise an alarm.

``python bench/accuracy/fleet.py`` prints the profiles, the facts they set, the findings and the verdicts;
``--list`` names every finding above minor and the profile it is on, ``--write FOLDER`` writes the documents.
"""

from __future__ import annotations

import argparse
import collections
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from advisor.derive import with_derived
from advisor.models import SEVERITIES, Diagnosis, Knowledge
from advisor.pipeline import Advisor
from bench.accuracy.baseline.scenarios import all_profiles
from bench.accuracy.baseline.unusual import unusual_profiles


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """The fleet: a name that tells machine, job, scale, setting and sources, and the profile document."""
    yield from all_profiles()
    yield from unusual_profiles()


def read_facts(knowledge: Knowledge) -> set[str]:
    """Every fact that the condition of some rule reads."""
    return {
        fact
        for rule in knowledge.rules.values()
        for condition in (*rule.applies, *rule.when.conditions)
        for fact in condition.facts
    }


def coverage(fleet: dict[str, dict[str, Any]], knowledge: Knowledge) -> collections.Counter[str]:
    """How many profiles set each fact that rules read, computed from others or stated."""
    read = read_facts(knowledge)
    return collections.Counter(
        fact for document in fleet.values() for fact in with_derived(document["facts"]) if fact in read
    )


def judged(diagnoses: Iterable[Diagnosis]) -> collections.Counter[str]:
    """On how many profiles each rule had all the facts it needs: it was cleared, or it matched."""
    counts: collections.Counter[str] = collections.Counter()
    for diagnosis in diagnoses:
        found = (rule for f in diagnosis.findings for rule in (f.rule.id, *f.explains))
        counts.update({*diagnosis.cleared, *found})
    return counts


def alarms(diagnosis: Diagnosis, knowledge: Knowledge) -> list[tuple[str, str]]:
    """Rule and severity of every finding above minor, those that fold under another one too."""
    found = [knowledge.rules[rule] for f in diagnosis.findings for rule in (f.rule.id, *f.explains)]
    return [(rule.id, rule.severity) for rule in found if rule.severity != "minor"]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--list", action="store_true")
    options.add_argument("--write", type=Path)
    given = options.parse_args()
    advisor, fleet = Advisor(), dict(documents())
    diagnoses = {name: advisor.diagnose(document) for name, document in fleet.items()}
    summary(fleet, diagnoses, advisor.knowledge)
    if given.list:
        _list(diagnoses, advisor.knowledge)
    if given.write:
        given.write.mkdir(parents=True, exist_ok=True)
        for number, document in enumerate(fleet.values()):
            (given.write / f"{number:03}.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def summary(fleet: dict[str, dict[str, Any]], diagnoses: Mapping[str, Diagnosis], knowledge: Knowledge) -> None:
    """What the fleet covers, and what the rules say of it."""
    sizes = sorted(len(document["facts"]) for document in fleet.values())
    seen, read, decided = coverage(fleet, knowledge), read_facts(knowledge), judged(diagnoses.values())
    print(f"profiles          {len(fleet)}")
    print(f"facts             {sizes[0]} to {sizes[-1]} per profile, median {sizes[len(sizes) // 2]}")
    print(f"facts rules read  {_shares(seen, len(read))}; never: {', '.join(sorted(read - set(seen)))}")
    print(f"rules judged      {_shares(decided, len(knowledge.rules))}")
    found = collections.Counter(f.rule.severity for d in diagnoses.values() for f in d.findings)
    print(f"findings          {', '.join(f'{severity} {found[severity]}' for severity in SEVERITIES)}")
    for phase in ("training", "inference", "serving", None):
        of = [d for name, d in diagnoses.items() if fleet[name]["facts"].get("run.phase") == phase]
        verdicts = collections.Counter(d.verdict for d in of)
        print(f"verdicts          {phase or 'no job seen'}: {', '.join(f'{v} {n}' for v, n in verdicts.most_common())}")


def _shares(counts: collections.Counter[str], whole: int) -> str:
    tenfold = sum(n >= 10 for n in counts.values())
    return f"{whole}: {len(counts) / whole:.0%} on one profile or more, {tenfold / whole:.0%} on ten or more"


def _list(diagnoses: Mapping[str, Diagnosis], knowledge: Knowledge) -> None:
    for name, diagnosis in diagnoses.items():
        for rule, severity in alarms(diagnosis, knowledge):
            print(f"{severity:9} {rule}: {name}")


if __name__ == "__main__":
    main()
