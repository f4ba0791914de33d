"""A Comparison as blocks: the verdict first, then findings with their verification, metrics, and what else differs."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.blocks.words import Block, Words
from advisor.models import Finding, Knowledge, Lang, Profile
from advisor.models.compared import Band, Check, Comparison, Difference, Fated, Metric
from advisor.text import percent

MAX_MOVED = 6  # metrics without a direction that no finding rests on
MAX_MISSING = 3


def comparison_blocks(comparison: Comparison, knowledge: Knowledge, lang: Lang) -> list[Block]:
    """The whole comparison, what matters most first."""
    words = Words(knowledge, lang)
    return [
        _headline(comparison, words),
        *_findings(comparison.findings, words),
        *_metrics(comparison, words),
        *_differences(comparison, words),
        _runs(comparison, words),
        {"kind": "coverage", "text": words.term("compare.method"), "unread": [], "read": []},
    ]


def _headline(comparison: Comparison, words: Words) -> Block:
    return {
        "kind": "headline",
        "verdict": comparison.verdict,
        "title": words.say(comparison.headline),
        "lede": words.say(comparison.realised.said) if comparison.realised else "",
    }


# --- findings -------------------------------------------------------------------------


def _findings(findings: Sequence[Fated], words: Words) -> list[Block]:
    """Those that stand for themselves in one of the runs; what was only ever explained is in the JSON."""
    items = [_fated(f, words) for f in findings if f.before or f.after]
    return [{"kind": "fates", "title": words.term("compare.findings"), "items": items}] if items else []


def _fated(found: Fated, words: Words) -> Block:
    return {
        "fate": {"id": found.fate, "unverified": found.unverified, "label": words.term(f"fate.{found.fate}")},
        "rule": found.rule.id,
        "title": words.say(found.rule.title),
        "severity": {"id": found.rule.severity, "label": words.term(f"severity.{found.rule.severity}")},
        "notes": _notes(found, words),
        "verify": words.term("detail.verify"),
        "checks": [_check(check, words) for check in found.checks],
    }


def _notes(found: Fated, words: Words) -> list[str]:
    notes = [words.say(found.after.text)] if found.after and found.fate != "persisting" else []
    if found.fate == "persisting" and found.before and found.after and found.before.gain and found.after.gain:
        notes.append(words.term("compare.bound", before=_bound(found.before, words), after=_bound(found.after, words)))
    if found.unverified:
        notes.append(words.term("compare.symptom_stays"))
    if found.under_before:
        notes.append(words.term("compare.was_under", rule=found.under_before))
    if found.under_after:
        notes.append(words.term("compare.now_under", rule=found.under_after))
    if found.fate in ("unmeasured", "first_seen"):
        notes.append(words.term("compare.not_now" if found.fate == "unmeasured" else "compare.not_before"))
    if found.missing:
        facts = ", ".join(words.label(name) for name in found.missing[:MAX_MISSING])
        notes.append(words.term("compare.needs", facts=facts))
    return notes


def _bound(finding: Finding, words: Words) -> str:
    return percent(finding.gain.share, words.lang) if finding.gain else "–"


def _check(check: Check, words: Words) -> Block:
    key = "check.unknown" if check.holds is None else "check.holds" if check.holds else "check.fails"
    value = words.value(check.value, None if check.condition.over else check.condition.fact)
    text = words.term(key, condition=words.condition(check.condition), value=value)
    return {"holds": check.holds, "text": text, "remedies": list(check.remedies)}


# --- metrics --------------------------------------------------------------------------


def _metrics(comparison: Comparison, words: Words) -> list[Block]:
    facts = words.knowledge.facts
    rested = {e.fact for d in (comparison.before, comparison.after) for f in d.findings for e in f.evidence}
    told = [m for m in comparison.metrics if m.shown and (facts[m.fact].better or m.fact in rested)]
    moved = [m for m in comparison.metrics if m.shown and m not in told]
    rows = [_row(m, words) for m in (*told, *moved[:MAX_MOVED])]
    notes = []
    hidden = [m for m in comparison.metrics if not m.shown and m.judgement != "same"] + moved[MAX_MOVED:]
    if hidden:
        notes.append(words.term("compare.more_moved", count=len(hidden)))
    quiet = sum(not m.shown and m.judgement == "same" for m in comparison.metrics)
    if quiet:
        notes.append(words.term("compare.unchanged", count=quiet))
    if not rows and not notes:
        return []
    return [{"kind": "changes", "title": words.term("compare.metrics"), "rows": rows, "notes": notes}]


def _row(metric: Metric, words: Words) -> Block:
    judged = "noise" if metric.judgement == "same" and metric.band else metric.judgement
    return {
        "label": words.label(metric.fact),
        "fact": metric.fact,
        "before": words.value(metric.before, metric.fact),
        "after": words.value(metric.after, metric.fact),
        "change": _change(metric, words),
        "band": _band(metric.band, metric, words),
        "judgement": {"id": metric.judgement, "label": words.term(f"judgement.{judged}")},
    }


def _change(metric: Metric, words: Words) -> str:
    if metric.change is None:
        return words.term("compare.from_zero") if metric.before == 0 else "–"
    return _amount(metric.change, metric, words)


def _band(band: Band | None, metric: Metric, words: Words) -> str:
    if band is None:
        return words.term("compare.alone")
    low, high = (_amount(end, metric, words) for end in (band.low, band.high))
    unit = words.term("compare.points", points="") if metric.points else "%"
    return words.term("compare.span", low=low.removesuffix(unit).rstrip(), high=high)


def _amount(change: float, metric: Metric, words: Words) -> str:
    """A change with its sign, in percent or in points of a share."""
    size = percent(abs(change), words.lang)
    sign = "" if size.strip(" %") == "0" else "+" if change > 0 else "−"
    if metric.points:
        return words.term("compare.points", points=sign + size.strip(" %"))
    return sign + size


# --- what else differs ----------------------------------------------------------------


def _differences(comparison: Comparison, words: Words) -> list[Block]:
    found = comparison.differences
    caveats = [] if comparison.same_work else [words.term("compare.other_work")]
    if any(d.kind == "place" for d in found):
        caveats.append(words.term("compare.other_place"))
    if not found and not caveats:
        return []
    points = [{"text": _difference(d, words), "note": None} for d in found]
    return [{"kind": "prose", "title": words.term("compare.differences"), "paragraphs": caveats, "points": points}]


def _difference(d: Difference, words: Words) -> str:
    before, after = (words.value(value, d.fact) for value in (d.before, d.after))
    return words.term("compare.difference", label=words.label(d.fact), before=before, after=after)


def _runs(comparison: Comparison, words: Words) -> Block:
    points = [
        {"text": words.term(key, subject=f"`{run.subject}`"), "note": _seen(run, words)}
        for key, run in (("compare.before", comparison.before.profile), ("compare.after", comparison.after.profile))
    ]
    return {"kind": "prose", "title": words.term("compare.runs"), "paragraphs": [], "points": points}


def _seen(run: Profile, words: Words) -> str:
    steps = run.facts.get("ml.step.count")
    seconds = f"{run.duration_s:.3g}"
    if steps and isinstance(steps.value, float):
        seen = words.term("compare.steps", steps=f"{steps.value:.0f}", seconds=seconds)
    else:
        seen = words.term("compare.seconds", seconds=seconds)
    return f"{seen} · {run.started}" if run.started else seen
