"""The verdict: bottleneck, healthy or inconclusive, the sentence that says it, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advisor.models import SEVERITIES, FactSpec, Finding, Knowledge, Source, Text, Unjudged, Values, Verdict
from advisor.text import percent, quantity

# A run may be called healthy only when these were measured, one of each line: the absence of findings is no evidence.
_NEEDS_TRAINING = (
    ("ml.step.time",),
    ("ml.step.data_wait.exposed.fraction",),
    ("system.cpu.utilization", "trace.gpu.idle.fraction"),
)
_NEEDS_GPU = (("hw.gpu.utilization", "trace.gpu.idle.fraction"),)
# A server tells itself whether requests wait and how long they take; without traffic it tells neither.
_NEEDS_SERVER = (("gen_ai.server.requests.waiting",), ("gen_ai.server.request.duration",))
# A forward pass without a loader or an optimizer: its profile must show a GPU that hardly ever waits.
_NEEDS_INFERENCE = (("trace.gpu.idle.fraction",),)
# Losses that nothing may leave unexplained in a run that is called healthy: a tenth of the time, which is what a
# second look would be worth (a judgement; peers call a GPU busy from 90 % on).
UNEXPLAINED = 0.1
_LOSSES = ("trace.gpu.idle.fraction", "hw.gpu.idle.fraction", "ml.step.data_wait.exposed.fraction")
_LOSSES_OF_TRACE = ("trace.gpu.idle.fraction", "ml.step.data_wait.exposed.fraction")
# What a healthy verdict shows, in this order, when it is known.
_SHOWN = (
    "ml.step.time", "gen_ai.server.request.duration", "gen_ai.server.requests.waiting",
    "ml.step.data_wait.exposed.fraction", "trace.comm.exposed.fraction", "trace.gpu.idle.fraction",
    "hw.gpu.utilization", "hw.gpu.sm.active", "system.cpu.utilization", "gen_ai.server.cache.utilization",
)  # fmt: skip
MAX_SHOWN = 4
# How much of what the hardware reaches is used: of its arithmetic in training, of its memory's rate in serving. What is
# above this share leaves little to win (a judgement: a well-tuned step keeps some time for what is no matrix product).
ACHIEVED = {"training": "derived.matmul.achieved.fraction", "serving": "derived.gpu.bandwidth.achieved.fraction"}
MUCH = 0.6


def judge(found: Sequence[Finding], values: Values) -> Verdict:
    """The verdict on what was found and on what was measured."""
    if any(f.rule.severity != SEVERITIES[0] and not f.static for f in found):
        return "bottleneck"
    return "inconclusive" if unmet(values) or unexplained(values) else "healthy"


def unmet(values: Values) -> list[str]:
    """The facts without which nothing is called healthy, and that were not measured; the first of each alternative."""
    return [names[0] for names in _needs(values) if not any(name in values for name in names)]


def _needs(values: Values) -> tuple[tuple[str, ...], ...]:
    if values.get("run.phase") == "serving":
        return _NEEDS_SERVER
    if values.get("run.phase") == "inference":
        return _NEEDS_INFERENCE
    return _NEEDS_TRAINING + (_NEEDS_GPU if values.get("run.gpu.used") is not False else ())


def unexplained(values: Values) -> tuple[str, float] | None:
    """The largest loss that no finding accounts for, when it is too large to call the run healthy."""
    if values.get("run.phase") == "serving" or values.get("run.gpu.used") is False:
        return None
    names = _LOSSES_OF_TRACE if "trace.gpu.idle.fraction" in values else _LOSSES
    known = [(v, n) for n in names if isinstance(v := values.get(n), float)]
    worst, name = max(known, default=(0.0, ""))
    return (name, worst) if worst > UNEXPLAINED else None


def headline(verdict: Verdict, found: Sequence[Finding], values: Values, knowledge: Knowledge, open_rules: int) -> Text:
    """One sentence: the first finding, or that there is none."""
    if verdict == "bottleneck":
        top = found[0]
        if top.gain is None:
            return top.rule.title
        title, share = top.rule.title, top.gain.share
        return _said(
            knowledge.terms["headline.bottleneck"],
            title=title,
            share=_percent(share),
        )
    if verdict == "inconclusive":
        return _said(knowledge.terms["headline.inconclusive"], rules=_number(open_rules))
    served = values.get("run.phase") == "serving"
    name = ACHIEVED["serving" if served else "training"]
    achieved = values.get(name)
    if isinstance(achieved, float) and achieved > MUCH:
        return _said(knowledge.terms["headline.healthy.achieved"], achieved=_percent(achieved))
    return knowledge.terms["headline.healthy.server" if served else "headline.healthy"]


def reason(verdict: Verdict, found: Sequence[Finding], values: Values, knowledge: Knowledge) -> Text:
    """What the verdict rests on: the first finding, the numbers of a healthy run, or what keeps the question open."""
    if verdict == "bottleneck":
        return found[0].text
    if verdict == "inconclusive":
        return _open(values, knowledge)
    shown = [_labelled(name, values, knowledge) for name in _known(_SHOWN, values)[:MAX_SHOWN]]
    return _said(knowledge.terms["reason.healthy"], shown=_joined(shown))


def _open(values: Values, knowledge: Knowledge) -> Text:
    lost = unexplained(values)
    if lost:
        return _said(knowledge.terms["reason.unexplained"], lost=_labelled(lost[0], values, knowledge))
    names = _joined([_label(name, knowledge.facts) for name in unmet(values)])
    return _said(knowledge.terms["reason.unmet"], names=names)


def coverage(lacking: Sequence[Unjudged], sources: Sequence[Source], knowledge: Knowledge) -> Text:
    """How many sources were read, and the rules that stay open for want of a kind of fact."""
    terms = knowledge.terms
    read = _said(
        terms["coverage.sources"], read=_number(sum(s.state == "ok" for s in sources)), all=_number(len(sources))
    )
    if not lacking:
        return Text(f"{read.en}.", f"{read.zh}。")
    lacks = [_said(terms["coverage.lack"], lack=terms[f"lack.{u.lack}"], count=_number(len(u.rules))) for u in lacking]
    return _said(terms["coverage.open"], read=read, lacks=_joined(lacks))


def _percent(share: float) -> Text:
    return Text(percent(share), percent(share, "zh-Hans"))


def _number(count: int) -> Text:
    return Text(str(count), str(count))


def _known(names: Sequence[str], values: Values) -> list[str]:
    return [name for name in names if name in values]


def _label(name: str, facts: Mapping[str, FactSpec]) -> Text:
    label = facts[name].label if name in facts else None
    return label or Text(name, name)


def _labelled(name: str, values: Values, knowledge: Knowledge) -> Text:
    """A fact with its value, as in "GPU utilisation 94 %"."""
    label, value = _label(name, knowledge.facts), _shown(name, values, knowledge)
    return Text(f"{label.en} {value.en}", f"{label.zh} {value.zh}")


def _shown(name: str, values: Values, knowledge: Knowledge) -> Text:
    spec = knowledge.facts.get(name)
    return Text(quantity(values[name], spec), quantity(values[name], spec, "zh-Hans"))


def _joined(texts: Sequence[Text]) -> Text:
    return Text(", ".join(t.en for t in texts), "、".join(t.zh for t in texts))


def _said(template: Text, **parts: Text) -> Text:
    return Text(
        template.en.format(**{k: t.en for k, t in parts.items()}),
        template.zh.format(**{k: t.zh for k, t in parts.items()}),
    )
