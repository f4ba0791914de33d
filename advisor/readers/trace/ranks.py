"""Several traces -> runs: which are the ranks of one run, and what the ranks say together."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

import numpy as np

from advisor.models import Fact, Reading, Source, Value
from advisor.readers.rows import Row, facts, row
from advisor.readers.told import Told
from advisor.readers.trace.told import KIND, One

# Ranks are profiled at the same steps; their clocks differ by seconds at most.
TOGETHER_S = 60.0
_OWN = ("run.rank",)
_LARGEST = ("torch.cuda.memory.allocated.peak",)


def runs(ones: Sequence[One]) -> list[Told]:
    """The runs, in the order of their first trace."""
    groups: list[list[One]] = []
    for one in ones:
        group = next((g for g in groups if _belongs(g, one)), None)
        if group is None:
            groups.append([one])
        else:
            group.append(one)
    return [_single(group[0]) if len(group) == 1 else _run(group) for group in groups]


def _belongs(group: Sequence[One], one: One) -> bool:
    """Whether a trace is of another rank of the same run."""
    first = group[0]
    if (first.rank is None) != (one.rank is None) or first.world != one.world:
        return False
    if first.started is not None and one.started is not None:
        apart = abs(first.started - one.started)
        if apart > TOGETHER_S + first.seconds + one.seconds:
            return False
    if one.rank is not None:
        return (one.world is None or one.world > 1) and one.rank not in {g.rank for g in group}
    # Nothing tells the rank: processes that communicate at the same time are ranks.
    known = all(g.started is not None and g.collectives for g in (*group, one))
    return known and one.process not in {g.process for g in group}


def _single(one: One) -> Told:
    return Told((one.reading,), (), one.started, one.seconds, one.name)


def _run(group: Sequence[One]) -> Told:
    ordered = sorted(group, key=lambda g: (g.rank if g.rank is not None else 0, g.name))
    names = [f"rank {g.rank if g.rank is not None else place}" for place, g in enumerate(ordered)]
    starts = [g.started for g in ordered if g.started is not None]
    return Told(
        (_together(ordered, names[0]),),
        tuple(zip(names, (g.reading for g in ordered), strict=True)),
        min(starts, default=None),
        max(g.seconds for g in ordered),
        f"{ordered[0].name} and {len(ordered) - 1} more ranks",
    )


def _together(group: Sequence[One], first: str) -> Reading:
    """The run as a whole: the median of what the ranks say, and how far apart they reach their collectives."""
    origin = f"{group[0].reading.source.origin} and {len(group) - 1} more ranks"
    world = group[0].world
    missing = f" of {world}" if world and world != len(group) else ""
    note = (
        f"PyTorch profiler traces of {len(group)}{missing} ranks; numbers are medians over them; "
        f"of {first}: {group[0].reading.source.note}"
    )
    shared = tuple(_typical(group, origin))
    return Reading(Source(KIND, origin, "ok", note), shared + facts(_apart(group), origin))


def _typical(group: Sequence[One], origin: str) -> Iterator[Fact]:
    """Facts that most ranks give: medians of numbers, what all agree on of the rest."""
    tables = [{fact.name: fact for fact in one.reading.facts} for one in group]
    for name in dict.fromkeys(name for table in tables for name in table):
        found = [table[name] for table in tables if name in table]
        if name in _OWN or 2 * len(found) < len(group):
            continue
        value = _value(name, [fact.value for fact in found])
        if value is not None:
            where = next((fact.where for fact in found if fact.where), None)
            yield Fact(name, value, found[0].unit, origin, where)


def _value(name: str, values: Sequence[Value]) -> Value | None:
    numbers = [v for v in values if isinstance(v, float)]
    if len(numbers) == len(values):
        return max(numbers) if name in _LARGEST else statistics.median(numbers)
    return values[0] if len(set(values)) == 1 else None


def _apart(group: Sequence[One]) -> Iterator[Row]:
    """How far apart the ranks reach the same collective.

    All leave it together, so who came last has the shortest; that needs no clocks that agree.
    """
    count = len(group[0].collectives)
    if count and all(len(one.collectives) == count for one in group):
        table = np.array([one.collectives for one in group])
        yield row("trace.comm.wait_skew", float(np.median(table.max(axis=0) - table.min(axis=0))) * 1e-6, "s")
