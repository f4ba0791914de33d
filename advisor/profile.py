"""Facts from many sources -> one immutable Profile.

Here units are made canonical, values that cannot be (NaN, infinities, out of range) are
dropped with a note, one source is preferred where two give the same fact, disagreement
is noted, and derived facts are added. Nothing is judged.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from advisor.derive import derive
from advisor.models import Contradiction, Fact, FactSpec, Profile, Reading, Source, Value

# The first kind that gives a fact wins: what was timed inside the run before what was seen from outside,
# the tighter view (container, process) before the wider (host), what a person said after that, and last
# of all what was only read in the script: it says what the code asks for, not what the run did. A kernel log
# comes after the counters of the machine, which count since boot while the log may have lost its beginning.
PRECEDENCE = (
    "profile",
    "training hook",
    "trace",
    "snapshot",  # of the allocator itself, before what an error message or the driver says of it
    "nvml",
    "nvidia-smi",
    "process",
    "cgroup",
    "pressure",
    "disk",
    "network",
    "environment",
    "stacks",  # seen from outside, and often of one instant
    "host",
    "kernel log",
    "scrape",
    "log",
    "question",
    "script",
)
SCALE: Mapping[tuple[str, str], float] = {
    ("%", "1"): 0.01,
    ("min", "s"): 60.0,
    ("ms", "s"): 1e-3,
    ("us", "s"): 1e-6,
    ("kBy", "By"): 1e3,
    ("KiBy", "By"): 2.0**10,
    ("MiBy", "By"): 2.0**20,
    ("GiBy", "By"): 2.0**30,
    ("MBy/s", "By/s"): 1e6,
    ("bit/s", "By/s"): 0.125,
    ("MHz", "Hz"): 1e6,
}
ROUNDING = 0.02  # a share of 1.01 is two clocks that differ, a share of 1.5 is an error
FAILED = ("denied", "timeout", "unreadable")
SHOWN = 80  # characters of a text that is left out
DISAGREE = 0.1  # sources that differ by less than a tenth tell the same story


def build(
    readings: Sequence[Reading],
    specs: Mapping[str, FactSpec],
    *,
    subject: str,
    started: str,
    duration_s: float,
    ranks: Sequence[tuple[str, Reading]] = (),
) -> Profile:
    """One profile of `subject` from everything that was read over one window.

    Args:
        readings: what each source said; facts may come in any unit that `SCALE` knows.
        specs: the fact vocabulary.
        subject: the command, host or server that was looked at.
        started: ISO 8601 time in UTC; empty when that is not known.
        duration_s: length of the window in seconds.
        ranks: one reading per rank when several ranks trained; they become members.
    """
    window = Reading(Source("profile", "observation", "ok"), (Fact("run.duration", duration_s, "s", "observation"),))
    members = tuple(build([r], specs, subject=name, started=started, duration_s=duration_s) for name, r in ranks)
    facts, sources, contradictions = _merge([window, *readings], specs)
    for shared in _group(members, specs):
        facts.setdefault(shared.name, shared)
    facts.update(_derived(facts, sources, specs))
    # The curve of the source whose number is used, whatever was read first.
    series = {name: s for r in reversed(_in_order(readings)) for name, s in r.series.items()}
    return Profile(
        id=identity(subject, started or _said(facts)),
        subject=subject,
        started=started,
        duration_s=round(duration_s, 3),
        sources=sources,
        facts=dict(sorted(facts.items())),
        series=dict(sorted(series.items())),
        members=members,
        contradictions=contradictions,
    )


def restore(raw: Profile, specs: Mapping[str, FactSpec]) -> Profile:
    """A profile that was read from a document, with its facts checked like fresh ones and derived facts completed.

    Facts that do not fit the vocabulary are left out; the note stands on a source of their own.
    """
    facts: dict[str, Fact] = {}
    notes: list[str] = []
    for given in raw.facts.values():
        fact, note = _normal(given, specs)
        if fact:
            facts[fact.name] = fact
        else:
            notes.append(note)
    members = tuple(restore(m, specs) for m in raw.members)
    for shared in _group(members, specs):
        facts.setdefault(shared.name, shared)
    facts.update(_derived(facts, raw.sources, specs))
    sources = raw.sources + (
        (Source("document", raw.subject, "unreadable", "; ".join(sorted(notes))),) if notes else ()
    )
    name = raw.id or identity(raw.subject, raw.started or _said(facts))
    return replace(raw, id=name, facts=dict(sorted(facts.items())), sources=sources, members=members)


def identity(subject: str, started: str) -> str:
    """The name of a profile: the same subject looked at from the same moment, also while it is still going on."""
    return hashlib.sha256(f"{subject}\0{started}".encode()).hexdigest()[:16]


def _said(facts: Mapping[str, Fact]) -> str:
    """Without a time two profiles of one subject are told apart by what they say."""
    return repr(sorted((f.name, f.value) for f in facts.values()))


def _derived(facts: Mapping[str, Fact], sources: Sequence[Source], specs: Mapping[str, FactSpec]) -> dict[str, Fact]:
    found: dict[str, Fact] = {}
    for name, (value, needs) in derive({n: f.value for n, f in facts.items()}, _unread(sources)).items():
        if name not in specs:  # a knowledge base of one's own may know fewer facts
            continue
        inputs = [facts.get(n) or found[n] for n in needs if n in facts or n in found]
        origin = ", ".join(dict.fromkeys(part for f in inputs for part in f.origin.split(", ")))
        where = next((f.where for f in inputs if f.where), None)
        fact, _ = _normal(Fact(name, value, specs[name].unit, origin, where), specs)
        if fact:
            found[name] = fact
    return found


def _unread(sources: Sequence[Source]) -> frozenset[str]:
    """Kinds and origins of sources that are there and could not be read; one that is absent has nothing to say."""
    failed = {name for s in sources if s.state in FAILED for name in (s.kind, s.origin)}
    return frozenset(failed - {name for s in sources if s.state == "ok" for name in (s.kind, s.origin)})


def _merge(
    readings: Sequence[Reading], specs: Mapping[str, FactSpec]
) -> tuple[dict[str, Fact], tuple[Source, ...], tuple[Contradiction, ...]]:
    facts: dict[str, Fact] = {}
    contradictions: list[Contradiction] = []
    notes: dict[int, list[str]] = {}
    for reading in _in_order(readings):
        for raw in reading.facts:
            fact, note = _normal(raw, specs)
            if fact is None:
                notes.setdefault(id(reading), []).append(note)
            elif fact.name not in facts:
                facts[fact.name] = fact
            elif reading.source.kind != "script" and _disagree(facts[fact.name].value, fact.value):
                contradictions.append(Contradiction(facts[fact.name], fact))
    sources = tuple(
        replace(r.source, note="; ".join(x for x in [r.source.note, *sorted(notes.get(id(r), []))] if x))
        for r in readings
        if r.source.kind != "profile"
    )
    return facts, sources, tuple(sorted(contradictions, key=lambda c: (c.kept.name, repr(c))))


def _in_order(readings: Iterable[Reading]) -> list[Reading]:
    """Readings, the preferred ones first: by kind, and within a kind by name, whatever was read first."""
    return sorted(readings, key=lambda r: (_rank(r.source.kind), r.source.origin))


def _rank(kind: str) -> int:
    return PRECEDENCE.index(kind if kind in PRECEDENCE else "question")


def _normal(fact: Fact, specs: Mapping[str, FactSpec]) -> tuple[Fact | None, str]:
    """The fact in its canonical unit, or None with the reason why it is dropped."""
    spec = specs.get(fact.name)
    if spec is None:
        return None, f"{fact.name} is not in the vocabulary and was left out"
    value = _typed(fact.value, spec)
    if value is None:
        return None, f"{fact.name} = {_brief(fact.value)} is not a {spec.type} and was left out"
    if isinstance(value, bool | str):
        return replace(fact, value=value, unit=spec.unit), ""
    if fact.unit and fact.unit != spec.unit:  # no unit given: the canonical one is meant
        scale = SCALE.get((fact.unit, spec.unit))
        if scale is None:
            return None, f"{fact.name} came in {fact.unit}, not {spec.unit}, and was left out"
        value *= scale
    if not math.isfinite(value):
        return None, f"{fact.name} is not finite and was left out"
    bounded = _bounded(value, spec)
    if bounded is None:
        return None, f"{fact.name} = {value:g} is outside [{spec.low}, {spec.high}] and was left out"
    return replace(fact, value=bounded + 0.0, unit=spec.unit), ""  # + 0.0 turns -0.0 into 0.0


def _brief(value: Value) -> str:
    """A value that does not fit, as far as a note has room for it."""
    return repr(value[:SHOWN] if isinstance(value, str) else value if isinstance(value, bool) else _number(value))


def _typed(value: Value, spec: FactSpec) -> Value | None:
    if spec.type == "number":
        return _number(value) if isinstance(value, float | int) and not isinstance(value, bool) else None
    if spec.type == "bool":
        return value if isinstance(value, bool) else None
    return value if isinstance(value, str) and value else None


def _number(value: float) -> float:
    """As float64; a whole number beyond its range is infinite, and so left out like every infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _bounded(value: float, spec: FactSpec) -> float | None:
    low, high = spec.low, spec.high
    if low is not None and value < low:
        return low if value > low - ROUNDING else None
    if high is not None and value > high:
        return high if value <= high + ROUNDING else None
    return value


def _disagree(a: Value, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) > DISAGREE * max(abs(a), abs(b), 1e-9)
    return a != b


def _group(members: Sequence[Profile], specs: Mapping[str, FactSpec]) -> Iterable[Fact]:
    """Facts of a group of ranks: how far the slowest is from the typical one, and which it is."""
    # In a synchronous step all ranks take equally long: only what is left without the waits tells them apart.
    apart = any("trace.comm.exposed.fraction" in m.facts for m in members)
    own = "ml.step.local.time" if apart else "ml.step.compute.time"
    for name, of in (
        ("ml.rank.step_time.spread", own),
        ("ml.rank.data_wait.spread", "ml.step.data_wait.exposed.fraction"),
    ):
        seen = sorted((m.subject, v) for m in members if of in m.facts if isinstance(v := m.facts[of].value, float))
        if len(seen) < 2:
            continue
        worst, most = max(seen, key=lambda pair: pair[1])  # of equally slow ones the first by name
        middle = statistics.median(value for _, value in seen)
        spread = most - middle
        if of == own:
            spread = spread / middle if middle > 0 else 0.0
        fact, _ = _normal(Fact(name, spread, specs[name].unit, "training hook", worst), specs)
        if fact:
            yield fact
