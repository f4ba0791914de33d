"""Which kinds of metrics a page holds, and what its pages say together.

Several servers of one kind are replicas of one service: their loads add up and are compared.
Machines are not: each node_exporter is a source of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from advisor.errors import InputError
from advisor.models import Reading, Source
from advisor.readers.metrics.gpu import dcgm, nvidia_smi, triton_gpus
from advisor.readers.metrics.node import node
from advisor.readers.metrics.sglang import sglang
from advisor.readers.metrics.tgi import tgi
from advisor.readers.metrics.triton import triton
from advisor.readers.metrics.vllm import vllm
from advisor.readers.metrics.window import Window, merge
from advisor.readers.prometheus import Page
from advisor.readers.rows import Row, facts

KIND = "scrape"


@dataclass(frozen=True, slots=True)
class Kind:
    """A server or exporter: its name, the prefix of its metrics, and what it tells."""

    name: str
    prefix: str
    read: Callable[[Window], Iterator[Row]]
    machine: bool = False


# An engine inside of Triton comes before it: the first that gives a fact is believed.
KINDS = (
    Kind("vLLM", "vllm_", vllm),
    Kind("SGLang", "sglang_", sglang),
    Kind("TGI", "tgi_", tgi),
    Kind("Triton", "nv_inference_", triton),
    Kind("Triton", "nv_gpu_", triton_gpus),
    Kind("DCGM exporter", "DCGM_FI_", dcgm),
    Kind("nvidia_gpu_exporter", "nvidia_smi_", nvidia_smi),
    Kind("node_exporter", "node_", node, machine=True),
)


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint or file series: where it is, its pages oldest first, and seconds from the first to the last."""

    origin: str
    pages: Sequence[Page]
    seconds: float | None
    notes: Sequence[str] = field(default=())


def readings(targets: Sequence[Target]) -> tuple[Reading, ...]:
    """One reading per kind and, for machines, per target.

    Raises:
        InputError: when no page holds a kind that is known.
    """
    found: list[Reading] = []
    understood: set[str] = set()
    for kind in KINDS:
        holders = [target for target in targets if _holds(target, kind)]
        groups = [[target] for target in holders] if kind.machine else [holders]
        found += [_reading(kind, group) for group in groups if group]
        understood |= {target.origin for target in holders}
    strange = [target.origin for target in targets if target.origin not in understood]
    known = ", ".join(dict.fromkeys(kind.name for kind in KINDS))
    note = f"metrics, but of no kind that is known here ({known})"
    if not found:
        raise InputError(f"{', '.join(strange)} has {note}; give the address of one of these")
    return (*found, *(Reading(Source(KIND, origin, "unreadable", note)) for origin in strange))


def _holds(target: Target, kind: Kind) -> bool:
    return any(name.startswith(kind.prefix) for page in target.pages for name in page.samples)


def _reading(kind: Kind, targets: Sequence[Target]) -> Reading:
    window = _window(targets)
    origin = ", ".join(target.origin for target in targets)
    notes = [kind.name, _span(window), *dict.fromkeys(note for target in targets for note in target.notes)]
    if window.restarted:
        notes.append("the server restarted in between: its counters stand for the time since")
    try:
        told = facts(kind.read(window), origin)
    except Exception as error:  # one source's odd output must not cost the others
        note = f"{kind.name} at {origin} gave metrics that were not understood ({type(error).__name__}: {error})"
        return Reading(Source(KIND, origin, "unreadable", note))
    return Reading(Source(KIND, origin, "ok", "; ".join(notes)), told)


def _window(targets: Sequence[Target]) -> Window:
    """The pages of the targets side by side, the last of each together."""
    rounds = max(len(target.pages) for target in targets)
    pages = []
    for back in range(rounds, 0, -1):
        # A server that answered less often stands still before its first page: its counters have no start there.
        at = {t.origin: t.pages[max(0, len(t.pages) - back)] for t in targets}
        pages.append(targets[0].pages[-back] if len(targets) == 1 else merge(at))
    seconds = [target.seconds for target in targets if target.seconds]
    return Window(pages, sum(seconds) / len(seconds) if seconds else None)


def _span(window: Window) -> str:
    pages = len(window.pages)
    if window.seconds:
        return f"{pages} scrapes in {window.seconds:.3g} s"
    if window.lifetime:
        return "one scrape: no rates, and means over the whole life of the server"
    return f"{pages} scrapes at unknown times: no rates"
