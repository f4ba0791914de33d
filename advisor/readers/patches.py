"""Patches of a diagnosis: made from the user's files where it was measured, carried along in its document later.

`attach` reads files and is for runs and scripts on this machine only. A document that somebody sent never makes
anything be read: `carry` hands on the text that it holds, for the same rule, remedy and setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from advisor.models import Advice, Diagnosis, Fact, Finding, Reading
from advisor.readers.patch import propose

MAX_CHARACTERS = 8000
Find = Callable[[Finding, Advice], str | None]


def attach(diagnosis: Diagnosis, script: Reading | None, folder: Path) -> Diagnosis:
    """The diagnosis with a patch on every remedy that one call's keyword settles.

    Args:
        diagnosis: of a run or script on this machine.
        script: what was read in the script; its places serve where the measured ones are inside a library.
        folder: the working directory of the run, which relative places start from.
    """
    read = {f.name: f for f in script.facts} if script else {}

    def find(finding: Finding, advice: Advice) -> str | None:
        knob, to = advice.remedy.knob, advice.to
        if knob is None or to is None or advice.remedy.effort != "minutes":
            return None
        made = (propose(where, knob, to, folder) for where in _places(diagnosis, finding, knob, read))
        return next((patch for patch in made if patch), None)

    return _each(diagnosis, find)


def carry(diagnosis: Diagnosis, document: object) -> Diagnosis:
    """The diagnosis with the patches of the document that its facts came from."""
    held = dict(_held(document))
    return _each(diagnosis, lambda f, a: held.get((f.rule.id, a.remedy.id, a.to))) if held else diagnosis


def _places(diagnosis: Diagnosis, finding: Finding, knob: str, read: dict[str, Fact]) -> list[str]:
    """Where the call may be: the line of the setting itself first, then those of the evidence."""
    names = [f"config.{knob.lower()}", *(e.fact for e in finding.evidence)]
    facts = [known[name] for known in (diagnosis.profile.facts, read) for name in names if name in known]
    return list(dict.fromkeys(f.where for f in facts if f.where))


def _each(diagnosis: Diagnosis, find: Find) -> Diagnosis:
    findings = tuple(
        replace(f, advice=tuple(replace(a, patch=find(f, a)) for a in f.advice)) for f in diagnosis.findings
    )
    return replace(diagnosis, findings=findings)


def _held(document: object) -> Iterator[tuple[tuple[str, str, str | None], str]]:
    """(rule, remedy, to) and the patch of each remedy in a document that has one; what does not fit is skipped."""
    for finding in _list(document, "findings"):
        for remedy in _list(finding, "remedies"):
            rule, name, to, patch = finding.get("rule"), remedy.get("id"), remedy.get("to"), remedy.get("patch")
            if not (isinstance(rule, str) and isinstance(name, str) and isinstance(to, str | None)):
                continue
            if isinstance(patch, str) and patch.startswith("--- ") and len(patch) <= MAX_CHARACTERS:
                yield (rule, name, to), patch


def _list(holder: object, key: str) -> list[dict[str, object]]:
    inner = holder.get(key) if isinstance(holder, dict) else None
    return [item for item in inner if isinstance(item, dict)] if isinstance(inner, list) else []
