"""What two profiles measured, side by side: how much each number changed, and whether noise explains it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from advisor.engine.noise import noise
from advisor.models import FactSpec, Profile
from advisor.models.compared import Band, Judgement, Metric

# With samples a change counts when its 95 % interval leaves out 0, and when it is larger than what two runs of one
# program differ by anyway: TraceML 0.5.0 calls less than 3 % of step time, or 0.75 points of a share, no change.
SMALLEST, SMALLEST_POINTS = 0.03, 0.0075
# One number each tells nothing of the noise: then a tenth, where gpuprof and alloc begin to speak of a regression
# (nsys-ai from 5 %), and for shares also the two points that TraceML asks for.
ALONE, ALONE_POINTS = 0.10, 0.02
STEP = "ml.step.time"
# The work of a step is given: what varies in these rates is the time of a step.
RATES = frozenset(f"ml.throughput.{name}" for name in ("tokens", "samples", "tokens.job", "samples.job", "flops"))
OF_A_STEP = frozenset({STEP, "ml.step.time.p95", "ml.step.data_wait.time"})  # better only for the same work
# How long was looked at, and which of the ranks: of the observation and not of the run.
NOT_METRICS = frozenset({"run.duration", "run.rank", "ml.step.count"})


def metrics(
    before: Profile,
    after: Profile,
    specs: Mapping[str, FactSpec],
    evidence: Collection[str],
    setup: Collection[str],
    *,
    same_work: bool,
) -> tuple[Metric, ...]:
    """Every number that both runs measured: those with a direction first, then what findings rest on, then the rest.

    Args:
        before: the profile to start from.
        after: the one that is compared with it.
        specs: the fact vocabulary.
        evidence: the facts that findings of either run rest on.
        setup: facts of how a run was set up, which are no metrics.
        same_work: whether a step of both does as much; else a longer one is not worse.
    """
    directions = {spec.name: spec.better for spec in specs.values() if same_work or spec.name not in OF_A_STEP}
    found = [
        _metric(spec, values[0], values[1], before, after, directions.get(spec.name), spec.name in evidence)
        for spec in specs.values()
        if spec.name not in setup and (values := _both(spec, before, after, evidence))
    ]
    place = {name: i for i, name in enumerate(specs)}
    return tuple(sorted(found, key=lambda m: _order(m, specs[m.fact], place[m.fact], m.fact in evidence)))


def _both(spec: FactSpec, before: Profile, after: Profile, evidence: Collection[str]) -> tuple[float, float] | None:
    """The numbers of a measured fact; derived ones count only where a finding rests on them."""
    name = spec.name
    if spec.type != "number" or name in NOT_METRICS or name.startswith("config."):
        return None
    if name.startswith("derived.") and name not in evidence:
        return None
    values = [p.facts[name].value for p in (before, after) if name in p.facts]
    first, second = (values[0], values[-1]) if len(values) == 2 else (None, None)
    return (first, second) if isinstance(first, float) and isinstance(second, float) else None


def _order(metric: Metric, spec: FactSpec, place: int, evidence: bool) -> tuple[int, float, int]:
    rank = 0 if spec.better else 1 if evidence else 2 if metric.judgement != "same" else 3
    size = -math.inf if metric.change is None else -abs(metric.change)
    return rank, (size if rank == 2 else 0.0), place


def _metric(
    spec: FactSpec, before: float, after: float, old: Profile, new: Profile, better: str | None, evidence: bool
) -> Metric:
    points = spec.unit == "1" and (spec.high == 1 or spec.low is None)
    band: Band | None = None
    change = difference(before, after, points=points)
    if change is not None:
        band = _band(spec.name, change, old, new, points=points)
    moved = before != after if change is None else _beyond(change, band, before, after, points=points)
    judgement = _judge(better, rises=after > before) if moved else "same"
    return Metric(
        fact=spec.name,
        unit=spec.unit,
        before=before,
        after=after,
        change=None if change is None else relative(change, points=points),
        points=points,
        band=band and Band(relative(band.low, points=points), relative(band.high, points=points), band.samples),
        judgement=judgement,
        shown=bool(spec.better) or evidence or (moved and band is not None),
    )


def difference(before: float, after: float, *, points: bool) -> float | None:
    """The change on the scale on which exchanged runs mirror each other; None when there is nothing to relate to.

    >>> difference(0.7, 0.2, points=True), difference(2.0, 1.0, points=False), difference(0.0, 1.0, points=False)
    (-0.5, -0.6931471805599453, None)
    """
    if points:
        return round(after - before, 12)
    if before == after:
        return 0.0
    return math.log(after / before) if before > 0 and after > 0 else None


def relative(change: float, *, points: bool) -> float:
    """A difference as people read it: points as they are, a logarithm as a share of the value before.

    >>> relative(-0.6931471805599453, points=False)
    -0.5
    """
    return round(change if points else math.expm1(change), 4) + 0.0


def _band(fact: str, change: float, old: Profile, new: Profile, *, points: bool) -> Band | None:
    """The change with the noise of the fact's own samples; a rate has the noise of the step, upside down."""
    name = STEP if fact in RATES and not (fact in old.series and fact in new.series) else fact
    runs = [profile.series[name].v if name in profile.series else () for profile in (old, new)]
    error = noise(runs[0], runs[1], points=points)
    if error is None:
        return None
    low, high = error if name == fact else (-error[1], -error[0])
    return Band(change + low, change + high, (len(runs[0]), len(runs[1])))


def _beyond(change: float, band: Band | None, before: float, after: float, *, points: bool) -> bool:
    if band is not None:
        smallest = SMALLEST_POINTS if points else math.log1p(SMALLEST)
        return abs(change) >= smallest and (band.low > 0 or band.high < 0)
    if points:
        return abs(change) >= max(ALONE_POINTS, ALONE * max(abs(before), abs(after)))
    return abs(change) >= math.log1p(ALONE)


def _judge(better: str | None, *, rises: bool) -> Judgement:
    if better is None:
        return "moved"
    return "better" if rises == (better == "higher") else "worse"
