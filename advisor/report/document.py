"""Diagnosis -> the JSON document of schema 1: what ``--json`` prints and every face exchanges.

Keys of the schema never change meaning; new ones may be added. Numbers are finite by
construction (`profile` drops the others), so the document is strict JSON.
"""

from __future__ import annotations

from typing import Any

from advisor.models import Advice, Diagnosis, Evidence, Fact, Finding, Gain, Knowledge, Profile, Text

SCHEMA = 1


def diagnosis_document(diagnosis: Diagnosis, knowledge: Knowledge) -> dict[str, Any]:
    """The Diagnosis as plain data, keys in the order of the schema."""
    return {
        "schema": SCHEMA,
        "knowledge": {"version": diagnosis.knowledge_version, "hash": diagnosis.knowledge_hash},
        "profile": _profile(diagnosis.profile),
        "verdict": diagnosis.verdict,
        "headline": _text(diagnosis.headline),
        "reason": _text(diagnosis.reason),
        "coverage": _text(diagnosis.coverage),
        "findings": [_finding(f, knowledge) for f in diagnosis.findings],
        "incomplete": [{"rule": i.rule, "missing": list(i.missing)} for i in diagnosis.incomplete],
        "near_misses": [
            {"rule": n.rule, "flips": n.flips, "evidence": [_evidence(e) for e in n.evidence]}
            for n in diagnosis.near_misses
        ],
        "cleared": list(diagnosis.cleared),
        "inapplicable": list(diagnosis.inapplicable),
        "errors": [{"rule": rule, "error": error} for rule, error in diagnosis.errors],
        "next_measurements": [
            {
                "facts": list(n.facts),
                "rules": list(n.rules),
                "why": _text(n.why),
                "command": n.command,
                "question": _text(n.question) if n.question else None,
            }
            for n in diagnosis.next_measurements
        ],
        "unjudged": [{"lack": u.lack, "rules": list(u.rules)} for u in diagnosis.unjudged],
    }


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "id": profile.id,
        "subject": profile.subject,
        "started": profile.started,
        "duration_s": profile.duration_s,
        "sources": [{"kind": s.kind, "origin": s.origin, "state": s.state, "note": s.note} for s in profile.sources],
        "facts": {name: _fact(fact) for name, fact in profile.facts.items()},
        "series": {name: {"t": list(s.t), "v": list(s.v)} for name, s in profile.series.items()},
        "members": [_profile(m) for m in profile.members],
        "contradictions": [
            {"fact": c.kept.name, "kept": _fact(c.kept), "other": _fact(c.other)} for c in profile.contradictions
        ],
    }


def _fact(fact: Fact) -> dict[str, Any]:
    return {"value": fact.value, "unit": fact.unit, "origin": fact.origin, "where": fact.where}


def _finding(finding: Finding, knowledge: Knowledge) -> dict[str, Any]:
    rule = finding.rule
    cited = [knowledge.references[r] for r in rule.references]
    return {
        "rule": rule.id,
        "topic": rule.topic,
        "title": _text(rule.title),
        "text": _text(finding.text),
        "meaning": _text(rule.meaning),
        "impact": _text(rule.impact),
        "severity": rule.severity,
        "confidence": finding.confidence,
        "confidence_reason": _text(finding.confidence_reason),
        "gain": _gain(finding.gain),
        "evidence": [_evidence(e) for e in finding.evidence],
        "ruled_out": [_evidence(e) for e in finding.ruled_out],
        "remedies": [_advice(a) for a in finding.advice],
        "explains": list(finding.explains),
        "rivals": list(finding.rivals),
        "references": [{"id": r.id, "title": r.title, "url": r.url, "publisher": r.publisher} for r in cited],
    }


def _evidence(e: Evidence) -> dict[str, Any]:
    limit = list(e.limit) if isinstance(e.limit, tuple) else e.limit
    return {
        "fact": e.fact,
        "value": e.value,
        "unit": e.unit,
        "op": e.op,
        "limit": limit,
        "origin": e.origin,
        "where": e.where,
        "holds": e.holds,
        "condition": e.condition,
        "source": e.source,
        "means": e.means,
    }


def _advice(advice: Advice) -> dict[str, Any]:
    remedy = advice.remedy
    return {
        "id": remedy.id,
        "do": _text(advice.do),
        "knob": remedy.knob,
        "to": advice.to,
        "setting": advice.setting,
        "patch": advice.patch,
        "effort": remedy.effort,
        "gain": _gain(advice.gain),
        "risk": _text(advice.risk),
        "not_when": _text(advice.not_when),
        "verify": remedy.verify.text,
        "rollback": _text(advice.rollback),
    }


def _gain(gain: Gain | None) -> dict[str, Any] | None:
    if gain is None:
        return None
    expected = [{"fact": e.fact, "now": e.now, "at_best": e.at_best} for e in gain.expected]
    return {"share": gain.share, "speedup_at_most": gain.speedup_at_most, "fact": gain.fact, "expected": expected}


def _text(text: Text) -> dict[str, str]:
    return {"en": text.en, "zh": text.zh}
