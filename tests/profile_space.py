"""Profiles that the rules' own conditions span: every fact just below, at and just above its limits, or missing.

Made from the knowledge base, so that a new rule is covered without a line here.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

from advisor.derive import FORMULAS, with_derived
from advisor.kb import default_folder
from advisor.kb.build import Loader
from advisor.models import Condition, Fact, FactSpec, Profile, Reading, Rule, Source, Value
from advisor.profile import restore
from advisor.readers.document import read_document

LOADER = Loader(default_folder())
KNOWLEDGE = LOADER.knowledge()
CASES = LOADER.cases()
RULES = tuple(KNOWLEDGE.rules.values())
MADE = {f.name for f in FORMULAS}
ORDERED = (">", ">=", "<", "<=")

Facts = dict[str, Value]

# Who gives a fact in a run that is watched on one machine: the first prefix that fits.
GIVERS = (
    ("container.", "cgroup", "/sys/fs/cgroup"),
    ("system.pressure.", "host", "/proc/pressure"),
    ("system.", "host", "/proc"),
    ("process.gc.", "training hook", "the training process"),
    ("process.", "process", "/proc/pid"),
    ("hw.gpu.xid.", "kernel log", "/dev/kmsg"),
    ("hw.", "nvml", "NVML"),
    ("trace.", "trace", "trace.json"),
    ("code.", "script", "train.py"),
    ("gen_ai.server.preemptions.count", "log", "server.log"),
    ("gen_ai.", "scrape", "http://server/metrics"),
    ("comm.", "log", "nccl.log"),
    ("probe.", "host probe", "the probe"),
    ("", "training hook", "the training process"),
)


def giver(fact: str) -> tuple[str, str]:
    """Kind and origin of the source that gives `fact`."""
    return next((kind, origin) for prefix, kind, origin in GIVERS if fact.startswith(prefix))


def readings(facts: Mapping[str, Value], without: tuple[str, str] | None = None) -> list[Reading]:
    """The facts as their sources give them; the source `without` is there and cannot be read."""
    by: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for name, value in facts.items():
        by[giver(name)].append(Fact(name, value, "", giver(name)[1]))
    return [
        Reading(Source(*source, "denied" if source == without else "ok"), () if source == without else tuple(given))
        for source, given in by.items()
    ]


def profile_of(facts: Mapping[str, Any]) -> Profile:
    """A profile as a document gives it."""
    return restore(read_document({"subject": "train.py", "facts": dict(facts)}), KNOWLEDGE.facts)


def leaves(rule: Rule) -> tuple[Condition, ...]:
    """All conditions of a rule."""
    return (*rule.applies, *rule.when.conditions)


def read_by(rule: Rule) -> frozenset[str]:
    """All facts that a rule reads."""
    return frozenset(f for leaf in leaves(rule) for f in leaf.facts)


@functools.cache
def origins_of(facts: frozenset[str]) -> frozenset[str]:
    """`facts` and all that formulas make them of."""
    found, stack = set(facts), list(facts)
    while stack:
        name = stack.pop()
        more = {x for f in FORMULAS if f.name == name for x in (*f.needs, *f.optional)} - found
        found |= more
        stack += more
    return frozenset(found)


def _in_range(values: list[float], spec: FactSpec) -> list[float]:
    low, high = -math.inf if spec.low is None else spec.low, math.inf if spec.high is None else spec.high
    return sorted({v + 0.0 for v in values if low <= v <= high and math.isfinite(v)})


def _near(limit: float) -> list[float]:
    step = max(abs(limit) * 1e-9, 1e-12)
    return [limit - step, math.nextafter(limit, -math.inf), limit, math.nextafter(limit, math.inf), limit + step]


def tried(leaf: Condition, facts: Mapping[str, Value]) -> list[Value]:
    """Values of the condition's fact on every side of its limit, where `facts` say what the other facts are."""
    spec = KNOWLEDGE.facts[leaf.fact]
    if spec.type == "bool":
        return [False, True]
    if spec.type != "number":
        words = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
        return [*(w for w in words if isinstance(w, str)), "something else"]
    if leaf.op not in ORDERED:
        words = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
        return list(_in_range([x for w in words if isinstance(w, float) for x in (w - 1, w, w + 1)], spec))
    limit = leaf.value if leaf.other is None else _times(leaf.factor, facts.get(leaf.other, 1.0))
    if leaf.over:
        limit = _times(limit, facts.get(leaf.over, 1.0))
    assert isinstance(limit, float)
    return list(_in_range([*_near(limit), 0.0, limit / 2, limit * 2], spec))


def _times(a: object, b: object) -> float:
    assert isinstance(a, float)
    assert isinstance(b, float)
    return a * b


def around(rule: Rule) -> Iterator[Facts]:
    """From every case of a rule: each fact of each condition on every side of its limit, and missing."""
    for case in CASES[rule.id]:
        facts = with_derived(case.facts)
        yield facts
        for leaf in leaves(rule):
            for value in tried(leaf, facts):
                yield {**facts, leaf.fact: value}
            for name in leaf.facts:
                if name in facts:
                    yield {n: v for n, v in facts.items() if n != name}


def _pools() -> dict[str, tuple[Value, ...]]:
    pools: dict[str, dict[Value, None]] = defaultdict(dict)
    for rule in RULES:
        for leaf in leaves(rule):
            pools[leaf.fact].update(dict.fromkeys(tried(leaf, {})))
        for case in CASES[rule.id]:
            for name, value in case.facts.items():
                pools[name].setdefault(value)
    pools["hw.gpu.model"].setdefault("NVIDIA H100 80GB HBM3")  # a model whose clocks and links are known
    for name in origins_of(frozenset(MADE)) - pools.keys():  # inputs of formulas that no rule and no case names
        numbers = _in_range([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 8.0, 64.0, 1e9], KNOWLEDGE.facts[name])
        plain: dict[str, list[Value]] = {"bool": [False, True], "number": list(numbers)}
        pools[name].update(dict.fromkeys(plain.get(KNOWLEDGE.facts[name].type, ["12.8", "13.0", "8.6", "AdamW"])))
    return {name: tuple(values) for name, values in sorted(pools.items())}


POOLS = _pools()
ALL_CASES = [(rule, case) for rule in RULES for case in CASES[rule.id]]


@st.composite
def mixtures(draw: st.DrawFn) -> Facts:
    """Facts of several rules at once, some of them put elsewhere and some left out."""
    facts: Facts = {}
    for _, case in draw(st.lists(st.sampled_from(ALL_CASES), min_size=1, max_size=5)):
        facts.update(case.facts)
    for name in draw(st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=12)):
        facts[name] = draw(st.sampled_from(POOLS[name]))
    lost = draw(st.sets(st.sampled_from(sorted(facts)), max_size=min(4, len(facts) - 1)))
    return {n: v for n, v in facts.items() if n not in lost}
