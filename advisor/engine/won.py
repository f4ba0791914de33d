"""Whether a run became faster, by how much, and how that compares with what the findings promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from advisor.engine.setup import LENGTHS
from advisor.models import Text
from advisor.models.compared import Difference, Fated, Metric, Realised
from advisor.text import percent

STEP = "ml.step.time"
REQUEST = ("gen_ai.server.request.duration", "gen_ai.server.time_to_first_token", "gen_ai.server.time_per_output_token")
TOKENS: tuple[str, ...] = ("ml.throughput.tokens", "ml.throughput.tokens.job")
SAMPLES: tuple[str, ...] = ("ml.throughput.samples", "ml.throughput.samples.job")
GATED = (STEP, REQUEST[0], *TOKENS, *SAMPLES)  # what a regression is judged by
NEAR = 0.75  # of the bound and more is near it (a judgement: the rest of a removed wait is seldom nothing)
NAMED = 2  # titles in a headline
Terms = Mapping[str, Text]

# What takes less or more time, by the metric that tells it.
SUBJECTS: Mapping[str, str] = {
    STEP: "compare.step",
    REQUEST[0]: "compare.request",
    REQUEST[1]: "compare.first_token",
    REQUEST[2]: "compare.output_token",
    **dict.fromkeys(TOKENS, "compare.token"),
    **dict.fromkeys(SAMPLES, "compare.sample"),
}


def basis(metrics: Iterable[Metric], differing: Iterable[Difference], *, same_work: bool) -> Metric | None:
    """The metric that tells whether the run became faster; None when none was measured in both runs."""
    found = {m.fact: m for m in metrics if m.change is not None}
    names: tuple[str, ...] = (STEP, *TOKENS, *SAMPLES, *REQUEST)
    if not same_work:
        longer = any(d.fact in LENGTHS for d in differing)
        names = TOKENS if longer else (*SAMPLES, *TOKENS)
    return next((found[name] for name in names if name in found), None)


def saved(metric: Metric) -> tuple[float, float | None, float | None]:
    """The share of the time before that was saved, with its interval: 1 - after/before; of a rate 1 - before/after.

    Negative where it takes longer.
    """

    def share(change: float) -> float:
        ratio = max(1 + change, 1e-9)
        return round(1 - ratio if metric.fact in (STEP, *REQUEST) else 1 - 1 / ratio, 4) + 0.0

    assert metric.change is not None
    if metric.band is None:
        return share(metric.change), None, None
    low, high = sorted(share(change) for change in (metric.band.low, metric.band.high))
    return share(metric.change), low, high


def realised(metric: Metric | None, findings: Sequence[Fated], terms: Terms) -> Realised | None:
    """What was won of what removing the findings of the run before could win at most.

    The bound is that of the findings that are gone; while none is, that of all that are still there. Shares may
    overlap, so their sum is the largest that together they can be. None where no bound or no time is known.
    """
    if metric is None:
        return None
    gains = {f.rule.id: f.before.gain.share for f in findings if f.before and f.before.gain and f.fate == "gone"}
    if not gains:
        stay = (f for f in findings if f.fate == "persisting")
        gains = {f.rule.id: f.before.gain.share for f in stay if f.before and f.before.gain}
    bound = round(sum(gains.values()), 4)
    if not gains or bound >= 1:
        return None
    share, low, high = saved(metric)
    judgement = _against(bound, share, low, moved=metric.judgement == "better")
    titles = {f.rule.id: f.rule.title for f in findings}
    removed = _listed([titles[rule] for rule in gains], terms)
    part = _percent(max(0.0, share / bound))
    key = "compare.won_all" if judgement == "near" and share >= bound else _WON[judgement]
    said = _say(terms[key], removed=removed, bound=_percent(bound), part=part)
    return Realised(tuple(gains), bound, share, low, high, judgement, said)


_WON = {
    "near": "compare.won_near",
    "partly": "compare.won_partly",
    "none": "compare.won_none",
    "above": "compare.won_above",
}


def _against(
    bound: float, share: float, low: float | None, *, moved: bool
) -> Literal["near", "partly", "none", "above"]:
    if not moved:
        return "none"
    if (share if low is None else low) > bound:
        return "above"
    return "near" if share >= NEAR * bound else "partly"


def headline(metric: Metric | None, findings: Sequence[Fated], terms: Terms) -> Text:
    """The verdict of the comparison in one line."""
    parts = [_faster(metric, terms)]
    for key in ("compare.gone", "compare.unverified", "compare.new", "compare.persisting"):
        titles = [f.rule.title for f in findings if _on_top(f) and _told(f) == key]
        if titles:
            parts.append(_say(terms[key], titles=_listed(titles, terms)))
    return Text("; ".join(p.en for p in parts), "；".join(p.zh for p in parts))


def _told(finding: Fated) -> str | None:
    """Under which word a finding stands in the headline."""
    if finding.unverified:
        return "compare.unverified"
    return {"gone": "compare.gone", "new": "compare.new", "persisting": "compare.persisting"}.get(finding.fate)


def _on_top(finding: Fated) -> bool:
    """Whether it stands for itself in one of the runs, and not only under what explains it."""
    return finding.before is not None or finding.after is not None


def _faster(metric: Metric | None, terms: Terms) -> Text:
    if metric is None:
        return terms["compare.unknown"]
    subject = terms[SUBJECTS[metric.fact]]
    share, low, high = saved(metric)
    if metric.judgement in ("same", "moved"):
        said = terms["compare.same" if low is not None else "compare.same_alone"]
        return _say(said, subject=subject, change=_signed(-share), band=_span(low, high, -1, terms))
    sign = 1 if share > 0 else -1
    keys = ("compare.less", "compare.less_alone") if sign > 0 else ("compare.more", "compare.more_alone")
    said = terms[keys[low is None]]
    return _say(said, subject=subject, share=_percent(abs(share)), band=_span(low, high, sign, terms))


def _span(low: float | None, high: float | None, sign: int, terms: Terms) -> Text:
    if low is None or high is None:
        return Text("", "")
    ends = sorted((sign * low, sign * high))
    show = _signed if sign < 0 and ends[0] < 0 else _percent
    low_text, high_text = show(ends[0]), show(ends[1])
    once = Text(low_text.en.removesuffix(" %"), low_text.zh.removesuffix("%"))  # the sign of the unit stands once
    return _say(terms["compare.span"], low=once, high=high_text)


def _percent(share: float) -> Text:
    return Text(percent(share), percent(share, "zh-Hans"))


def _signed(share: float) -> Text:
    sign = "+" if share > 0 else "−" if share < 0 else ""
    size = _percent(abs(share))
    return Text(sign + size.en, sign + size.zh)


def _listed(titles: Sequence[Text], terms: Terms) -> Text:
    """The first titles, and how many more."""
    named = Text("; ".join(f"“{t.en}”" for t in titles[:NAMED]), "、".join(f"“{t.zh}”" for t in titles[:NAMED]))
    if len(titles) <= NAMED:
        return named
    return _say(terms["compare.and_more"], titles=named, count=Text(*[str(len(titles) - NAMED)] * 2))


def _say(said: Text, **values: Text) -> Text:
    return Text(
        said.en.format(**{k: v.en for k, v in values.items()}), said.zh.format(**{k: v.zh for k, v in values.items()})
    )
