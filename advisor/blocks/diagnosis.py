"""A Diagnosis as blocks: the top finding in full, the others named, and what is not known."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from advisor.blocks.beside import FILES, MAX_FILES, coverage, disagreements, missing, rivals, sources
from advisor.blocks.rule import remedy_details
from advisor.blocks.words import Block, Words
from advisor.models import PASTED, Advice, Condition, Diagnosis, Evidence, Finding, Gain, Knowledge, Lang, Profile
from advisor.text import brief_origin, percent, speedup

MAX_CHECKED = 8
STEP, WAIT, OPTIMIZER = "ml.step.time", "ml.step.data_wait.exposed.fraction", "ml.step.optimizer.fraction"


def diagnosis_blocks(diagnosis: Diagnosis, knowledge: Knowledge, lang: Lang) -> list[Block]:
    """The whole diagnosis: headline first, what it could not tell last."""
    words = Words(knowledge, lang)
    blocks: list[Block]
    if diagnosis.profile.unmeasured:
        blocks = [_plain_headline(diagnosis, words)]
        blocks += [b for f in diagnosis.findings for b in finding_blocks(diagnosis, f, knowledge, lang)]
    elif diagnosis.verdict != "bottleneck":
        blocks = [
            _plain_headline(diagnosis, words),
            *_steps(diagnosis, words),
            *_checked(diagnosis, words),
            *_others(diagnosis.findings, words),
        ]
    else:
        top = diagnosis.findings[0]
        blocks = [*finding_blocks(diagnosis, top, knowledge, lang), *rivals(diagnosis, words)]
        blocks += _others([f for f in diagnosis.findings[1:] if f.rule.id not in top.rivals], words)
    blocks += [*_probed(diagnosis, words), *disagreements(diagnosis, words)]
    return [*blocks, *missing(diagnosis, words), coverage(diagnosis, words), *sources(diagnosis, words)]


def finding_blocks(diagnosis: Diagnosis, finding: Finding, knowledge: Knowledge, lang: Lang) -> list[Block]:
    """One finding: headline, where the step goes, what shows it, what to do."""
    words = Words(knowledge, lang)
    blocks = [_finding_headline(diagnosis, finding, words)]
    if diagnosis.findings and finding is diagnosis.findings[0]:
        blocks += _steps(diagnosis, words)
    return [*blocks, _evidence(finding, words), _remedies(diagnosis, finding, words)]


def _plain_headline(diagnosis: Diagnosis, words: Words) -> Block:
    return {
        "kind": "headline",
        "verdict": diagnosis.verdict,
        "title": words.say(diagnosis.headline),
        "lede": words.term("lede.unmeasured") if diagnosis.profile.unmeasured else words.say(diagnosis.reason),
        "subject": diagnosis.profile.subject,
    }


def _finding_headline(diagnosis: Diagnosis, finding: Finding, words: Words) -> Block:
    rule = finding.rule
    return {
        "kind": "headline",
        "verdict": diagnosis.verdict,
        "title": words.say(rule.title),
        "lede": words.say(finding.text),
        "subject": diagnosis.profile.subject,
        "rule": rule.id,
        "severity": {"id": rule.severity, "label": words.term(f"severity.{rule.severity}")},
        "confidence": {
            "id": finding.confidence,
            "label": words.term(f"confidence.{finding.confidence}"),
            "reason": words.say(finding.confidence_reason),
        },
        "gain": _gain(finding.gain, words),
        "expected": _expected(finding.gain, words),
    }


def _expected(gain: Gain | None, words: Words) -> str | None:
    """The time and the rate that the whole gain would come to."""
    if gain is None or not gain.expected:
        return None
    parts = [
        words.term(
            "gain.expected",
            label=words.label(e.fact),
            now=words.value(e.now, e.fact),
            best=words.value(e.at_best, e.fact),
        )
        for e in gain.expected
    ]
    return words.term("gain.best", parts=" · ".join(parts))


def _gain(gain: Gain | None, words: Words) -> str | None:
    return words.term("gain.at_most", factor=speedup(gain.speedup_at_most)) if gain else None


def _steps(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """Where a step goes, when the step was timed."""
    facts = diagnosis.profile.facts
    step, wait = (facts[n].value if n in facts else None for n in (STEP, WAIT))
    if not isinstance(step, float) or not isinstance(wait, float):
        return []
    optimizer = facts[OPTIMIZER].value if OPTIMIZER in facts else 0.0
    shares = [("data", wait), ("compute", max(0.0, 1 - wait - float(optimizer))), ("optimizer", float(optimizer))]
    parts = [
        {
            "id": name,
            "label": words.term(f"step.{name}"),
            "share": round(share, 4),
            "value": words.value(share * step, STEP),
            "percent": percent(share, words.lang),
        }
        for name, share in shares
        if share >= 0.002
    ]
    count = facts["ml.step.count"].value if "ml.step.count" in facts else None
    shown = words.value(step, STEP)
    caption = words.term("step.caption", step=shown, count=f"{count:.0f}") if isinstance(count, float) else shown
    alt = words.term("step.alt", step=shown, parts=", ".join(f"{p['label']} {p['percent']}" for p in parts))
    return [{"kind": "steps", "title": words.term("block.steps"), "caption": caption, "alt": alt, "parts": parts}]


def _evidence(finding: Finding, words: Words) -> Block:
    rows = [_row(e, words) for e in (*finding.evidence, *finding.ruled_out)]
    return {"kind": "evidence", "title": words.term("block.evidence"), "rows": rows}


def _probed(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """What active probes reached: the user asked for these numbers, whether a rule needs them or not."""
    probes = {s.origin for s in diagnosis.profile.sources if s.kind.endswith(" probe")}
    rows = [
        {
            "label": words.label(fact.name),
            "fact": fact.name,
            "value": words.value(fact.value, fact.name),
            "limit": "",
            "op": "==",
            "origin": fact.origin,
            "where": fact.where,
            "bar": None,
            "mark": None,
            "holds": True,
        }
        for fact in diagnosis.profile.facts.values()
        if fact.origin in probes
    ]
    return [{"kind": "evidence", "title": words.term("block.probed"), "rows": rows}] if rows else []


def _row(e: Evidence, words: Words) -> Block:
    ratio = "/" in e.condition.split(e.op)[0]
    shown_limit = words.value(e.limit, None if ratio else e.fact)
    share = not ratio and _is_share(e.fact, words) and isinstance(e.value, float) and isinstance(e.limit, float)
    in_origin = (e.where or "").startswith(f"{e.origin}:")
    key = "evidence.is" if e.op in ("in", "contains") else "evidence.limit"
    key = key if e.holds else "evidence.needs"
    return {
        "label": _ratio_label(e, words) if ratio else words.label(e.fact),
        "fact": e.fact,
        "value": words.value(e.value, None if ratio else e.fact),
        "limit": "" if e.holds and e.op == "==" else words.term(key, sign=words.sign(e.op), limit=shown_limit),
        "op": e.op,
        "origin": "" if in_origin else words.origin(brief_origin(e.origin)),  # the line says it
        "where": words.origin(brief_origin(e.where) if in_origin else e.where) if e.where else None,
        "bar": round(e.value, 4) if share and isinstance(e.value, float) else None,
        "mark": round(e.limit, 4) if share and isinstance(e.limit, float) else None,
        "holds": e.holds,
    }


def _ratio_label(e: Evidence, words: Words) -> str:
    """Both facts of a ratio, as the condition divides them."""
    return " / ".join(words.label(name.strip()) for name in e.condition.split(e.op)[0].split("/"))


def _is_share(fact: str, words: Words) -> bool:
    spec = words.knowledge.facts.get(fact)
    return bool(spec and spec.unit == "1" and spec.high == 1)


def _remedies(diagnosis: Diagnosis, finding: Finding, words: Words) -> Block:
    items = [_remedy(a, diagnosis, words) for a in finding.advice]
    return {"kind": "remedies", "title": words.term("block.remedies"), "items": items}


def _remedy(advice: Advice, diagnosis: Diagnosis, words: Words) -> Block:
    remedy = advice.remedy
    details = remedy_details(words, advice.risk, advice.not_when, remedy.verify, advice.rollback)
    command = _look_again(diagnosis.profile)
    if command:
        details = [{**d, "command": command} if i == 2 else d for i, d in enumerate(details)]
    return {
        "id": remedy.id,
        "do": words.say(advice.do),
        "setting": advice.setting,
        "patch": advice.patch,
        "knob": remedy.knob,
        "to": advice.to,
        "effort": words.term(f"effort.{remedy.effort}"),
        "gain": _gain(advice.gain, words),
        "details": details,
    }


def _look_again(profile: Profile) -> str:
    """The command that measures the same once more; empty where none can, as for a saved page."""
    if any(source.kind == "scrape" for source in profile.sources):
        urls = profile.subject.split(", ")
        looked = f"advisor diagnose {' '.join(urls)} --seconds {max(1.0, profile.duration_s):.0f}"
        return looked if all(url.startswith("http") for url in urls) else ""
    kinds = {source.kind for source in profile.sources}
    files = [s.origin for s in profile.sources if s.kind in FILES and s.state == "ok"]
    if files and "training hook" not in kinds:  # recorded anew
        return "" if PASTED in files else f"advisor diagnose {shlex.join(dict.fromkeys(files[:MAX_FILES]))}"
    return f"advisor run -- {profile.subject}" if profile.subject and profile.facts.get("run.phase") else ""


def _others(findings: Sequence[Finding], words: Words) -> list[Block]:
    if not findings:
        return []
    items = [
        {
            "rule": f.rule.id,
            "title": words.say(f.rule.title),
            "text": words.say(f.text),
            "severity": {"id": f.rule.severity, "label": words.term(f"severity.{f.rule.severity}")},
            "gain": _gain(f.gain, words),
        }
        for f in findings
    ]
    return [{"kind": "others", "title": words.term("block.others"), "items": items}]


def _checked(diagnosis: Diagnosis, words: Words) -> list[Block]:
    """For a run without findings: the measured values that cleared the rules, the nearest to its limit first."""
    nearest: dict[str, tuple[float, Evidence]] = {}
    for rule in (words.knowledge.rules[r] for r in diagnosis.cleared):
        for condition in (*rule.when.all, *rule.when.any):
            found = _below_limit(condition, diagnosis)
            if found and nearest.get(condition.fact, (-1.0,))[0] < found[0]:
                nearest[condition.fact] = found
    rows = [_row(e, words) for _, e in sorted(nearest.values(), key=lambda x: -x[0])][:MAX_CHECKED]
    return [{"kind": "evidence", "title": words.term("block.checked"), "rows": rows}] if rows else []


def _below_limit(condition: Condition, diagnosis: Diagnosis) -> tuple[float, Evidence] | None:
    """How far a fact is towards an upper limit that it does not pass, with the evidence."""
    fact = diagnosis.profile.facts.get(condition.fact)
    value, limit = fact.value if fact else None, condition.value
    if condition.op not in (">", ">=") or condition.over or not isinstance(value, float) or not fact:
        return None
    if not isinstance(limit, float) or limit <= 0 or value > limit or fact.unit != "1":
        return None
    shown = Evidence(
        fact.name, value, fact.unit, condition.op, limit, fact.origin, fact.where, holds=False, condition=condition.text
    )
    return value / limit, shown
