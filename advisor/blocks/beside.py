"""What stands beside a diagnosis: rivals, what sources disagree on, what is missing, what was read, who says so."""

from __future__ import annotations

from advisor.blocks.words import Block, Words
from advisor.models import Diagnosis
from advisor.text import brief_origin

MAX_FILES = 4
MAX_DISAGREEMENTS = 4
FILES = ("trace", "nvidia-smi", "log", "kernel log", "snapshot", "stacks")  # what readers read from files


def rivals(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """The findings that account for the same loss as the first, just as well."""
    found = [f for f in diagnosis.findings if f.rule.id in diagnosis.findings[0].rivals]
    if not found:
        return []
    points = [{"text": words.say(f.text), "note": words.say(f.rule.title), "rule": f.rule.id} for f in found]
    return [{"kind": "prose", "title": words.term("block.rivals"), "paragraphs": [], "points": points}]


def disagreements(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """Facts that two sources give differently, and which of them was used."""
    points = [
        {
            "text": words.term(
                "disagree.kept",
                label=words.label(c.kept.name),
                kept=words.value(c.kept.value, c.kept.name),
                origin=words.origin(brief_origin(c.kept.origin)),
                other=words.origin(brief_origin(c.other.origin)),
                value=words.value(c.other.value, c.other.name),
            ),
            "note": None,
        }
        for c in diagnosis.profile.contradictions[:MAX_DISAGREEMENTS]
    ]
    return (
        [{"kind": "prose", "title": words.term("block.disagree"), "paragraphs": [], "points": points}] if points else []
    )


def missing(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """What would settle more: commands, and questions to the person."""
    if not diagnosis.next_measurements:
        return []
    items = [
        {"why": words.say(n.why), "command": n.command, "question": words.say(n.question) if n.question else None}
        for n in diagnosis.next_measurements
    ]
    return [{"kind": "missing", "title": words.term("block.missing"), "items": items}]


def coverage(diagnosis: Diagnosis, words: Words) -> Block:
    """How much could be judged, from which sources, and what each file that was read is."""
    read_from = diagnosis.profile.sources
    said = words.term(
        "block.coverage",
        cleared=len(diagnosis.cleared),
        incomplete=len(diagnosis.incomplete),
        inapplicable=len(diagnosis.inapplicable),
    )
    said = words.joined(said, words.say(diagnosis.coverage))
    unread = [f"{s.origin} ({s.state})" for s in read_from if s.state != "ok"]
    # What a file is, which part of it was used and how: without it a number from a trace means little.
    told = {
        words.origin(s.origin): s.note for s in read_from if s.kind in (*FILES, "scrape") and s.state == "ok" and s.note
    }
    read = [{"origin": origin, "note": note} for origin, note in list(told.items())[:MAX_FILES]]
    return {"kind": "coverage", "text": said, "unread": unread, "read": read}


def sources(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """The references of the first finding."""
    if diagnosis.verdict != "bottleneck":
        return []
    rule = diagnosis.findings[0].rule
    links = [words.rule_link(rule.id), *(words.link(words.knowledge.references[r]) for r in rule.references)]
    return [{"kind": "sources", "title": words.term("block.sources"), "items": links}]
