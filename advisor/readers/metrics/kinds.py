"""Which kinds of metrics a page holds, and what its pages say together.

Several servers of one kind are replicas of one service: their loads add up and are compared.
Machines are not: each node_exporter is a source of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from advisor.errors import InputError
from advisor.models import Reading, Series, Source
from advisor.readers.metrics.gpu import DCGM_PREFIXES, dcgm, triton_gpus
from advisor.readers.metrics.gpu_smi import nvidia_smi
from advisor.readers.metrics.node import node
from advisor.readers.metrics.prometheus import Page
from advisor.readers.metrics.sglang import sglang
from advisor.readers.metrics.tgi import tgi
from advisor.readers.metrics.triton import triton
from advisor.readers.metrics.vllm import vllm
from advisor.readers.metrics.window import Window, merge
from advisor.readers.rows import Row, facts

KIND = "scrape"
Role = Literal["server", "gpu", "machine"]
# What a picture shows over time; everything else is told as one number.
DRAWN = frozenset(
    [f"gen_ai.server.{name}" for name in ("requests.running", "requests.waiting", "requests.rate", "preemptions.rate",
     "kv_cache.utilization", "generation_tokens.rate", "time_to_first_token", "inter_token_latency")]
    + [f"hw.gpu.{name}" for name in ("utilization", "memory.utilization", "power", "temperature", "sm.active")]
    + [f"system.{name}" for name in ("cpu.utilization", "memory.available.fraction", "disk.utilization",
       "pressure.cpu.some", "pressure.io.full", "network.receive.rate", "network.transmit.rate")]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """A server or exporter: its name, the prefixes of its metrics, what it tells, and of what.

    `families` is an expression for the names that are worth asking a Prometheus server for.
    """

    name: str
    prefixes: tuple[str, ...]
    read: Callable[[Window], Iterator[Row]]
    role: Role
    families: str


# An engine inside of Triton comes before it: the first that gives a fact is believed.
KINDS = (
    Kind("vLLM", ("vllm_",), vllm, "server", "((ray|kserve)_)?vllm[:_].+"),
    Kind("SGLang", ("sglang_",), sglang, "server", "((ray|kserve)_)?sglang[:_].+"),
    Kind("TGI", ("tgi_",), tgi, "server", "tgi_.+"),
    Kind("Triton", ("nv_inference_",), triton, "server", "nv_(inference|trt_llm|cpu)_.+"),
    Kind("Triton", ("nv_gpu_",), triton_gpus, "gpu", "nv_gpu_.+"),
    Kind("DCGM exporter", DCGM_PREFIXES, dcgm, "gpu", "DCGM_(FI|EXP)_.+|dcgm_.+"),
    Kind("nvidia_gpu_exporter", ("nvidia_smi_",), nvidia_smi, "gpu", "nvidia_smi_.+"),
    # Of a machine's thousands of series only the collectors that `node` and `fabric` read.
    Kind(
        "node_exporter",
        ("node_",),
        node,
        "machine",
        "node_(bonding|cpu|disk|filesystem|infiniband|memory|mountstats|netstat_Tcp|network|nfs|pressure|vmstat)_.+"
        "|node_load1|node_time_seconds|node_uname_info",
    ),
)
# What every process tells about itself: asked for along with its server.
PROCESS = "process_(cpu_seconds_total|start_time_seconds)"


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint or file series.

    Args:
        origin: where it is.
        pages: oldest first.
        seconds: from the first to the last page; None when that is not known.
        notes: what a person should know about them.
        times: when each page was taken, in seconds on a clock that all targets share; empty when that is not known.
    """

    origin: str
    pages: Sequence[Page]
    seconds: float | None
    notes: Sequence[str] = field(default=())
    times: Sequence[float] = field(default=())


def kinds_of(target: Target) -> list[Kind]:
    """The kinds whose metrics a target has."""
    names = {name for page in target.pages for name in page.samples}
    return [kind for kind in KINDS if any(name.startswith(kind.prefixes) for name in names)]


def readings(targets: Sequence[Target]) -> tuple[Reading, ...]:
    """One reading per kind and, for machines, per target.

    Raises:
        InputError: when no page holds a kind that is known.
    """
    found: list[Reading] = []
    known = {target.origin: kinds_of(target) for target in targets}
    for kind in KINDS:
        holders = [target for target in targets if kind in known[target.origin]]
        groups = [[target] for target in holders] if kind.role == "machine" else [holders]
        found += [_reading(kind, group) for group in groups if group]
    strange = [origin for origin, kinds in known.items() if not kinds]
    note = f"metrics, but of no kind that is known here ({names_of_kinds()})"
    if not found:
        raise InputError(f"{', '.join(strange)} has {note}; give the address of one of these")
    return (*found, *(Reading(Source(KIND, origin, "unreadable", note)) for origin in strange))


def names_of_kinds() -> str:
    """Every server and exporter that is known, for messages."""
    return ", ".join(dict.fromkeys(kind.name for kind in KINDS))


def _reading(kind: Kind, targets: Sequence[Target]) -> Reading:
    window, times = _window(targets)
    origin = ", ".join(target.origin for target in targets)
    notes = [kind.name, _span(window), *dict.fromkeys(note for target in targets for note in target.notes)]
    if window.restarted:
        notes.append("the server restarted in between: its counters stand for the time since")
    try:
        told = facts(kind.read(window), origin)
        drawn = _drawn(kind, window.pages, times)
    except Exception as error:  # one source's odd output must not cost the others
        note = f"{kind.name} at {origin} gave metrics that were not understood ({type(error).__name__}: {error})"
        return Reading(Source(KIND, origin, "unreadable", note))
    return Reading(Source(KIND, origin, "ok", "; ".join(notes)), told, drawn)


def _window(targets: Sequence[Target]) -> tuple[Window, Sequence[float]]:
    """The pages of the targets side by side, and when they were taken where that is known."""
    longest = max(targets, key=lambda target: len(target.pages))
    if all(target.times for target in targets):
        times = longest.times
        pages = [_beside(targets, t, _gap(times)) for t in times] if len(targets) > 1 else longest.pages
        return Window(pages, times[-1] - times[0]), times
    pages = []
    for back in range(len(longest.pages), 0, -1):  # the last of each together
        at = {t.origin: t.pages[max(0, len(t.pages) - back)] for t in targets}
        pages.append(targets[0].pages[-back] if len(targets) == 1 else merge(at))
    seconds = [target.seconds for target in targets if target.seconds]
    return Window(pages, sum(seconds) / len(seconds) if seconds else None), ()


def _beside(targets: Sequence[Target], t: float, gap: float) -> Page:
    """The page of every target at a moment.

    One that came later stands still before its first page: its counters have no start there.
    One that has gone is left out: it runs nothing any more.
    """
    at: dict[str, Page] = {}
    for target in targets:
        place = min(range(len(target.times)), key=lambda i: abs(target.times[i] - t))
        if t - target.times[place] < 1.5 * gap:
            at[target.origin] = target.pages[place]
    return merge(at)


def _gap(times: Sequence[float]) -> float:
    return (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else float("inf")


def _drawn(kind: Kind, pages: Sequence[Page], times: Sequence[float]) -> Mapping[str, Series]:
    """What the kind tells of every two pages that follow each other, over time."""
    points: dict[str, list[tuple[float, float]]] = {}
    if len(times) > 2:
        for (before, after), (t0, t1) in zip(pairwise(pages), pairwise(times), strict=True):
            for fact in facts(kind.read(Window([before, after], t1 - t0)), ""):
                if fact.name in DRAWN and isinstance(fact.value, float):
                    points.setdefault(fact.name, []).append((t1 - times[0], fact.value))
    return {name: Series(tuple(t for t, _ in at), tuple(v for _, v in at)) for name, at in points.items()}


def _span(window: Window) -> str:
    pages = len(window.pages)
    if window.seconds:
        return f"{pages} scrapes in {window.seconds:.3g} s"
    if window.lifetime:
        return "one scrape: levels of that moment, means over the whole life of the server, no rates"
    return f"{pages} scrapes at unknown times: no rates"
