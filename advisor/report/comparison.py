"""Comparison -> the JSON document: what ``compare --json`` prints and ``POST /api/v1/compare`` answers.

Shares and changes are numbers: -0.41 is 41 % less, or 41 points less of a share where ``points`` is true. The runs
are named and not repeated; their documents are those that were compared.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from advisor.models import Diagnosis, Finding, Text
from advisor.models.compared import Check, Comparison, Fated, Metric, Realised

SCHEMA = 1


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """The Comparison as plain data."""
    after = comparison.after
    return {
        "schema": SCHEMA,
        "knowledge": {"version": after.knowledge_version, "hash": after.knowledge_hash},
        "before": _run(comparison.before),
        "after": _run(after),
        "verdict": comparison.verdict,
        "headline": _text(comparison.headline),
        "basis": comparison.basis.fact if comparison.basis else None,
        "same_work": comparison.same_work,
        "findings": [_fated(f) for f in comparison.findings],
        "metrics": [_metric(m) for m in comparison.metrics if m.shown or m.judgement != "same"],
        "unchanged": comparison.unchanged,
        "gain": _realised(comparison.realised) if comparison.realised else None,
        "differences": [dataclasses.asdict(d) for d in comparison.differences],
    }


def _run(diagnosis: Diagnosis) -> dict[str, Any]:
    p = diagnosis.profile
    return {
        "id": p.id,
        "subject": p.subject,
        "started": p.started,
        "duration_s": p.duration_s,
        "verdict": diagnosis.verdict,
        "headline": _text(diagnosis.headline),
    }


def _fated(f: Fated) -> dict[str, Any]:
    return {
        "rule": f.rule.id,
        "title": _text(f.rule.title),
        "severity": f.rule.severity,
        "fate": f.fate,
        "unverified": f.unverified,
        "gain_before": _share(f.before),
        "gain_after": _share(f.after),
        "explained_by_before": f.under_before,
        "explained_by_after": f.under_after,
        "missing": list(f.missing),
        "verify": [_check(c) for c in f.checks],
    }


def _share(finding: Finding | None) -> float | None:
    return finding.gain.share if finding and finding.gain else None


def _check(check: Check) -> dict[str, Any]:
    return {
        "condition": check.condition.text,
        "remedies": list(check.remedies),
        "holds": check.holds,
        "value": check.value,
        "limit": list(check.limit) if isinstance(check.limit, tuple) else check.limit,
    }


def _metric(m: Metric) -> dict[str, Any]:
    band = {"low": m.band.low, "high": m.band.high, "samples": list(m.band.samples)} if m.band else None
    return {
        "fact": m.fact,
        "unit": m.unit,
        "before": m.before,
        "after": m.after,
        "change": m.change,
        "points": m.points,
        "band": band,
        "judgement": m.judgement,
    }


def _realised(r: Realised) -> dict[str, Any]:
    return {
        "rules": list(r.rules),
        "bound": r.bound,
        "share": r.share,
        "low": r.low,
        "high": r.high,
        "judgement": r.judgement,
        "said": _text(r.said),
    }


def _text(text: Text) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}
