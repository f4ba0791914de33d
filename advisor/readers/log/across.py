"""What only several texts say together: how the bandwidth of collectives falls from few ranks to many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advisor.models import Fact, Reading, Source
from advisor.readers.told import Told

LARGE = 32 << 20  # bytes; see the rule busbw-below-expectation
BUS, SIZE, RANKS, SCALING = (
    "comm.busbw",
    "comm.busbw.message_size",
    "config.distributed.world_size",
    "comm.busbw.scaling.ratio",
)


def apart(told: Sequence[Told]) -> Iterator[Told]:
    """Bandwidth at most ranks over that at fewest, where tables of one message size are in texts of their own."""
    readings = [{fact.name: fact for fact in r.facts} for t in told for r in t.readings]
    tables = [known for known in readings if {BUS, SIZE, RANKS} <= known.keys()]
    if len(tables) < 2 or any(SCALING in known for known in readings):
        return
    few, many = (pick(tables, key=lambda known: _number(known[RANKS])) for pick in (min, max))
    same = _number(few[SIZE]) == _number(many[SIZE]) >= LARGE and _model(few) == _model(many)
    if same and _number(few[RANKS]) < _number(many[RANKS]) and _number(few[BUS]) > 0:
        ratio = _number(many[BUS]) / _number(few[BUS])
        fact = Fact(SCALING, ratio, "1", many[BUS].origin, many[BUS].where)
        note = f"bus bandwidth on {_number(many[RANKS]):.0f} ranks over that on {_number(few[RANKS]):.0f}"
        yield Told((Reading(Source("log", many[BUS].origin, "ok", note), (fact,)),))


def _number(fact: Fact) -> float:
    return float(fact.value)


def _model(known: dict[str, Fact]) -> object:
    return known["hw.gpu.model"].value if "hw.gpu.model" in known else None
