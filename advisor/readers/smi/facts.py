"""Looks -> one reading: means over the GPUs and the moments that count, extremes with the GPU that gave them.

Of several forms the one with the most moments is believed, and the others add what it does not
show: one moment may be stale, as the table's utilization is when a load has just ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from advisor.models import Reading, Series, Source
from advisor.readers.metrics.gpu_facts import BUSY, States, extreme, gpu_facts
from advisor.readers.metrics.gpu_names import LATEST
from advisor.readers.rows import Row, facts, row
from advisor.readers.smi.about import about
from advisor.readers.smi.choose import choose, fixed, trim
from advisor.readers.smi.look import FIXED, Look, Moment, Name, level
from advisor.readers.smi.timeline import in_time, replays
from advisor.readers.told import Told

KIND = "nvidia-smi"
POINTS = 600
VIDEO = 0.3  # of the time in the video engines
USED = 0.1
_UNNAMED = "gpu "  # of lines that do not say of which GPU they are
_THROTTLES = (
    "power_cap", "hw_slowdown", "thermal", "sw_thermal", "hw_thermal", "power_brake", "app_clocks", "sync_boost",
    "display_clocks",
)  # fmt: skip
Where = Callable[[int], str | None]


def reading(looks: Sequence[Look], origin: str, where: Where, notes: Sequence[str] = (), kind: str = KIND) -> Told:
    """What the looks say together.

    Args:
        looks: at least one that says something, in the order of the text.
        origin: where they come from.
        where: the line of a place in the text.
        notes: what else a person should know.
        kind: of the source.
    """
    hosts = list(dict.fromkeys(look.host for look in looks))
    states: States = {}
    busy: States = {}
    used: list[Look] = []
    said: list[str] = []
    for host in hosts:
        told_here = [look for look in looks if look.host == host]
        _names(told_here)
        choice = choose(told_here)
        mine = _joined(choice.used)
        cut = [note for look in mine if (note := trim(look))]
        mine.sort(key=lambda look: (-_told(look), -look.rank))
        _states(host if len(hosts) > 1 else "", mine, choice.spare, states, busy)
        said += [_forms(mine), *choice.notes, *dict.fromkeys(cut)]
        used += mine
    rows = list(_rows(looks, used, states, busy))
    place = where(used[0].at)
    rows = [(name, value, unit, spot if spot and spot != _UNNAMED else place) for name, value, unit, spot in rows]
    many = [f"{len(hosts)} machines"] if len(hosts) > 1 else []
    notes = [*many, *dict.fromkeys(said), *_video(states), *notes]
    source = Source(kind, origin, "ok", "; ".join(note for note in notes if note))
    return Told((Reading(source, facts(rows, origin), _series(used)),), (), None, _seconds(used), _name(origin))


def _name(origin: str) -> str:
    return origin.replace("!", "/").rsplit("/", 1)[-1]


def _names(looks: Sequence[Look]) -> None:
    """One name per GPU in all looks: its index where any look tells it, else its PCI address."""
    index: dict[str, str] = {}
    for look in looks:
        for gpu, words in look.words.items():
            if gpu.isdigit():
                index |= {_bus(words[key]): gpu for key in ("bus", "uuid") if key in words}
    for look in looks:
        named = [gpu for moment in look.moments for gpu in moment.gpus] + list(look.words)
        strange = list(dict.fromkeys(gpu for gpu in named if gpu and not gpu.isdigit()))
        # The long query lists the GPUs in the order of their numbers; it does not give the numbers.
        inorder = len(strange) == (look.attached or len(strange))
        look.rename({gpu: index.get(_bus(gpu)) or (str(i) if inorder else gpu) for i, gpu in enumerate(strange)})


def _bus(address: str) -> str:
    """Drivers write the PCI domain with four or eight digits."""
    return address.upper().rsplit(":", 2)[-2] + address.upper()[-5:] if address.count(":") == 2 else address


def _joined(looks: Sequence[Look]) -> list[Look]:
    """Looks of one form as one with all their moments; a copy, as moments are cut off it."""
    forms: dict[str, Look] = {}
    for look in looks:
        if look.form not in forms:
            forms[look.form] = Look(look.form, look.at, look.end, list(look.moments), rank=look.rank)
        else:
            forms[look.form].moments += look.moments
    return list(forms.values())


def _told(look: Look) -> int:
    return sum(level(moment) is not None for moment in look.moments)


def _states(host: str, used: Sequence[Look], spare: Sequence[Look], states: States, busy: States) -> None:
    """Add means per GPU over all moments, and over those under load."""
    for look in used:
        for name, seen in _by_gpu(look.moments).items():
            gpu = (host, name)
            first = "util" not in states.get(gpu, {})
            _fill(states.setdefault(gpu, {}), _levels(seen))
            loaded = [state for state in seen if state.get("util", 0.0) > BUSY]
            # Only one whose best recording has moments under load is loaded in the others.
            if loaded and (first or gpu in busy):
                _fill(busy.setdefault(gpu, {}), _levels(loaded))
    for look in spare:
        for name, seen in _by_gpu(look.moments).items():
            _fill(states.setdefault((host, name), {}), fixed(_levels(seen)))
    for gpu in busy:
        _fill(busy[gpu], fixed(states[gpu]))
    for gpu in [gpu for gpu, state in states.items() if not state]:
        del states[gpu]


def _by_gpu(moments: Sequence[Moment]) -> dict[Name, list[dict[str, float]]]:
    found: dict[Name, list[dict[str, float]]] = {}
    for moment in moments:
        for gpu, state in moment.gpus.items():
            found.setdefault(gpu, []).append(state)
    return found


def _fill(into: dict[str, float], more: Mapping[str, float]) -> None:
    for key, value in more.items():
        into.setdefault(key, value)


def _levels(seen: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means; of states the last one, of heat and processes the most."""
    values: dict[str, list[float]] = {}
    for state in seen:
        for key, value in state.items():
            values.setdefault(key, []).append(value)
    levels = {key: _level(key, told) for key, told in values.items()}
    if "used" in values:
        levels["peak"] = max(values["used"])
    if levels.get("peak", 0.0) > levels.get("total", levels.get("peak", 0.0)):
        del levels["peak"], levels["used"], levels["total"]  # digits were lost
    return levels


def _level(key: str, told: Sequence[float]) -> float:
    if key in ("temperature", "processes", "link_errors", "gen", "width"):
        return max(told)
    if key == "margin":
        return min(told)
    return told[-1] if key in LATEST or key in FIXED else sum(told) / len(told)


def _rows(looks: Sequence[Look], used: Sequence[Look], states: States, busy: States) -> Iterator[Row]:
    yield from about(looks)
    if any(state.get("processes") == 0 and state.get("util", 0.0) > BUSY for state in states.values()):
        # In a container the driver cannot tell the processes, and lists none.
        states = {gpu: {k: v for k, v in state.items() if k != "processes"} for gpu, state in states.items()}
    yield from gpu_facts(states, busy)
    for name in _THROTTLES:
        told = {gpu: state[f"throttle.{name}"] for gpu, state in busy.items() if f"throttle.{name}" in state}
        yield from extreme(f"hw.gpu.throttle.{name}.fraction", "1", told)
    yield from in_time(used)
    yield from replays(used)
    if max((state.get("util", 0.0) for state in states.values()), default=0.0) > USED:
        yield row("run.gpu.used", True, "{bool}")
    for look in looks:
        yield from look.rows


def _seconds(used: Sequence[Look]) -> float:
    times = [moment.time for moment in used[0].moments if moment.time is not None]
    return max(times) - min(times) if times else 0.0


def _series(used: Sequence[Look]) -> dict[str, Series]:
    points = [
        (moment.time, sum(told) / len(told))
        for moment in used[0].moments
        if moment.time is not None and (told := [s["util"] for s in moment.gpus.values() if "util" in s])
    ]
    if len(points) < 3 or points[-1][0] <= points[0][0]:
        return {}
    step = -(-len(points) // POINTS)
    kept = points[::step]
    return {"hw.gpu.utilization": Series(tuple(t - points[0][0] for t, _ in kept), tuple(v for _, v in kept))}


def _forms(used: Sequence[Look]) -> str:
    parts = []
    counts = [max(_told(look), 1) for look in used]
    for look, count in zip(used, counts, strict=True):
        parts.append(f"{look.form} ({count} moments)" if count > 1 else look.form)
    moving = any(_told(look) for look in used)
    return ", ".join(parts) + (": one moment, not a mean over time" if moving and max(counts) == 1 else "")


def _video(states: States) -> Iterator[str]:
    """Low use of the SMs is no idleness while the video engines work."""
    for key, name in (("encoder", "encoder"), ("decoder", "decoder")):
        most = max((state.get(key, 0.0) for state in states.values()), default=0.0)
        if most >= VIDEO and max((s.get("util", 0.0) for s in states.values()), default=0.0) < BUSY:
            yield f"the GPU is not idle: its video {name} works {most:.0%} of the time, which utilisation leaves out"
